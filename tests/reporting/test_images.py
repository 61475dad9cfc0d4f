"""Sheets hold each image at its place, pixel for pixel."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ganfast.reporting.images import grid, write_png


@settings(max_examples=40, deadline=None)
@given(
    count=st.integers(1, 9),
    channels=st.sampled_from([1, 3]),
    height=st.integers(1, 5),
    width=st.integers(1, 5),
    columns=st.integers(1, 5),
    padding=st.integers(0, 3),
    scale=st.integers(1, 3),
    seed=st.integers(0, 99),
)
def test_every_pixel_is_where_it_belongs(
    count, channels, height, width, columns, padding, scale, seed
):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 255, (count, channels, height, width), dtype=np.uint8)
    sheet = np.asarray(grid(torch.from_numpy(images), columns, padding, scale))
    sheet = sheet.reshape(*sheet.shape[:2], channels)
    columns = min(columns, count)
    rows = -(-count // columns)
    expected_shape = (
        rows * (height * scale + padding) + padding,
        columns * (width * scale + padding) + padding,
        channels,
    )
    assert sheet.shape == expected_shape
    painted = np.zeros(sheet.shape[:2], bool)
    for n in range(count):
        top = padding + n // columns * (height * scale + padding)
        left = padding + n % columns * (width * scale + padding)
        for y in range(height * scale):
            for x in range(width * scale):
                pixel = images[n, :, y // scale, x // scale]
                assert (sheet[top + y, left + x] == pixel).all()
                painted[top + y, left + x] = True
    assert (sheet[~painted] == 255).all()


def test_floats_are_mapped_from_minus_one_to_one():
    values = torch.tensor([-1.0, 0.0, 1.0, -7.0, 7.0]).reshape(5, 1, 1, 1)
    sheet = np.asarray(grid(values.requires_grad_(), columns=5, padding=0))
    assert sheet.tolist() == [[0, 128, 255, 0, 255]]


def test_the_default_sheet_is_about_square():
    assert grid(torch.zeros(64, 1, 3, 3), padding=0).size == (24, 24)
    assert grid(torch.zeros(5, 1, 3, 3), padding=0).size == (9, 6)


@pytest.mark.parametrize("shape", [(4, 4), (1, 2, 4, 4), (0, 1, 4, 4), (1, 1, 0, 4)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match="images must have shape"):
        grid(torch.zeros(shape))


def test_other_values_are_refused():
    with pytest.raises(TypeError, match="int64"):
        grid(torch.zeros(1, 1, 2, 2, dtype=torch.int64))
    with pytest.raises(ValueError, match="scale=0"):
        grid(torch.zeros(1, 1, 2, 2), scale=0)


def test_png_files_read_back(tmp_path):
    images = torch.randint(0, 256, (4, 3, 5, 5), dtype=torch.uint8)
    sheet = grid(images)
    write_png(sheet, tmp_path / "new" / "a.png")
    with Image.open(tmp_path / "new" / "a.png") as back:
        assert back.format == "PNG"
        assert np.array_equal(np.asarray(back), np.asarray(sheet))
