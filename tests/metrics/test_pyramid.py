"""The sliced Wasserstein distance of Laplacian pyramids, step by step and on known damage."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage, stats

from ganfast import data
from ganfast.metrics.pyramid import PyramidDescriptors, pyramid, swd

BLUR = np.array([1, 4, 6, 4, 1]) / 16


def numpy_pyramid(image):
    """Of one channel (H, H), with SciPy's filters."""

    def blurred(x):
        for axis in (0, 1):
            x = ndimage.convolve1d(x, BLUR, axis, mode="mirror")
        return x

    levels = []
    while image.shape[0] % 2 == 0 and image.shape[0] // 2 >= 14:
        smaller = blurred(image)[::2, ::2]
        spread = np.zeros_like(image)
        spread[::2, ::2] = 4 * smaller
        levels.append(image - blurred(spread))
        image = smaller
    return [*levels, image]


@settings(max_examples=10)
@given(side=st.sampled_from([14, 15, 28, 30, 32, 64]), seed=st.integers(0, 99))
def test_the_pyramid_channel_by_channel(side, seed):
    images = torch.randint(0, 256, (2, 3, side, side), generator=torch.manual_seed(seed)).float()
    found = pyramid(images)
    assert [level.shape[3] for level in found] == {
        14: [14], 15: [15], 28: [28, 14], 30: [30, 15], 32: [32, 16], 64: [64, 32, 16]
    }[side]  # fmt: skip
    for n in range(2):
        for c in range(3):
            expected = numpy_pyramid(images[n, c].double().numpy())
            for level, wanted in zip(found, expected, strict=True):
                np.testing.assert_allclose(level[n, c].numpy(), wanted, atol=1e-3)


def test_the_distance_direction_by_direction():
    random = torch.manual_seed(0)
    x, y = (torch.randint(0, 256, (n, 3, 20, 20), dtype=torch.uint8) for n in (6, 6))
    one, two = (PyramidDescriptors(images, 9) for images in (x, y))
    for side, patches in one.levels.items():
        assert (side, patches.shape) == (20, (54, 147))
        channels = patches.double().view(54, 3, 49)
        torch.testing.assert_close(
            channels.mean((0, 2)), torch.zeros(3).double(), atol=1e-6, rtol=0
        )
        torch.testing.assert_close(channels.square().mean((0, 2)), torch.ones(3).double())
    found = one.distance(two, directions=70, seed=3)
    u = torch.randn(147, 70, generator=random.manual_seed(3)).double()
    u /= u.norm(dim=0)
    a, b = (d.levels[20].double() @ u for d in (one, two))
    expected = np.mean([stats.wasserstein_distance(a[:, k], b[:, k]) for k in range(70)])
    assert found.mean == found.levels[20] == pytest.approx(1000 * expected, rel=1e-5)
    assert found == two.distance(one, directions=70, seed=3)


def test_known_damage_is_seen_where_it_is():
    digits = data.load("digits", size=32)
    order = torch.randperm(5000, generator=torch.manual_seed(0))
    real, other = digits.images[order[:300]], digits.images[order[300:600]]
    labels = digits.labels[order[300:600]]
    floor = swd(real, other, neighbourhoods=32, directions=64)
    noise = torch.randn(other.shape, generator=torch.manual_seed(1)) * 25
    noisy = (other + noise).clamp(0, 255).byte()
    blurred = torch.nn.functional.avg_pool2d(other.float(), 3, 1, 1).byte()
    one_class = other[labels == 1].repeat(15, 1, 1, 1)[:300]
    same = other[:10].repeat(30, 1, 1, 1)
    found = {
        name: swd(real, images, neighbourhoods=32, directions=64)
        for name, images in (
            ("noisy", noisy), ("blurred", blurred), ("one class", one_class), ("same", same)
        )
    }  # fmt: skip
    assert all(damaged.mean > 1.3 * floor.mean for damaged in found.values())
    # Noise and blur are fine.
    assert all(found[name].levels[32] > 2 * found[name].levels[16] for name in ("noisy", "blurred"))
    # A change of contrast and brightness is normalized away.
    darker = (other // 2 + 60).byte()
    assert swd(other, darker, neighbourhoods=8, directions=16).mean < floor.mean
    assert swd(real, real).mean == 0


@pytest.mark.parametrize(
    ("images", "error", "message"),
    [
        (torch.zeros(2, 3, 16, 16), TypeError, "images must be uint8, got torch.float32"),
        (torch.zeros(2, 3, 16, 18).byte(), ValueError, r"H >= 14, got \(2, 3, 16, 18\)"),
        (torch.zeros(2, 3, 8, 8).byte(), ValueError, r"H >= 14, got \(2, 3, 8, 8\)"),
        (torch.zeros(0, 3, 16, 16).byte(), ValueError, "images must be 1 or more, got 0"),
        (torch.zeros(2, 1, 16, 16).byte(), ValueError, "other must be of images of 3 channels"),
    ],
)
def test_what_does_not_fit_is_refused(images, error, message):
    with pytest.raises(error, match=message):
        PyramidDescriptors(torch.zeros(2, 3, 16, 16).byte()).distance(PyramidDescriptors(images))


def test_one_image_and_one_colour_have_a_distance():
    one = torch.randint(0, 256, (1, 1, 14, 14), dtype=torch.uint8)
    flat = torch.full((3, 1, 14, 14), 9, dtype=torch.uint8)
    assert swd(one, one).mean == 0
    assert swd(flat, flat).mean == 0
    assert np.isfinite(swd(one, flat).mean)
