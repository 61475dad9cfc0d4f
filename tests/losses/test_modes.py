"""Every adversarial loss without a sync, under autocast, with a scaler and under torch.compile."""

from typing import Any

import pytest
import torch
from losses.calls import CALLS, Call
from losses.formulas import maps
from numerics import bits
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from ganfast.losses import discriminator_loss

each_call = pytest.mark.parametrize("name", CALLS)
# One of each family for `make test`, as each call takes a second to compile.
COMPILED = [
    name if name in ("discriminator", "relativistic generator", "feature matching", "LeCam", "2C")
    else pytest.param(name, marks=pytest.mark.slow)
    for name in CALLS
]  # fmt: skip
LABELS = torch.tensor([0, 3, 1, 3])

# Operations that read values on the host, or whose result's shape depends on values.
SYNCS = {"aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select", "aten::is_nonzero"}


class NoSync(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert func._schema.name not in SYNCS, f"{func} waits for the device"
        return func(*args, **kwargs or {})


def inputs(dtype: torch.dtype = torch.float32) -> tuple[list[Tensor], list[Tensor], Tensor]:
    return maps(3, 0, dtype), maps(3, 1, dtype), LABELS


def derivatives(
    call: Call, dtype: torch.dtype = torch.float32, autocast: bool = False
) -> tuple[Tensor, list[Tensor]]:
    real, fake, labels = inputs(dtype)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        loss = call(real, fake, labels)
    grads = torch.autograd.grad(loss, real + fake, allow_unused=True)
    return loss, [g for g in grads if g is not None]


def test_the_mode_sees_a_sync() -> None:
    with NoSync(), pytest.raises(AssertionError, match="waits for the device"):
        torch.ones(1).item()


@each_call
def test_nothing_waits_for_the_device(name: str) -> None:
    with NoSync():
        derivatives(CALLS[name])


def test_flips_do_not_wait_for_the_device() -> None:
    real, fake, _ = inputs()
    with NoSync():
        discriminator_loss(real, fake, label_flips=0.5).backward()


@each_call
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_autocast_changes_nothing(name: str, dtype: torch.dtype) -> None:
    loss, grads = derivatives(CALLS[name], dtype)
    again, grads_again = derivatives(CALLS[name], dtype, autocast=True)
    assert loss.dtype == torch.float32
    assert bits(loss) == bits(again)
    for g, h in zip(grads, grads_again, strict=True):
        assert g.dtype == dtype
        assert bits(g) == bits(h)


@each_call
def test_a_scaled_loss_has_the_scaled_gradient_in_float16(name: str) -> None:
    real, fake, labels = inputs(torch.float16)
    scale = 2.0**10
    loss = CALLS[name](real, fake, labels)
    scaled = torch.autograd.grad(scale * loss, real + fake, allow_unused=True)
    wide = [x.detach().double().requires_grad_() for x in real + fake]
    expected = torch.autograd.grad(CALLS[name](wide[:3], wide[3:], labels), wide, allow_unused=True)
    for g, e in zip(scaled, expected, strict=True):
        if g is not None:
            torch.testing.assert_close(g.double() / scale, e, rtol=1e-2, atol=1e-5)


@pytest.mark.parametrize("name", COMPILED)
def test_torch_compile(name: str) -> None:
    expected, grads = derivatives(CALLS[name])
    torch._dynamo.reset()
    compiled = torch.compile(CALLS[name], fullgraph=True, backend="aot_eager")
    loss, grads_of_compiled = derivatives(compiled)
    torch.testing.assert_close(loss, expected)
    for g, e in zip(grads_of_compiled, grads, strict=True):
        torch.testing.assert_close(g, e)
