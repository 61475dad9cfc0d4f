"""Settings from YAML files and ``field=value`` words, as a dataclass."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

T = TypeVar("T")


def read(kind: type[T], path: str | Path | None = None, words: Sequence[str] = ()) -> T:
    """Read a dataclass from a YAML file; ``field=value`` words override the file.

    Lists become tuples. In a float field, text becomes a number, because YAML reads ``1e-3`` as
    text.

    Args:
        kind: the dataclass.
        path: YAML file of its fields.
        words: settings such as ``steps=100``; the value is YAML.

    Raises:
        FileNotFoundError: there is no such file.
        TypeError: the dataclass refuses the type of a field.
        ValueError: the file is not a YAML mapping, a word has no ``=``, a field is unknown (the
            error names the nearest one), or the dataclass refuses a value.
    """
    return from_mapping(kind, values_of(path, words))


def values_of(path: str | Path | None, words: Sequence[str]) -> dict[str, Any]:
    """Return the fields that a file and words set, without checking them.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not a YAML mapping, or a word has no ``=``.
    """
    values: dict[str, Any] = {}
    if path is not None:
        values.update(_mapping(Path(path)))
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            raise ValueError(f"settings must be field=value, got {word!r}")
        values[name.strip()] = _parsed(value, word)
    return values


def from_mapping(kind: type[T], values: Mapping[str, Any]) -> T:
    """Make a dataclass from a mapping of its fields, with the conversions of :func:`read`.

    Raises:
        TypeError: the dataclass refuses the type of a field.
        ValueError: a field is unknown, or the dataclass refuses a value.
    """
    hints = get_type_hints(kind)
    known = {field.name for field in fields(kind) if field.init}  # type: ignore[arg-type]
    for name in values:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, 1)
            meant = f"; did you mean {near[0]!r}?" if near else f"; known are {sorted(known)}"
            raise ValueError(f"unknown field {name!r}{meant}")
    return kind(**{name: _converted(value, hints[name]) for name, value in values.items()})


def _mapping(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"there is no configuration file {path}")
    values = _parsed(path.read_text(encoding="utf-8"), path)
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ValueError(f"{path} must hold fields and values, got {type(values).__name__}")
    return values


def _parsed(text: str, where: object) -> Any:
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"{where} is not YAML: {error}") from error


def _converted(value: Any, hint: Any) -> Any:
    if isinstance(value, dict) and is_dataclass(hint):
        return from_mapping(hint, value)  # type: ignore[arg-type]
    if isinstance(value, list):
        return tuple(_converted(item, float if float in get_args(hint) else None) for item in value)
    if isinstance(value, str) and hint in (float, float | None):
        try:
            return float(value)
        except ValueError:
            return value
    if isinstance(value, str) and (hint is Path or Path in get_args(hint)):
        return Path(value)
    return value
