"""Encoded images in LMDB files, one under each key, as LSUN, BasicSR and rosinality write them."""

import io
import os
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from ganfast._names import printable
from ganfast.data import listing
from ganfast.data.extras import needed
from ganfast.data.file_source import Files, limited
from ganfast.data.image_files import Colour
from ganfast.data.image_source import file_state

_SMALLEST = 32  # bytes; values of less are counts and labels
_BY_SIZE = re.compile(r"(\d+)-\d+")  # 256-00000, an image of 256 pixels


class LmdbFile(Files):
    """All images in a ``data.mdb``, in the order of their keys."""

    def __init__(self, path: Path, channels: int, background: Colour | None = None) -> None:
        """Raises ModuleNotFoundError without the package lmdb."""
        lmdb = needed("lmdb", "lmdb", str(path))
        name = printable(str(path))
        self._place = file_state(path)
        self._small: Counter[str] = Counter()
        self._sizes: set[str] = set()
        self._error: type[Exception] = lmdb.Error
        try:
            self._data: Any = lmdb.open(
                str(path), subdir=False, readonly=True, lock=False, readahead=False, max_dbs=0
            )
            pages = self._data.info()["last_pgno"] + 1
            whole = pages * self._data.stat()["psize"]
            if path.stat().st_size < whole:  # LMDB itself would crash
                raise ValueError(f"{name} must have {whole:,} bytes, got {path.stat().st_size:,}")
            super().__init__(str(path), self._keys(), channels, background)
        except lmdb.Error as error:
            raise ValueError(f"{name} must be an LMDB file: {error}") from error
        if len(self._sizes) > 1:
            raise ValueError(
                f"{name} must hold each image once, got the sizes {', '.join(sorted(self._sizes))}"
                f", with keys such as {self.entries[0]}"
            )

    def _keys(self) -> Iterator[str]:
        by_size = True
        with self._data.begin(buffers=True) as reading:
            for key, value in reading.cursor():
                name = os.fsdecode(bytes(key))
                if len(value) < _SMALLEST:
                    self._small[listing.ending(name)] += 1
                    continue
                size = _BY_SIZE.fullmatch(name)
                by_size = by_size and size is not None
                if by_size and size is not None:
                    self._sizes.add(size[1])
                yield name
        if not by_size:
            self._sizes.clear()

    def _is_image(self, file: str) -> bool:
        return True

    def _not_read(self, found: Counter[str]) -> Counter[str]:
        return found + self._small

    def file(self, entry: str, held: ExitStack) -> io.BytesIO:
        with self._data.begin(buffers=True) as reading:
            try:
                value = reading.get(os.fsencode(entry))
            except self._error as error:
                raise ValueError(f"{printable(entry)} is damaged: {error}") from error
            return limited(entry, len(value), len(value), io.BytesIO(value))

    def state(self, entry: str) -> str:
        return ""  # that of the whole file
