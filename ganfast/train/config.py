"""Settings from YAML files and ``field=value`` words, checked against a dataclass."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

T = TypeVar("T")


def read(kind: type[T], path: str | Path | None = None, words: Sequence[str] = ()) -> T:
    """A dataclass from a YAML file of its fields, some of them then set by ``field=value`` words.

    Lists become tuples, and what YAML takes for text, as ``1e-3``, a number where the field is one.

    Raises:
        FileNotFoundError: there is no such file.
        TypeError, ValueError: the file is no YAML mapping, a word has no ``=``, a field is not
            known (and which one is near), or as the dataclass itself.
    """
    return from_mapping(kind, values_of(path, words))


def values_of(path: str | Path | None, words: Sequence[str]) -> dict[str, Any]:
    """The fields that a file and words set, unchecked. Raises as :func:`read` for both."""
    values: dict[str, Any] = {}
    if path is not None:
        values.update(_mapping(Path(path)))
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            raise ValueError(f"expected field=value, got {word!r}")
        values[name.strip()] = _parsed(value, word)
    return values


def from_mapping(kind: type[T], values: Mapping[str, Any]) -> T:
    """A dataclass from a mapping, as :func:`read` says."""
    hints = get_type_hints(kind)
    known = {field.name for field in fields(kind) if field.init}  # type: ignore[arg-type]
    for name in values:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, 1)
            meant = f"; did you mean {near[0]!r}?" if near else f"; known are {sorted(known)}"
            raise ValueError(f"unknown field {name!r}{meant}")
    return kind(**{name: _fitting(value, hints[name]) for name, value in values.items()})


def _mapping(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"there is no configuration file {path}")
    values = _parsed(path.read_text(encoding="utf-8"), path)
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ValueError(f"{path}: expected fields and values, got {type(values).__name__}")
    return values


def _parsed(text: str, where: object) -> Any:
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"{where}: not YAML: {error}") from error


def _fitting(value: Any, hint: Any) -> Any:
    if isinstance(value, dict) and is_dataclass(hint):
        return from_mapping(hint, value)  # type: ignore[arg-type]
    if isinstance(value, list):
        return tuple(_fitting(item, float if float in get_args(hint) else None) for item in value)
    if isinstance(value, str) and hint in (float, float | None):
        try:
            return float(value)
        except ValueError:
            return value
    if isinstance(value, str) and (hint is Path or Path in get_args(hint)):
        return Path(value)
    return value
