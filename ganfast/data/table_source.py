"""Images and features in the columns of parquet and arrow files, as Hugging Face writes them."""

import io
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ganfast._files import refuse_bomb
from ganfast._names import printable
from ganfast.data import stores
from ganfast.data.extras import needed, readable
from ganfast.data.file_source import decoded, decoders, parted
from ganfast.data.image_files import Colour
from ganfast.data.image_source import Prepare, Read, Shard, Source, file_state, key_of
from ganfast.data.joined import Joined

_ROWS = 256  # read together
_BEGINNINGS = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"RIFF", b"BM", b"II*\0", b"MM\0*")


class _Columns(NamedTuple):
    """What a file holds."""

    content: str  # the column of images or of features
    is_images: bool
    label: str | None  # the column of classes
    classes: Sequence[str] | None  # their names, by number


# Reads a column, from a row on, in parts.
_Read = Callable[[str, int], Iterator[Any]]


class _Column:
    """A column that is read forward, a few rows at a time."""

    def __init__(self, read: _Read, name: str) -> None:
        self._read, self._name = read, name
        self._parts: Iterator[Any] = iter(())
        self._part: Any = None
        self._start = self._stop = 0  # rows of the part

    def rows(self, start: int, stop: int) -> Iterator[Any]:
        """Yield arrow arrays of the rows from ``start`` to ``stop``."""
        if self._part is None or start < self._start:
            self._parts, self._start, self._stop = self._read(self._name, start), start, start
            self._part = None
        while start < stop:
            if self._part is None or start >= self._stop:
                self._part = next(self._parts)
                self._start, self._stop = self._stop, self._stop + len(self._part)
                continue
            n = min(stop, self._stop) - start
            yield self._part.slice(start - self._start, n)
            start += n


class _Table(Source):
    """Encoded images, or features, in a column."""

    def __init__(
        self, name: str, rows: int, columns: _Columns, read: _Read, channels: int,
        background: Colour | None, key: str | None, first: int = 0, in_ranges: bool = False,
    ) -> None:  # fmt: skip
        """``first`` is the number of its first row in the file; ``in_ranges`` shards are ranges."""
        self.name, self.channels, self._background = name, channels, background
        self._rows, self._columns, self._read, self._first = rows, columns, read, first
        self._column, self._in_ranges = _Column(read, columns.content), in_ranges
        self.is_features = not columns.is_images
        self._key = key if self.is_features else key_of(key, channels, background)

    def __len__(self) -> int:
        return self._rows

    @property
    def labels(self) -> Sequence[str] | None:
        column = self._columns
        if column.label is None:
            return None
        with readable(self.name, "table"):
            found = [v for part in self._read(column.label, 0) for v in part.to_pylist()]
        names = column.classes
        if names is None:
            return [str(label) for label in found]
        known = range(len(names))
        return [names[y] if isinstance(y, int) and y in known else str(y) for y in found]

    def read(self, start: int, stop: int, prepare: Prepare | None = None) -> Read:
        with readable(self.name, "table"):
            values = [v for part in self._column.rows(start, stop) for v in part.to_pylist()]
        rows = [f"{self.name}, row {self._first + number}" for number in range(start, stop)]
        return parted(start, decoders().map(partial(self._image, prepare), values, rows))

    def _image(self, prepare: Prepare | None, value: Any, name: str) -> Tensor | str:
        raw = value.get("bytes") if isinstance(value, dict) else value
        if not isinstance(raw, bytes):
            path = value.get("path") if isinstance(value, dict) else None
            words = f"only the name {printable(str(path))}" if path else "nothing"
            return f"{name} must hold the bytes of an image, got {words}"
        with ExitStack() as held:
            return decoded(io.BytesIO(raw), name, self.channels, self._background, prepare, held)

    def rows(self, start: int, stop: int) -> Tensor:
        with readable(self.name, "table"):
            parts = [self._as_rows(part) for part in self._column.rows(start, stop)]
        return torch.cat(parts)

    def _as_rows(self, part: Any) -> Tensor:
        flat = part.flatten()
        values = np.array(flat.to_numpy(zero_copy_only=False))
        if part.null_count or flat.null_count or len(values) % len(part):
            raise ValueError("the features must be lists of one length, without gaps")
        rows = values.reshape(len(part), -1)
        if not bool((np.diff(np.array(part.value_lengths())) == 0).all()):
            raise ValueError("the features must be lists of one length")
        return torch.from_numpy(rows)

    def shards(self, count: int | None = None) -> Sequence[Shard]:
        if self._in_ranges:
            return super().shards()
        return [Shard("whole", range(len(self)), lambda: self, lambda: self.key)]


def open_parquet(place: str, channels: int, background: Colour | None) -> Source:
    """Open a parquet file, by path or URL; each of its row groups is a shard.

    Raises:
        ModuleNotFoundError: pyarrow is not installed.
        ValueError: it is damaged, or has no one column of images or features.
    """
    parquet = needed("pyarrow.parquet", "parquet", place)
    name = printable(place)
    remote = stores.is_url(place)
    with readable(name, "table"):
        file = parquet.ParquetFile(stores.opened(place) if remote else place)
        groups = [file.metadata.row_group(i) for i in range(file.metadata.num_row_groups)]
        for group in groups:
            parts = [group.column(i) for i in range(group.num_columns)]
            stored = sum(part.total_compressed_size for part in parts)
            refuse_bomb(name, sum(part.total_uncompressed_size for part in parts), stored)

        def read(group: int, column: str, start: int) -> Iterator[Any]:
            batches = file.iter_batches(_ROWS, row_groups=[group], columns=[column])
            return _from(start, (batch.column(0) for batch in batches))

        columns = _columns(name, file.schema_arrow, partial(read, 0) if groups else None)
    state = stores.state(place) if remote else file_state(Path(place))
    pieces: list[Source] = []
    first = 0
    for i, group in enumerate(groups):
        if group.num_rows:
            of_group, key = partial(read, i), key_of(state, i)
            pieces.append(
                _Table(name, group.num_rows, columns, of_group, channels, background, key, first)
            )
        first += group.num_rows
    return Joined(name, [(f"row group {i}", piece) for i, piece in enumerate(pieces)])


def open_arrow(path: Path, channels: int, background: Colour | None) -> Source:
    """Open an arrow file, a stream as ``save_to_disk`` writes them, or one with an index.

    Raises as `open_parquet`.
    """
    arrow = needed("pyarrow.ipc", "parquet", str(path))
    import pyarrow

    name = printable(str(path))
    with readable(name, "table"):
        mapped = pyarrow.memory_map(str(path))
        try:
            table = arrow.open_stream(mapped).read_all()
        except pyarrow.ArrowInvalid:
            mapped.seek(0)
            table = arrow.open_file(mapped).read_all()
        table.validate()

        def read(column: str, start: int) -> Iterator[Any]:
            chunks = table.column(column).slice(start).chunks
            for chunk in chunks:
                for first in range(0, len(chunk), _ROWS):
                    part = chunk.slice(first, _ROWS)
                    part.validate(full=True)  # a damaged file may point anywhere
                    yield part

        columns = _columns(name, table.schema, read if len(table) else None)
    return _Table(
        name, len(table), columns, read, channels, background, file_state(path),
        in_ranges=columns.is_images,
    )  # fmt: skip


def _columns(name: str, schema: Any, read: _Read | None) -> _Columns:
    """Find the column of images or features, and that of classes."""
    import pyarrow

    types = pyarrow.types
    described = _features(schema)
    images = [
        field.name for field in schema
        if described.get(field.name, {}).get("_type") == "Image"
        or (types.is_struct(field.type) and field.type.get_field_index("bytes") >= 0)
    ]  # fmt: skip
    binary = [f.name for f in schema if types.is_binary(f.type) or types.is_large_binary(f.type)]
    if not images and read is not None:
        images = [column for column in binary if _begins_as_image(read, column)]
    numbers = [field.name for field in schema if _is_list_of_numbers(field.type)]
    found = images or numbers
    if len(found) != 1:
        kinds = ", ".join(f"{field.name}: {field.type}" for field in schema)
        raise ValueError(
            f"{name} must have one column of images or else one of lists of numbers, "
            f"got {', '.join(found) or 'none'} of {printable(kinds)[:200]}"
        )
    of_classes = [key for key, value in described.items() if value.get("_type") == "ClassLabel"]
    usual = [f.name for f in schema if f.name in ("label", "labels", "cls", "class")
             and (types.is_integer(f.type) or types.is_string(f.type))]  # fmt: skip
    labels = [key for key in of_classes if key in schema.names] or usual
    label = labels[0] if len(labels) == 1 else None
    names = described.get(label, {}).get("names") if label else None
    is_names = isinstance(names, list) and all(isinstance(word, str) for word in names)
    return _Columns(found[0], bool(images), label, names if is_names else None)


def _features(schema: Any) -> dict[str, dict[str, Any]]:
    """Return what Hugging Face's metadata say of the columns."""
    try:
        facts = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        found = facts["info"]["features"].items()
        return {str(key): value for key, value in found if isinstance(value, dict)}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}


def _begins_as_image(read: _Read, column: str) -> bool:
    first: Any = next(read(column, 0), [])
    values = [first[0].as_py()] if len(first) else []
    return any(isinstance(v, bytes) and v.startswith(_BEGINNINGS) for v in values)


def _is_list_of_numbers(kind: Any) -> bool:
    import pyarrow

    types = pyarrow.types
    lists = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
    return bool(lists and types.is_floating(kind.value_type))


def _from(start: int, parts: Iterator[Any]) -> Iterator[Any]:
    """Skip the rows before ``start``."""
    for part in parts:
        if start < len(part):
            yield part.slice(start)
        start = max(0, start - len(part))
