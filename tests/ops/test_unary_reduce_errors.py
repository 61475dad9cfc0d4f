"""What unary_reduce refuses, in the same words on the kernels and without them."""

import pytest
import torch
from torch import Tensor

from ganfast import ops


def reduce(x: object, f: str = "softplus", n: int | None = None) -> Tensor:
    numbers = [1.0] * (len(x) if n is None else n)
    return ops.unary_reduce(x, f, numbers, numbers, numbers)


def test_an_empty_list(road: str) -> None:
    with pytest.raises(ValueError, match=r"unary_reduce: x must hold at least one tensor.*empty"):
        reduce([])


def test_an_empty_tensor(road: str) -> None:
    with pytest.raises(
        ValueError, match=r"unary_reduce: x\[1\] must hold at least one element.*\[0, 3\]"
    ):
        reduce([torch.ones(2), torch.ones(0, 3)])


@pytest.mark.parametrize(
    ("dtype", "name"),
    [(torch.int64, "Long|int64"), (torch.bool, "Bool|bool"), (torch.complex64, "Compl|complex64")],
    ids=str,
)
@pytest.mark.parametrize("k", [0, 1])
def test_a_tensor_that_is_not_floating_point(
    k: int, dtype: torch.dtype, name: str, road: str
) -> None:
    x = [torch.ones(2), torch.ones(2)]
    x[k] = x[k].to(dtype)
    with pytest.raises(
        TypeError,
        match=rf"unary_reduce: x\[{k}\] must have dtype float64, float32, float16 or bfloat16, "
        rf"got .*({name})",
    ):
        reduce(x)


def test_two_dtypes(road: str) -> None:
    with pytest.raises(
        TypeError,
        match=r"unary_reduce: x\[2\] must have the dtype of x\[0\], .*(Float|float32), "
        r"got .*(Half|float16)",
    ):
        reduce([torch.ones(2), torch.ones(1), torch.ones(3, dtype=torch.float16)])


@pytest.mark.parametrize("devices", [("cpu", "meta"), ("meta", "cpu")])
def test_two_devices(devices: tuple[str, str], road: str) -> None:
    with pytest.raises(
        ValueError,
        match=rf"unary_reduce: x\[1\] must have the device of x\[0\], {devices[0]}, "
        rf"got {devices[1]}",
    ):
        reduce([torch.ones(2, device=device) for device in devices])


@pytest.mark.parametrize("which", ["weight", "a", "b"])
@pytest.mark.parametrize("numbers", [[], [1.0], [1.0, 1.0, 1.0]], ids=len)
def test_numbers_that_do_not_match_the_tensors(which: str, numbers: list[float], road: str) -> None:
    parameters = {"weight": [1.0] * 2, "a": [1.0] * 2, "b": [1.0] * 2, which: numbers}
    lengths = [len(p) for p in parameters.values()]
    with pytest.raises(
        ValueError,
        match="unary_reduce: weight, a and b must have one number for each of the 2 tensors, "
        f"got {lengths[0]}, {lengths[1]} and {lengths[2]}",
    ):
        ops.unary_reduce([torch.ones(2), torch.ones(3)], "softplus", **parameters)


def test_an_unknown_function(road: str) -> None:
    with pytest.raises(
        ValueError, match=r"unary_reduce: f must be one of softplus.*hinge, got swi"
    ):
        reduce([torch.ones(2)], "swish")


@pytest.mark.compiled
def test_the_registered_op_refuses_in_the_same_way() -> None:
    op = torch.ops.ganfast.unary_reduce
    for device in ("cpu", "meta"):
        with pytest.raises(TypeError, match=r"x\[0\] must have dtype"):
            op([torch.ones(2, dtype=torch.int64, device=device)], "softplus", [1], [1], [1])
        with pytest.raises(ValueError, match="f must be one of"):
            op([torch.ones(2, device=device)], "swish", [1], [1], [1])


@pytest.mark.compiled
def test_the_registered_derivatives_read_nothing_but_their_tensors() -> None:
    """Whoever calls them with a cotangent of another shape or dtype is told so."""
    op = torch.ops.ganfast
    x, parameters = [torch.ones(4)], ("softplus", [1.0], [1.0], [1.0])
    with pytest.raises(ValueError, match=r"v\[0\].*shape"):
        op.unary_reduce_double_backward(torch.ones(()), x, [torch.ones(3)], *parameters)
    with pytest.raises(ValueError, match=r"\bv\b"):
        op.unary_reduce_double_backward(torch.ones(()), x, [], *parameters)
    with pytest.raises(TypeError, match=r"v\[0\].*dtype"):
        op.unary_reduce_double_backward(torch.ones(()), x, [torch.ones(4).half()], *parameters)
    with pytest.raises(TypeError, match=r"grad.*dtype"):
        op.unary_reduce_backward(torch.ones((), dtype=torch.float16), x, *parameters)
    with pytest.raises(ValueError, match="grad"):
        op.unary_reduce_backward(torch.ones(2), x, *parameters)
