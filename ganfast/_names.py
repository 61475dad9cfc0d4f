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

    ``aliases`` maps names that other projects use to known ones.
    """
    if isinstance(name, str) and name in known:
        return
    left_out = str.maketrans("", "", "-_ ")
    meant = {**(aliases or {}), **{k.lower().translate(left_out): k for k in known}}
    near = difflib.get_close_matches(str(name).lower().translate(left_out), meant, 1)
    offer = f"; did you mean {meant[near[0]]!r}?" if near else ""
    raise ValueError(f"{argument} must be one of {', '.join(known)}, got {name!r}{offer}")
