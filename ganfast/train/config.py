"""Settings from YAML files and ``field=value`` words, as a dataclass."""

import difflib
import inspect
import json
import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, is_dataclass
from functools import partial
from pathlib import Path
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

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
    """Return the fields that a file and words set, as :func:`read` does, without checking them."""
    values: dict[str, Any] = {}
    if path is not None:
        values.update(_mapping(Path(path)))
    for word in words:
        if not isinstance(word, str):
            raise TypeError(f"settings must be field=value, got {word!r}")
        name, equals, value = word.partition("=")
        if not equals:
            raise ValueError(f"settings must be field=value, got {word!r}")
        values[name.strip()] = _parsed(value, word)
    return values


def from_mapping(kind: type[T], values: Mapping[str, Any]) -> T:
    """Make a dataclass from a mapping of its fields, with the conversions of :func:`read`.

    A dataclass with a method ``with_defaults`` may add fields that depend on those that are set.
    Raises the errors of :func:`read`.
    """
    values = getattr(kind, "with_defaults", dict)(values)
    hints = get_type_hints(kind)
    known = {field.name for field in fields(kind) if field.init}  # type: ignore[arg-type]
    for name in values:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, 1)
            meant = f"; did you mean {near[0]!r}?" if near else f"; known are {sorted(known)}"
            raise ValueError(f"unknown field {name!r}{meant}")
    return kind(**{name: _converted(name, value, hints[name]) for name, value in values.items()})


def as_yaml(config: "DataclassInstance") -> str:
    """Return the fields of a dataclass as YAML that `read` takes."""
    return "".join(yaml_blocks(config).values())


def documented(config: "DataclassInstance") -> str:
    """Return the fields of a dataclass as YAML, the meaning of each in a comment before it."""
    meanings = meanings_of(type(config))
    blocks = yaml_blocks(config)
    lines = []
    for name, block in blocks.items():
        words = textwrap.wrap(meanings.get(name, ""), 96)
        lines += [*(f"# {line}" for line in words), block]
    return "\n".join(lines)


def yaml_blocks(config: "DataclassInstance") -> dict[str, str]:
    """Return the YAML of each field by its name."""
    import yaml

    values = {field.name: getattr(config, field.name) for field in fields(config) if field.init}
    # JSON turns tuples into lists, and what is left is YAML.
    plain = json.loads(json.dumps(values, default=asdict))
    return {name: yaml.safe_dump({name: plain[name]}, sort_keys=False) for name in plain}


def meanings_of(kind: type[Any]) -> dict[str, str]:
    """Return what each field means, from the docstrings of a dataclass and of what it extends."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        text = inspect.cleandoc(base.__doc__ or "")
        _, _, attributes = text.partition("Attributes:\n")
        attributes = attributes.partition("\n\n")[0]
        for entry in re.split(r"\n(?=    \w)", "\n" + attributes):
            names, colon, words = entry.strip().partition(":")
            if colon and re.fullmatch(r"\w+(, \w+)*", names):
                for name in names.split(", "):
                    found[name] = " ".join(words.split()).replace("``", "")
    return found


def _mapping(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"there is no configuration file {path}")
    try:
        values = _parsed(path.read_text(encoding="utf-8"), path)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not YAML: {error}") from error
    except RecursionError as error:
        raise ValueError(f"{path}: not YAML: lists are nested too deeply") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ValueError(f"{path} must hold fields and values, got {type(values).__name__}")
    return values


def _parsed(text: str, where: object) -> Any:
    """Parse YAML without aliases, which could repeat or contain themselves."""
    import yaml

    try:
        if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(text)):
            raise ValueError(f"{where}: must not have aliases (*name)")
        left = [yaml.compose(text, yaml.SafeLoader)]
        for node in left:
            if isinstance(node, yaml.MappingNode):
                names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
                twice = {name for name in names if names.count(name) > 1}
                if twice:
                    raise ValueError(f"{where}: {sorted(twice)[0]!r} must be set once")
                left += [part for pair in node.value for part in pair]
            elif isinstance(node, yaml.SequenceNode):
                left += node.value
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"{where}: not YAML: {' '.join(str(error).split())}") from error


def _converted(name: str, value: Any, hint: Any) -> Any:
    """Convert a YAML value to the type of a field. Raises TypeError if it has another type."""
    kinds = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    for kind in kinds:
        if is_dataclass(kind) and isinstance(value, dict | list):
            # fit=[steps=2] works like gan=[steps=2].
            inner = value if isinstance(value, dict) else values_of(None, value)
            return from_mapping(kind, inner)  # type: ignore[arg-type]
        if get_origin(kind) is tuple and isinstance(value, list | tuple):
            items = get_args(kind)
            of_each = items[:1] * len(value) if items[-1] is Ellipsis else items
            if len(of_each) == len(value):
                return tuple(map(partial(_converted, name), value, of_each))
        if kind is float and isinstance(value, str):
            try:
                return float(value)
            except ValueError:
                continue
        if kind is float and type(value) is int:
            return value
        if kind is Path and isinstance(value, str):
            return Path(value)
        if type(value) is kind or get_origin(kind) is Literal:
            return value
    words = " or ".join(_WORDS.get(kind) or _words(kind) for kind in kinds)
    raise TypeError(f"{name} must be {words}, got {value!r}")


_WORDS = {
    int: "an int",
    float: "a number",
    bool: "true or false",
    str: "text",
    Path: "a path",
    NoneType: "null",
}


def _words(kind: Any) -> str:
    items = get_args(kind)
    if get_origin(kind) is not tuple:
        return "settings by name"
    count = "" if items[-1] is Ellipsis else f"{len(items)} "
    return f"a list of {count}items, each {_WORDS[items[0]]}"
