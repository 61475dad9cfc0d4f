"""Each mode against its own definition: Pillow, and the formulas of torch and TensorFlow 1."""

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from ganfast.features.resize import _antialias, resize
from tests.numerics import SEEDS, generator

SIDES = st.integers(1, 400)
GREY_LEVELS = 1e-4
# What torch's bilinear weights miss, which are the definition: it counts pixels in float32.
OF_A_PIXEL = {"torch": 255 * 2.0**-23, "antialias": 255 * 2.0**-22}


def picture(height, width, seed):
    return torch.randint(0, 256, (1, 2, height, width), generator=generator(seed)).to(torch.uint8)


def by_pillow(image, size):
    channels = [
        Image.fromarray(channel.numpy().astype(np.float32)).resize(
            (size, size), Image.Resampling.BICUBIC
        )
        for channel in image[0]
    ]
    return np.clip(np.stack([np.asarray(channel) for channel in channels]), 0, 255)


def triangles(n, size, antialias):
    """Normalised weights (size, n) of a triangle, as wide as the reduction with antialiasing."""
    scale = n / size
    width = max(scale, 1.0) if antialias else 1.0
    apart = np.arange(n)[None] + 0.5 - (np.arange(size)[:, None] + 0.5) * scale
    weights = np.maximum(1 - np.abs(apart) / width, 0)
    return weights / weights.sum(1, keepdims=True)


def bilinear(antialias):
    def resized(image, size):
        rows, columns = (triangles(n, size, antialias) for n in image.shape[2:])
        return rows @ image[0].double().numpy() @ columns.T

    return resized


def by_tensorflow_1(image, size):
    """out[i] = x[k] + (s i - k) (x[k + 1] - x[k]) with k = floor(s i) and s = in / out."""
    x = image[0].double().numpy()
    for axis in (1, 2):
        n = x.shape[axis]
        scale = np.float32(n) / np.float32(size)
        source = np.arange(size, dtype=np.float32) * scale
        low = np.floor(source).astype(int)
        part = (source - low.astype(np.float32)).astype(np.float64)
        part = part[:, None] if axis == 1 else part
        a, b = (np.take(x, np.minimum(at, n - 1), axis) for at in (low, low + 1))
        x = a + part * (b - a)
    return x


DEFINITIONS = {
    "clean": by_pillow,
    "torch": bilinear(False),
    "antialias": bilinear(True),
    "tf1": by_tensorflow_1,
}


@pytest.mark.parametrize("mode", DEFINITIONS)
@given(height=SIDES, width=SIDES, size=st.sampled_from([28, 224, 299]), seed=SEEDS)
@example(height=1, width=1024, size=299, seed=0)
@example(height=299, width=299, size=299, seed=0)
@example(height=1024, width=768, size=299, seed=1)
@settings(max_examples=40)
def test_equals_its_definition(mode, height, width, size, seed):
    image = picture(height, width, seed)
    found = resize(image, size, mode)
    assert found.dtype == torch.float32
    assert found.shape == (1, 2, size, size)
    difference = np.abs(found[0].numpy() - DEFINITIONS[mode](image, size)).max()
    assert difference <= GREY_LEVELS + OF_A_PIXEL.get(mode, 0) * max(height, width)


@given(height=SIDES, width=SIDES, seed=SEEDS)
@settings(max_examples=20)
def test_antialiasing_by_products_is_that_of_torch(height, width, seed):
    """What a GPU takes."""
    image = picture(height, width, seed)
    rows, columns = _antialias(height, 33), _antialias(width, 33)
    found = rows @ image.float() @ columns.T
    torch.testing.assert_close(found, resize(image, 33, "antialias"), rtol=0, atol=GREY_LEVELS)


@pytest.mark.parametrize("mode", [*DEFINITIONS, "none"])
def test_what_has_the_size_stays_as_it_is(mode):
    image = picture(31, 31, 0)
    assert torch.equal(resize(image, 31, mode), image.float())


def test_none_keeps_the_size():
    image = picture(20, 30, 0)
    assert torch.equal(resize(image, 299, "none"), image.float())


def test_a_constant_stays_constant():
    image = torch.full((1, 3, 57, 91), 200, dtype=torch.uint8)
    for mode in DEFINITIONS:
        assert (resize(image, 33, mode) - 200).abs().max() < 1e-4


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((picture(3, 3, 0), 5, "nearest"), "mode must be one of"),
        ((picture(3, 3, 0), 0, "clean"), "size must be at least 1"),
        ((picture(3, 3, 0)[0], 5, "clean"), "got"),
    ],
)
def test_bad_input(arguments, words):
    with pytest.raises(ValueError, match=words):
        resize(*arguments)
