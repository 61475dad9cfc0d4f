"""Open images or features by path, pattern or URL."""

import glob
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path, PurePosixPath

from ganfast._names import printable
from ganfast.data import (
    array_source,
    file_source,
    hdf5_source,
    listing,
    lmdb_source,
    stores,
    table_source,
)
from ganfast.data.image_files import Colour
from ganfast.data.image_source import Source, file_state, key_of
from ganfast.data.joined import Joined, Several

_FEW = 32  # local files that are opened at once, which splits them into shards
_LISTS = (".txt", ".csv", ".tsv")
_SPLIT = re.compile(r"(.*?)-\d+-of-\d+")  # train-00000-of-00005.parquet

_Open = Callable[[Path, int, Colour | None], Source]


def _saved(path: Path, channels: int, background: Colour | None) -> Source:
    found = array_source.open_saved(path, channels)
    if found is None:
        raise ValueError(
            f"{path} must hold one uint8 tensor of images (N, C, H, W) or one of features (N, D)"
        )
    return found


# What opens a file, by its ending.
_READERS: dict[str, _Open] = {
    ".tar": file_source.TarArchive,
    ".zip": file_source.ZipArchive,
    ".npz": lambda path, channels, _: array_source.open_npz(path, channels),
    ".npy": lambda path, channels, _: array_source.open_npy(path, channels),
    ".safetensors": lambda path, channels, _: array_source.open_safetensors(path, channels),
    ".pt": _saved,
    ".pth": _saved,
    **dict.fromkeys(
        (".h5", ".hdf5"), lambda path, channels, _: hdf5_source.open_hdf5(path, channels)
    ),
    **dict.fromkeys((".mdb", ".lmdb"), lmdb_source.LmdbFile),
    ".arrow": table_source.open_arrow,
    ".parquet": lambda path, *rest: table_source.open_parquet(str(path), *rest),
    **dict.fromkeys(_LISTS, file_source.read_list),
}
_IN_PARTS = (".parquet", ".zip", ".npz", ".npy")  # which are read so from stores
_OF_IMAGES = (".tar", ".zip", ".mdb", ".lmdb", *_LISTS)  # never of features
#: Endings of files that may hold features.
OF_FEATURES = tuple(kind for kind in _READERS if kind not in _OF_IMAGES)


def ending(name: str) -> str:
    """Return the ending that says how a file is opened; ``.tar`` for compressed ones, too."""
    found = [suffix.lower() for suffix in PurePosixPath(name.partition("?")[0]).suffixes]
    if ".tar" in found or found[-1:] == [".tgz"]:
        return ".tar"
    return found[-1] if found else ""


def is_pattern(spec: str) -> bool:
    """Say whether a text stands for several files: by ``{000..099}``, ``{a,b}`` or ``*``."""
    return any(mark in spec for mark in "*{[") or "::" in spec


def open_images(spec: str | Path, channels: int, background: Colour | None = None) -> Source:
    """Open the images, or the features, that a path, a pattern or a URL stands for.

    A folder holds images, or else files of one of the kinds below. Several files may be given as
    ``train-{000..099}.tar``, ``*.parquet`` or ``a.tar::b.tar``.

    Args:
        spec: a folder; a .tar, .zip, .npz, .npy, .pt, .safetensors, .parquet, .arrow, .h5 or .mdb
            file; a list of images (.txt, .csv); or a pattern or URL of these.
        channels, background: of images, as for :func:`ganfast.data.image_files.decode`.

    Raises:
        FileNotFoundError: there is nothing at this path.
        ValueError: it is another kind of file, or holds no images.
    """
    text = str(spec)
    path = Path(text)
    if not stores.is_url(text) and path.is_dir():
        return _folder(path, channels, background)
    if path.exists() or not (is_pattern(text) or stores.is_url(text)):
        if not path.is_file():
            raise FileNotFoundError(f"{path} must be a folder or a file of images, got nothing")
        return _files(printable(text), [text], channels, background)
    found = expanded(text)
    if len(found) == 1 and stores.is_url(found[0]) and ending(found[0]) not in _READERS:
        return _remote_folder(found[0], channels, background)
    return _files(printable(text), found, channels, background)


def expanded(spec: str) -> list[str]:
    """Return the files or the folder that a pattern or a URL stands for, in order."""
    found: list[str] = []
    for part in _parts(spec):
        for one in _braces(part):
            if "*" not in one and "[" not in one:
                found.append(one)
                continue
            those = stores.matching(one) if stores.is_url(one) else sorted(glob.glob(one))
            if not those:
                raise FileNotFoundError(f"{printable(one)} must match files, got none")
            found += those
    return found


def _parts(spec: str) -> list[str]:
    """Split at ``::``, but for those of fsspec's chains, such as ``simplecache::s3://``."""
    parts: list[str] = []
    for part in spec.split("::"):
        if parts and re.fullmatch(r"(.*::)?[a-z]+", parts[-1]):
            parts[-1] += f"::{part}"
        else:
            parts.append(part)
    return parts


def _braces(text: str) -> Iterator[str]:
    """Yield what a text with ``{000..099}`` or ``{a,b}`` stands for, as a shell does."""
    start, depth = text.find("{"), 0
    cuts = [start]  # the outer braces and the commas between them
    for i in range(start, len(text)) if start >= 0 else ():
        depth += (text[i] == "{") - (text[i] == "}")
        if depth == 0 or (depth == 1 and text[i] == ","):
            cuts.append(i)
        if depth == 0:
            break
    if start < 0 or depth:
        yield text
        return
    choices: Iterable[str] = [text[a + 1 : b] for a, b in pairwise(cuts)]
    inside = text[start + 1 : cuts[-1]]
    numbers = re.fullmatch(r"(\d+)\.\.(\d+)", inside)
    if numbers:
        first, last = numbers.groups()
        width = len(first) if first.startswith("0") else 0
        step = 1 if int(first) <= int(last) else -1
        choices = (f"{i:0{width}}" for i in range(int(first), int(last) + step, step))
    elif len(cuts) == 2:
        raise ValueError(f"{text} must have {{000..099}} or {{a,b}} in braces, got {{{inside}}}")
    for choice in choices:
        for middle in _braces(choice):
            for end in _braces(text[cuts[-1] + 1 :]):
                yield f"{text[:start]}{middle}{end}"


def _files(name: str, files: Sequence[str], channels: int, background: Colour | None) -> Source:
    """Open files of one kind."""
    for file in files:
        if not stores.is_url(file) and not Path(file).is_file():
            got = "no name" if not file else "a folder" if Path(file).is_dir() else "nothing"
            raise FileNotFoundError(f"{printable(file) or name} must be a file, got {got}")
    _refuse_twice(name, files)
    if all(listing.is_image_name(PurePosixPath(file).name) for file in files):
        if any(map(stores.is_url, files)):
            raise ValueError(f"{name} must be a folder or archives of images, got single images")
        return file_source.FileList(name, Path(), files, channels, background)
    kinds = sorted({ending(file) for file in files})
    if len(kinds) != 1 or kinds[0] not in _READERS:
        got = " and ".join(kind or "a file" for kind in kinds[:5])
        raise ValueError(
            f"{name} must be a folder, images, or files of one of the kinds "
            f"{', '.join(_READERS)}, got {got}"
        )
    kind = kinds[0]

    def open_file(file: str) -> Source:
        if not stores.is_url(file):
            source = _READERS[kind](Path(file), channels, background)
        else:
            source = _remote_file(file, kind, channels, background)
        if isinstance(source, file_source.Files) and len(files) > 1:
            source.without_folders()
        return source

    at_once = kind in _IN_PARTS or not any(map(stores.is_url, files))
    if at_once and len(files) <= _FEW:
        opened = [open_file(file) for file in files]
        return opened[0] if len(files) == 1 else Joined(name, list(zip(files, opened, strict=True)))
    _state(files[0])  # so that a mistake in the name shows at once

    def key(file: str) -> str | None:
        return key_of(_state(file), channels, background)

    return Several(name, files, open_file, key, channels, kind in _OF_IMAGES)


def _remote_file(url: str, kind: str, channels: int, background: Colour | None) -> Source:
    """Open a file of a store in parts, or fetch it where that is impossible."""
    if kind == ".parquet":
        return table_source.open_parquet(url, channels, background)
    if kind == ".zip":
        with suppress(stores.NoRanges):
            return file_source.RemoteZip(url, channels, background)
    if kind in (".npz", ".npy"):
        found = array_source.open_remote(url, channels)
        if found is not None:
            return found
    path, folder = stores.fetched(url)
    try:
        source = _READERS[kind](path, channels, background)
    except ValueError as error:
        raise ValueError(str(error).replace(str(path), printable(url))) from error
    source.name = printable(url)
    source.held = folder  # which goes with the source
    return source


def _refuse_twice(name: str, files: Sequence[str]) -> None:
    """Raise ValueError if a file is there twice: its images would count twice.

    Links and other paths lead to the same file. A list of images may name one several times.
    """
    seen: dict[str, str] = {}
    for file in files:
        url = file.rpartition("::")[2]  # of the store itself, however it is cached
        path = url.removeprefix("file://")
        place = url if stores.is_url(path) else os.path.realpath(path)
        if place in seen:
            one = seen[place]
            got = f"{file} twice" if one == file else f"{one} and {file}, which are one"
            raise ValueError(f"{name} must hold each file once, got {printable(got)}")
        seen[place] = file


def _state(file: str) -> str | None:
    return stores.state(file) if stores.is_url(file) else file_state(Path(file))


def _folder(path: Path, channels: int, background: Colour | None) -> Source:
    """Open the images below a folder, or else the files of images or features in it."""
    files = sorted(_kinds_of(listing.walk(path)))
    if not files:
        return file_source.Folder(path, channels, background)
    described = path / "dataset_dict.json"
    if described.is_file():  # of Hugging Face's save_to_disk
        splits = ", ".join(sorted(p.name for p in path.iterdir() if p.is_dir()))
        raise ValueError(f"{path} must be one split of a data set, got the folder of {splits}")
    return _files(
        printable(str(path)),
        [str(path / name) for name in _one_split(printable(str(path)), _saved_files(path, files))],
        channels,
        background,
    )


def _saved_files(path: Path, files: list[str]) -> list[str]:
    """Return the files that a folder of ``save_to_disk`` says are its own, else all."""
    try:
        state = json.loads((path / "state.json").read_text())
        return [str(file["filename"]) for file in state["_data_files"]]
    except (OSError, ValueError, KeyError, TypeError):
        return files


def _kinds_of(names: Iterator[str]) -> list[str]:
    """Return the files in a folder that hold images or features; none if it has images itself."""
    found: list[str] = []
    for name in names:
        if listing.is_image_name(name):
            return []
        of_lmdb = PurePosixPath(name).name == "lock.mdb"  # beside its data
        if ending(name) in _READERS and ending(name) not in _LISTS and not of_lmdb:
            found.append(name)
    return found


def _one_split(name: str, files: list[str]) -> list[str]:
    """Refuse a folder of several splits, as Hugging Face names them."""
    found = [_SPLIT.match(PurePosixPath(file).name) for file in files]
    splits = sorted({match[1] for match in found if match})
    if len(splits) > 1:
        raise ValueError(
            f"{name} must hold one split, got {', '.join(splits)}: name its files, such as "
            f"'{name}/**/{splits[0]}-*'"
        )
    return files


def may_hold_features(path: Path) -> bool:
    """Say whether a folder has no images, but files that may hold features."""
    found = _kinds_of(listing.walk(path))
    return any(ending(file) in OF_FEATURES for file in found)


def _remote_folder(url: str, channels: int, background: Colour | None) -> Source:
    name = printable(url)
    if not stores.is_folder(url):
        raise ValueError(
            f"{name} must be a folder, or a file of one of the kinds {', '.join(_READERS)}"
        )
    found = dict(stores.below(url))
    files = sorted(_kinds_of(iter(found)))
    if files:
        start = url.rstrip("/")
        files = [f"{start}/{file}" for file in _one_split(name, files)]
        return _files(name, files, channels, background)
    return file_source.RemoteFolder(url, found, channels, background)
