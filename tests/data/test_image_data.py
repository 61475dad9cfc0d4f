import pytest
import torch

from ganfast.data import ImageData, to_float, to_uint8
from ganfast.data.image_data import check_range

ALL_BYTES = torch.arange(256, dtype=torch.uint8)


def test_every_byte_maps_to_its_place_in_minus_one_to_one() -> None:
    floats = to_float(ALL_BYTES)
    assert floats.dtype == torch.float32
    exact = torch.arange(256, dtype=torch.float64) / 255 * 2 - 1
    assert (floats.double() - exact).abs().max() <= 2e-7
    assert floats[0] == -1
    assert floats[255] == 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_bytes_come_back_unchanged(dtype: torch.dtype) -> None:
    assert torch.equal(to_uint8(to_float(ALL_BYTES).to(dtype)), ALL_BYTES)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_scaled_in_single(dtype: torch.dtype) -> None:
    images = torch.linspace(-1, 1, 1001).to(dtype)
    expected = ((images.double() + 1) * 127.5).round()
    assert torch.equal(to_uint8(images).double(), expected)


def test_to_uint8_rounds_and_clamps() -> None:
    step = 2 / 255
    images = torch.tensor([-1 + 0.4 * step, -1 + 0.6 * step, -1.5, 7.0, float("inf")])
    assert to_uint8(images).tolist() == [0, 1, 0, 255, 255]


def test_the_images_given_are_not_changed() -> None:
    floats = torch.tensor([0.25, -3.0])
    to_uint8(floats)
    assert floats.tolist() == [0.25, -3.0]


def test_conversions_refuse_what_they_would_garble() -> None:
    with pytest.raises(TypeError, match=r"must be uint8.*float32"):
        to_float(torch.zeros(1))
    with pytest.raises(TypeError, match=r"must be floating-point.*uint8"):
        to_uint8(ALL_BYTES)
    with pytest.raises(ValueError, match="NaN"):
        to_uint8(torch.tensor([0.0, float("nan")]))


def test_image_data_checks_what_it_holds() -> None:
    images = torch.zeros(3, 1, 2, 2, dtype=torch.uint8)
    assert len(ImageData(images, None, "x")) == 3
    assert len(ImageData(images, torch.zeros(3, dtype=torch.int64), "x")) == 3
    with pytest.raises(TypeError, match=r"images must be a uint8 tensor, got torch\.float32"):
        ImageData(images.float(), None, "x")
    with pytest.raises(TypeError, match="images must be a uint8 tensor, got list"):
        ImageData([1], None, "x")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"\(N, C, H, W\).*\(3, 2, 2\)"):
        ImageData(images[:, 0], None, "x")
    with pytest.raises(ValueError, match=r"all at least 1, got \(0, 1, 2, 2\)"):
        ImageData(images[:0], None, "x")
    with pytest.raises(TypeError, match=r"labels must be an int64 tensor or None, got torch\.int8"):
        ImageData(images, torch.zeros(3, dtype=torch.int8), "x")
    with pytest.raises(ValueError, match=r"labels must have shape \(3,\).*\(2,\)"):
        ImageData(images, torch.zeros(2, dtype=torch.int64), "x")


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.linspace(0, 5, 300), "got values from 0 to 5"),
        (torch.linspace(0, 255, 300), "got values from 0 to 255"),
        (torch.linspace(-3, 3, 300), "got values from -3 to 3"),
        (torch.tensor([0.0, float("nan")]), "got NaN"),
        (torch.tensor([0.0, float("inf")]), "got values from 0 to inf"),
    ],
)
def test_a_range_that_cannot_be_meant_is_refused(images, message):
    with pytest.raises(ValueError, match=rf"x must be in \[-1, 1\], {message}"):
        check_range("x", images, -1.0, 1.0)


def test_values_a_little_past_the_range_are_let_pass():
    check_range("x", torch.linspace(-1.4, 1.4, 300), -1.0, 1.0)
    check_range("x", torch.cat([torch.zeros(999), torch.tensor([7.0])]), -1.0, 1.0)
