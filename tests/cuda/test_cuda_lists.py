"""The list ops on a GPU: accuracy, torch's rules, bits, graphs, streams."""

from collections.abc import Callable

import pytest
import torch
from launches import captured
from numerics import LAYOUTS, bits, generator
from ops.functors import DTYPES, LOGITS
from ops.test_accuracy import (  # noqa: F401
    test_all_orders,
    test_all_orders_of_norms,
    test_every_two_byte_number_is_read_and_written_exactly,
)
from ops.test_autograd import (  # noqa: F401
    FORMS,
    arguments,
    test_gradcheck,
    test_gradcheck_of_norms,
)
from ops.test_norms import test_zero_gradients_give_zero  # noqa: F401
from ops.test_values import test_extreme_values_go_through_as_in_plain_torch  # noqa: F401
from torch import Tensor

from ganfast import ops

each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=generator(seed)).cuda().requires_grad_()


def softplus(x: list[Tensor]) -> Tensor:
    return ops.flat(x, "softplus", [1.0] * len(x), [1.0] * len(x), [0.0] * len(x))


@each_dtype
@pytest.mark.parametrize("form", FORMS)
def test_the_ops_keep_torchs_rules(form: str, dtype: torch.dtype) -> None:
    family = "flat" if form.startswith("flat") else "rows"
    checks = ("test_schema", "test_autograd_registration", "test_faketensor")
    for order, given_ in zip(
        ("", "_backward", "_double_backward"), arguments(form, dtype, True, "cuda"), strict=True
    ):
        op = getattr(torch.ops.ganfast, f"{family}{order}").default
        torch.library.opcheck(op, given_, test_utils=checks)


@pytest.mark.parametrize("of_y", sorted(LAYOUTS))
@pytest.mark.parametrize("of_x", sorted(LAYOUTS))
def test_tensors_of_any_strides(of_x: str, of_y: str) -> None:
    x = LAYOUTS[of_x](randn(3, 4, 5, 2).detach()).requires_grad_()
    n = ([2.0], [0.0], [0.0])
    for shape in ((3, 4, 5, 2), (4, 5, 2), ()):
        y = LAYOUTS[of_y](randn(*shape, seed=1).detach()).requires_grad_()
        expected = 2 * (x - y).sign() / x.numel()
        gradients = torch.autograd.grad(ops.flat([x], "l1", *n, [y]), [x, y])
        torch.testing.assert_close(gradients, (expected, -expected.sum_to_size(shape)))
    y = LAYOUTS[of_y](randn(3, 4, 5, 2, seed=1).detach()).requires_grad_()
    expected = 2 * (x - y).sign() / 40
    gradients = torch.autograd.grad(ops.rows([x], "l1", *n, [y]).sum(), [x, y])
    torch.testing.assert_close(gradients, (expected, -expected))
    for loss, kept in ((softplus([x]), "permuted"), (ops.norms([x], "square"), "contiguous")):
        if of_x in (kept, "contiguous", "channels_last", "unaligned"):
            assert torch.autograd.grad(loss, x)[0].stride() == x.stride()


Call = Callable[[list[Tensor], list[Tensor], list[float]], Tensor]
OF_X: dict[str, Call] = {
    **{
        f"flat {f}": lambda x, y, n, f=f: ops.flat(x, f, n, [0.5 * k for k in n], n)
        for f in LOGITS
    },
    "rows": lambda x, y, n: ops.rows(
        x, "softplus", n, n, n, sample_weight=[x[0][:, 0].detach().abs()] + [None] * (len(x) - 1),
        normalize=True,
    ),
    "norms": lambda x, y, n: ops.norms(x, "centred", 10.0, 1.0),
    "norms, maximum": lambda x, y, n: ops.norms(x, "maximum", 10.0),
    "norms of pixels": lambda x, y, n: ops.norms(
        [xk.view(*xk.shape, 1).expand(-1, -1, 2) for xk in x], "centred", 10.0, 1.0, 0.0, True
    ),
}  # fmt: skip
OF_DIFFERENCES: dict[str, Call] = {
    "flat of differences": lambda x, y, n: ops.flat(x, "softplus", n, n, n, y),
    "flat, each term": lambda x, y, n: ops.flat(x, "square", n, n, n, y, per_term=True),
    "flat, a sample": lambda x, y, n: ops.flat(x, "softplus", n, n, n, [yk[0] for yk in y]),
    "flat, a number": lambda x, y, n: ops.flat(x, "softplus", n, n, n, [yk[0, 0] for yk in y]),
    "rows of differences": lambda x, y, n: ops.rows(x, "softplus", n, n, n, y),
}
CALLS = OF_X | OF_DIFFERENCES
#: Lists that are divided among blocks and launches in different ways.
SIZES = {
    "few": [(64, 1), (64, 1)],
    "large": [(1000, 17_000), (1000, 1), (1000, 71)],
    "many": [(3, 1399)] * 60,
    "more than one launch takes": [(11, 3)] * 450,
    "many samples": [(1_000_003, 1), (1_000_003, 2)],  # a thread for each, lanes of a warp
    "some samples": [(5000, 40), (5000, 3)],
    "large samples": [(3, 2_000_001), (3, 7)],  # several blocks for each
    "samples of a block": [(2000, 1500)],
}
each_call = pytest.mark.parametrize("name", CALLS)


def lists(sizes: list[tuple[int, int]]) -> tuple[list[Tensor], list[Tensor]]:
    x, y = ([randn(*s, seed=10 * k + side) for k, s in enumerate(sizes)] for side in (0, 1))
    return x, y


def all_orders(name: str, x: list[Tensor], y: list[Tensor]) -> list[Tensor]:
    loss = CALLS[name](x, y, [1.0] * len(x))
    inputs = [*x, *y] if name in OF_DIFFERENCES else x
    grad = torch.linspace(0.5, 1.5, loss.numel(), device=loss.device).view(loss.shape)
    grad.requires_grad_()
    first = torch.autograd.grad(loss, inputs, grad, create_graph=True)
    second = torch.autograd.grad(first, [grad, *inputs], [t.detach() for t in inputs])
    return [loss.detach(), *(d.detach() for d in first), *second]


@pytest.mark.parametrize("sizes", SIZES)
@each_call
def test_the_cpus_numbers_and_the_same_bits_every_time(name: str, sizes: str) -> None:
    x, y = lists(SIZES[sizes])
    first = all_orders(name, x, y)
    for _ in range(3):
        assert [bits(t) for t in all_orders(name, x, y)] == [bits(t) for t in first]
    on_cpu = ([t.detach().cpu().requires_grad_() for t in tensors] for tensors in (x, y))
    for got, expected in zip(first, all_orders(name, *on_cpu), strict=True):
        atol = 4e-6 * float(expected.abs().max())
        torch.testing.assert_close(got.cpu(), expected, rtol=4e-6, atol=atol)


@pytest.mark.parametrize("sizes", ["few", "many", "more than one launch takes", "some samples"])
@each_call
def test_a_graph_is_captured_and_replayed(name: str, sizes: str) -> None:
    """All three orders; the sums of the weights of samples included."""
    x, y = lists(SIZES[sizes])
    graph, made = captured(lambda: all_orders(name, x, y))
    for seed in (1, 2):
        with torch.no_grad():
            for k, t in enumerate((*x, *y)):
                t.copy_(randn(*t.shape, seed=1000 * seed + k))
        graph.replay()
        replayed = [bits(t) for t in made]
        assert replayed == [bits(t) for t in all_orders(name, x, y)]


def test_the_current_stream_is_used() -> None:
    """On the default stream the inputs would be read before they are written."""
    x = torch.zeros(1_000_000, device="cuda", requires_grad=True)
    softplus([x])
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        torch.cuda._sleep(200_000_000)
        with torch.no_grad():
            x.fill_(3)
        loss = softplus([x])
        (dx,) = torch.autograd.grad(loss, x)
    side.synchronize()
    expected = torch.tensor(3.0)
    torch.testing.assert_close(loss.cpu(), torch.nn.functional.softplus(expected))
    torch.testing.assert_close(dx[-1].cpu() * x.numel(), torch.sigmoid(expected))


def test_lists_on_two_devices_are_refused() -> None:
    n = ([1.0, 1.0], [0.0, 0.0], [0.0, 0.0])
    here, there = randn(3), torch.ones(3)
    for op in (ops.flat, ops.rows):
        with pytest.raises(ValueError, match=r"x\[1\] must have the device of x\[0\], cuda:0, got"):
            op([here, there], "l1", *n)
        with pytest.raises(ValueError, match=r"x\[1\] must have the device of x\[0\], cpu, got"):
            op([there, here], "l1", *n)
        for x, y in ((here, there), (there, here)):
            with pytest.raises(ValueError, match=r"y\[0\] must have the device of x\[0\]"):
                op([x], "l1", [1.0], [0.0], [0.0], [y])
    with pytest.raises(ValueError, match=r"y\[0\] must have the device of x\[0\]"):
        ops.flat([here], "l1", [1.0], [0.0], [0.0], [there.sum()])


@pytest.mark.slow
def test_more_elements_than_32_bits_count() -> None:
    n = 2**31 + 4099
    if torch.cuda.mem_get_info()[0] < 14 * 2**30:
        pytest.skip("needs 13 GB of GPU memory")
    x, y = (torch.zeros(n, dtype=torch.bfloat16, device="cuda") for _ in "xy")
    far = torch.tensor([2**31 - 1, 2**31 + 1, n - 1], device="cuda")
    x[far] = torch.tensor([1.0, 2.0, 4.0], dtype=x.dtype, device="cuda")
    x.requires_grad_()
    for of_y in ([], [y], [torch.zeros((), device="cuda")]):
        assert ops.flat([x], "l1", [n], [0.0], [0.0], of_y) == 7
        (dx,) = torch.autograd.grad(ops.flat([x], "square", [n], [0.0], [0.0], of_y), x)
        assert dx[far].tolist() == [2, 4, 8]
        del dx
