"""Damaged files of every kind end in a documented error; scripts/fuzz_readers.py tries more."""

import random
import warnings
from pathlib import Path

import pytest
from PIL import Image

from tests import fuzz


@pytest.mark.parametrize("name", fuzz.READERS)
def test_a_damaged_file_is_a_documented_error(name: str, tmp_path: Path) -> None:
    reader = fuzz.READERS[name]
    Image.init()
    if name.isupper() and name != "YAML" and name not in Image.SAVE:
        pytest.skip(f"this Pillow writes no {name}")
    whole = reader.whole()
    assert fuzz.try_one(reader, whole, tmp_path) is None or name == "zip"
    draw = random.Random(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(60):
            fuzz.try_one(reader, fuzz.mutated(whole, draw), tmp_path)
