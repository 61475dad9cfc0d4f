"""The list ops and memory: strides kept, nothing copied without need, the same bits every time."""

from collections.abc import Callable

import pytest
import torch
from numerics import LAYOUTS, bits, generator
from torch import Tensor

from ganfast import ops

compiled = pytest.mark.compiled

DENSE = ("contiguous", "permuted", "channels_last", "unaligned")  # without gaps and overlaps
BLOCKS = ("contiguous", "channels_last", "unaligned")  # one sample after the other
SHAPE = (3, 4, 5, 2)


def laid_out(layout: str, seed: int = 0, shape: tuple[int, ...] = SHAPE) -> Tensor:
    return LAYOUTS[layout](torch.randn(shape, generator=generator(seed))).requires_grad_()


def flat(x: Tensor, *y: Tensor) -> Tensor:
    return ops.flat([x], "softplus", [1.0], [1.0], [0.0], y)


def rows(x: Tensor, *y: Tensor) -> Tensor:
    return ops.rows([x], "softplus", [1 / len(x)], [1.0], [0.0], y).sum()


def norms(x: Tensor) -> Tensor:
    return ops.norms([x], "centred", 1.0, 1.0)


each_op = pytest.mark.parametrize("op", [flat, rows, norms])
each_list_op = pytest.mark.parametrize("op", [flat, rows])


def copies(op: Callable[..., Tensor], *t: Tensor) -> int:
    """How often the loss and its gradients copy a tensor."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        torch.autograd.grad(op(*t), t)
    return sum(event.name == "aten::copy_" for event in profile.events())


@compiled
@each_op
@pytest.mark.parametrize("layout", sorted(LAYOUTS))
def test_only_tensors_of_other_layouts_are_copied(op: Callable[..., Tensor], layout: str) -> None:
    x = laid_out(layout)
    as_it_is = layout in (DENSE if op is flat else BLOCKS)
    assert copies(op, x) == (0 if as_it_is else 2)  # once on the way forward, once on the way back
    if as_it_is:
        (dx,) = torch.autograd.grad(op(x), x, create_graph=True)
        (ddx,) = torch.autograd.grad(dx.square().sum(), x)
        assert dx.stride() == ddx.stride() == x.stride()


@compiled
@pytest.mark.parametrize("shape", [(), (1, 1)])
def test_nor_are_those_that_a_number_is_subtracted_from(shape: tuple[int, ...]) -> None:
    y = torch.randn(shape, generator=generator(1)).requires_grad_()
    assert {layout for layout in LAYOUTS if copies(flat, laid_out(layout), y) == 0} == set(DENSE)


def allocated(op: Callable[..., Tensor], *t: Tensor) -> int:
    """Bytes that the loss and its gradients allocate, freed ones included."""
    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities, profile_memory=True) as profile:
        torch.autograd.grad(op(*t), [x for x in t if x.requires_grad])
    return sum(max(event.self_cpu_memory_usage, 0) for event in profile.key_averages())


SMALL = 128  # bytes of scalars, and of numbers for samples


@compiled
@each_list_op
@pytest.mark.parametrize("wanted", ["x", "y", "xy"])
@pytest.mark.parametrize("layout", BLOCKS)
def test_differences_cost_their_gradients_alone(
    op: Callable[..., Tensor], wanted: str, layout: str
) -> None:
    x, y = (laid_out(layout, k).requires_grad_(name in wanted) for k, name in enumerate("xy"))
    assert allocated(op, x, y) <= len(wanted) * x.nbytes + SMALL
    gradients = torch.autograd.grad(op(x, y), [t for t in (x, y) if t.requires_grad])
    assert all(g.stride() == x.stride() for g in gradients)


@compiled
def test_a_number_costs_its_own_gradient_alone() -> None:
    x, y = laid_out("contiguous"), laid_out("contiguous", 1, ())
    assert allocated(flat, x, y) <= x.nbytes + y.nbytes + SMALL
    assert allocated(flat, x.detach(), y) <= y.nbytes + SMALL


@compiled
@each_list_op
def test_nothing_but_the_inputs_is_saved(op: Callable[..., Tensor]) -> None:
    x, y = laid_out("contiguous"), laid_out("contiguous", 1).detach()
    saved: list[int] = []

    def pack(t: Tensor) -> Tensor:
        saved.append(t.data_ptr())
        return t

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        op(x, y)
    assert saved == [x.data_ptr(), y.data_ptr()]


@each_list_op
@pytest.mark.parametrize("of_x", sorted(LAYOUTS))
def test_differences_of_any_strides(op: Callable[..., Tensor], of_x: str, route: str) -> None:
    x = laid_out(of_x)
    shapes = (SHAPE, SHAPE[1:]) if op is flat else (SHAPE,)
    for of_y, shape in ((layout, shape) for layout in sorted(LAYOUTS) for shape in shapes):
        y = laid_out(of_y, 1, shape)
        dx, dy = torch.autograd.grad(op(x, y), [x, y])
        expected = torch.sigmoid(x - y).detach() / x.numel()
        torch.testing.assert_close((dx, dy), (expected, -expected.sum_to_size(shape)))
        torch.testing.assert_close(op(x, y), torch.nn.functional.softplus(x - y).mean())


@compiled
@each_list_op
def test_a_cotangent_of_other_strides_meets_its_own_element(op: Callable[..., Tensor]) -> None:
    x = laid_out("permuted")
    v = torch.randn(x.shape, generator=generator(1))
    (dx,) = torch.autograd.grad(op(x), x, create_graph=True)
    (ddx,) = torch.autograd.grad(dx, x, v, retain_graph=True)
    (same,) = torch.autograd.grad(dx, x, LAYOUTS["permuted"](v))
    assert torch.equal(ddx, same)
    s = torch.sigmoid(x.detach())
    torch.testing.assert_close(ddx, v * s * (1 - s) / x.numel())


@each_list_op
def test_values_negated_in_the_mind_alone(op: Callable[..., Tensor], route: str) -> None:
    """The imaginary part of a conjugate is a view that torch negates when it is read."""
    z = torch.randn(9, dtype=torch.complex64, generator=generator(0))
    assert z.conj().imag.is_neg()
    assert torch.equal(op(z.conj().imag), op(-z.imag))
    assert torch.equal(op(z.real, z.conj().imag), op(z.real, -z.imag))


#: Lists that are divided among threads in different ways.
SIZES = {
    "few": [(64, 1), (64, 1)],
    "large": [(1_000, 1000), (1, 1), (7, 10_003)],
    "many": [(3, 1399)] * 60,
    "many samples": [(70_001, 1), (70_001, 2)],
    "large samples": [(7, 30_000), (7, 2)],
}
Call = Callable[[list[Tensor], list[Tensor], list[float]], Tensor]
OF_X: dict[str, Call] = {
    "flat": lambda x, y, n: ops.flat(x, "softplus", n, n, n),
    "flat, identity": lambda x, y, n: ops.flat(x, "identity", n, n, n),
    "rows": lambda x, y, n: ops.rows(
        x, "softplus", n, n, n, sample_weight=[x[0][:, 0].detach().abs()] * len(x), normalize=True
    ),
    "norms": lambda x, y, n: ops.norms(x, "centred", 10.0, 1.0),
    "norms of pixels": lambda x, y, n: ops.norms(
        [xk.view(*xk.shape, 1).expand(-1, -1, 2) for xk in x], "centred", 10.0, 1.0, 0.0, True
    ),
}
OF_DIFFERENCES: dict[str, Call] = {
    "flat of differences": lambda x, y, n: ops.flat(x, "softplus", n, n, n, y),
    "flat, each term": lambda x, y, n: ops.flat(x, "l1", n, n, n, y, per_term=True),
    "flat, a sample": lambda x, y, n: ops.flat(x, "softplus", n, n, n, [yk[0] for yk in y]),
    "flat, a number": lambda x, y, n: ops.flat(x, "square", n, n, n, [yk[0, 0] for yk in y]),
    "rows of differences": lambda x, y, n: ops.rows(x, "softplus", n, n, n, y),
}
CALLS = OF_X | OF_DIFFERENCES


@compiled
@pytest.mark.parametrize(
    ("name", "sizes"),
    [(name, s) for name in CALLS for s in SIZES if "flat" in name or s not in ("few", "large")],
)
def test_the_same_bits_every_time(name: str, sizes: str, restored_threads: None) -> None:
    """Those of the loss with statistics included, which come from the same pass."""
    random = generator(0)
    x, y = ([torch.randn(s, generator=random).requires_grad_() for s in SIZES[sizes]] for _ in "xy")
    n = [1.0] * len(x)
    inputs = [*x, *y] if name in OF_DIFFERENCES else x
    results = []
    for threads in (1, 2, 2, 3):
        torch.set_num_threads(threads)
        loss = CALLS[name](x, y, n)
        grad = torch.ones_like(loss).requires_grad_()
        dx = torch.autograd.grad(loss, inputs, grad, create_graph=True)
        second = torch.autograd.grad(dx, [grad, *inputs], [t.detach() for t in inputs])
        made = [loss, *dx, *second]
        if name == "flat":
            of_stats, stats = ops.flat_with_stats(x, "softplus", n, n, n, 0.5)
            assert bits(of_stats) == bits(loss)
            made.append(stats)
        results.append([bits(t) for t in made])
    assert all(result == results[0] for result in results)
