"""Names that a user chooses from, and errors in the code that they name."""

import difflib
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager


class UserCodeError(ValueError):
    """A module or callable of the user has failed; the cause is its own error."""


@contextmanager
def user_code(name: str) -> Iterator[None]:
    """Turn whatever the user's code raises within the block into UserCodeError."""
    try:
        yield
    except UserCodeError:
        raise
    except Exception as error:
        words = f"{type(error).__name__}: {error}".strip().partition("\n")[0]
        raise UserCodeError(f"{name} has failed with {words}") from error


def check_name(
    argument: str,
    name: object,
    known: Collection[str],
    aliases: Mapping[str, str] | None = None,
) -> None:
    """Raise ValueError unless ``name`` is known; the message offers the name that was meant.

    Args:
        argument: what the user calls it.
        name: what the user gave.
        known: all that there are.
        aliases: names that other projects use, and the known name of each.
    """
    if isinstance(name, str) and name in known:
        return
    meant = _meant(str(name), known, aliases or {})
    offer = f"; did you mean {meant!r}?" if meant else ""
    raise ValueError(f"{argument} must be one of {', '.join(known)}, got {name!r}{offer}")


def _meant(name: str, known: Collection[str], aliases: Mapping[str, str]) -> str | None:
    plain = name.lower().replace("-", "").replace("_", "").replace(" ", "")
    if plain in aliases:
        return aliases[plain]
    written = {k.lower().replace("-", "").replace("_", ""): k for k in known}
    near = difflib.get_close_matches(plain, [*written, *aliases], 1)
    return {**aliases, **written}[near[0]] if near else None
