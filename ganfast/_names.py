"""Names that a user chooses from, names of files, and errors in the code that a user names."""

import difflib
import os
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


def printable(name: str) -> str:
    """Return a name of a file on one line, with escapes for bytes and characters that do not print.

    Names of files may hold any bytes; Python keeps those that are no UTF-8 as surrogates, which
    cannot be written or hashed.
    """
    text = os.fsencode(name).decode(errors="backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def check_name(
    argument: str,
    name: object,
    known: Collection[str],
    aliases: Mapping[str, str] | None = None,
) -> None:
    """Raise ValueError unless ``name`` is known; the message offers the name that was meant.

    ``aliases`` are names that other projects use, each with the known name.
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
