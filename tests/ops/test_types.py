"""Subclasses of Tensor take the reference, whose operations they can define."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from ganfast import DiffAugment, ops, penalties, regularizers
from ganfast.augment import AdaptiveAugment
from ganfast.losses import (
    AdversarialLoss,
    LeCam,
    RelativisticAverageLoss,
    RelativisticLoss,
    crammer_singer_loss,
    discriminator_loss,
    feature_matching,
    pixel_loss,
)


class Counted(Tensor):
    """Sees each function of torch."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert "ganfast" not in str(func)
        return super().__torch_function__(func, types, args, kwargs or {})


class Wrapped(Tensor):
    """Sees each operation, as DTensor and quantized tensors do; has no memory of its own."""

    @staticmethod
    def __new__(cls, inner: Tensor) -> "Wrapped":
        return Tensor._make_wrapper_subclass(
            cls, inner.shape, strides=inner.stride(), dtype=inner.dtype, device=inner.device
        )

    def __init__(self, inner: Tensor) -> None:
        self.inner = inner

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert func.namespace != "ganfast"
        args, kwargs = tree_map(unwrapped, (args, kwargs or {}))
        return tree_map(lambda x: cls(x) if isinstance(x, Tensor) else x, func(*args, **kwargs))


def unwrapped(x: Any) -> Any:
    return x.inner if isinstance(x, Wrapped) else x


D = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 5), nn.Tanh(), nn.Linear(5, 1))
WEIGHTS = torch.tensor([0.5, 1.0, 0.0, 2.0])
N = [1.0], [0.0], [0.0]

Call = Callable[[Tensor, Tensor], Tensor]
CALLS: dict[str, Call] = {
    "list": lambda x, y: discriminator_loss([x, y], [y, x]),
    "samples": lambda x, y: discriminator_loss(x, y, reduction="none").sum(),
    "weights": lambda x, y: discriminator_loss(x, y, real_weight=WEIGHTS),
    "masks": lambda x, y: discriminator_loss(x, y, real_weight=x > 0, fake_weight=y > 0),
    "statistics": lambda x, y: AdversarialLoss("hinge").discriminator_with_stats(x, y)[0],
    "pairs": lambda x, y: RelativisticLoss().discriminator(x, y),
    "averages": lambda x, y: RelativisticAverageLoss().discriminator(x, y),
    "LeCam": lambda x, y: LeCam().eval()(x, y),
    "features": lambda x, y: feature_matching([x], [y], "relative_l1"),
    "pixels": pixel_loss,
    "multi-hinge": lambda x, y: crammer_singer_loss(x.flatten(1), torch.arange(4)),
    "one of two": lambda x, y: pixel_loss(x, WEIGHTS.view(4, 1, 1, 1).expand(4, 3, 8, 8)),
    "the other": lambda x, y: ops.flat(
        [WEIGHTS.view(4, 1, 1, 1).expand(4, 3, 8, 8).contiguous()], "l1", *N, [x]
    ),
    "sample weights": lambda x, y: ops.rows(
        [x.detach() * 1], "square", *N, sample_weight=[y[:, 0, 0, 0].detach()]
    ).sum() + x.sum(),
    "wgan_gp": lambda x, y: penalties.wgan_gp(D, x, y, alpha=0.5),
    "r1": lambda x, y: penalties.r1(D, x),
    "max_gp": lambda x, y: penalties.max_gp(D, x, y, alpha=0.5),
    "approximate_r1": lambda x, y: penalties.approximate_r1(D, x, noise=y),
    "DiffAugment": lambda x, y: DiffAugment(x, "color,translation,cutout").sum(),
    "AdaptiveAugment": lambda x, y: AdaptiveAugment(p=0.5)(x).sum(),
    "consistency": lambda x, y: regularizers.consistency(x, y),
    "disc_shift": lambda x, y: regularizers.disc_shift(x),
}  # fmt: skip


def images(seed: int) -> Tensor:
    return torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("kind", [Counted, Wrapped])
@pytest.mark.parametrize("name", CALLS)
def test_subclasses_take_the_reference(name: str, kind: type[Tensor]) -> None:
    call, plain = CALLS[name], [images(k).requires_grad_() for k in range(2)]
    torch.manual_seed(0)
    expected = call(*plain)
    made = [images(k).as_subclass(kind) if kind is Counted else kind(images(k)) for k in range(2)]
    made = [x.requires_grad_() for x in made]
    torch.manual_seed(0)
    loss = call(*made)
    assert type(loss) is kind
    of_plain = expected, *torch.autograd.grad(expected, plain[:1], allow_unused=True)
    of_kind = loss, *torch.autograd.grad(loss, made[:1], allow_unused=True)
    for g, e in zip(of_kind, of_plain, strict=True):
        assert (g is None) == (e is None)
        if g is not None:
            g = unwrapped(g).as_subclass(Tensor)
            torch.testing.assert_close(g, e, rtol=1e-5, atol=1e-6)


def test_nested_tensors() -> None:
    rows = [torch.randn(3, 5), torch.randn(2, 5)]
    x = torch.nested.nested_tensor(rows, layout=torch.jagged)
    y = torch.nested.nested_tensor_from_jagged(-x.values(), x.offsets())
    plain = torch.cat(rows)
    for f in ("hinge", "non_saturating"):
        expected = discriminator_loss(plain, -plain, f)
        torch.testing.assert_close(discriminator_loss(x, y, f), expected)
    torch.testing.assert_close(feature_matching([x], [y]), 2 * plain.abs().mean())


def test_parameters_take_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    x = nn.Parameter(torch.randn(4, 3))
    expected = discriminator_loss(x, x)
    monkeypatch.delattr("ganfast.reference.flat")
    if "cpu" in ops._ext.DEVICES:
        assert discriminator_loss(x, x) == expected


@pytest.mark.parametrize("name", ["wgan_gp", "r1", "max_gp", "approximate_r1", "DiffAugment"])
def test_under_torch_func(name: str) -> None:
    """Derivatives in the images, in D's parameters, for many batches at once, and forward."""
    x, y = images(0).double(), images(1).double()
    parameters = {k: p.detach().double() for k, p in D.named_parameters()}

    def loss(of: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        def discriminator(z: Tensor) -> Tensor:
            return torch.func.functional_call(D, of, (z,))

        torch.manual_seed(0)
        if name == "DiffAugment":
            return discriminator(DiffAugment(x, "color,translation,cutout")).square().sum()
        of_name = {
            "wgan_gp": lambda: penalties.wgan_gp(discriminator, x, y, alpha=0.5),
            "r1": lambda: penalties.r1(discriminator, x),
            "max_gp": lambda: penalties.max_gp(discriminator, x, y, alpha=0.5),
            "approximate_r1": lambda: penalties.approximate_r1(discriminator, x, noise=y),
        }
        return of_name[name]()

    leaves = {k: p.clone().requires_grad_() for k, p in parameters.items()}
    expected = torch.autograd.grad(loss(leaves, x, y), list(leaves.values()), allow_unused=True)
    got = torch.func.grad(loss)(parameters, x, y)
    for g, e in zip(got.values(), expected, strict=True):
        torch.testing.assert_close(g, torch.zeros_like(g) if e is None else e)
    batches = [torch.stack([z, z.flip(0) / 2]) for z in (x, y)]
    each = [loss(parameters, *batch).detach() for batch in zip(*batches, strict=True)]
    at_once = torch.func.vmap(loss, (None, 0, 0), randomness="same")(parameters, *batches)
    torch.testing.assert_close(at_once, torch.stack(each))
    tangents = {k: torch.ones_like(p) for k, p in parameters.items()}
    _, slope = torch.func.jvp(lambda p: loss(p, x, y), (parameters,), (tangents,))
    torch.testing.assert_close(slope, sum(e.sum() for e in expected if e is not None))
