"""The list ops as parts of autograd: torch's rules, both orders, partial gradients."""

from collections.abc import Callable
from types import ModuleType

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numerics import generator
from ops import norms
from ops.functors import DTYPES
from ops.lists import KINDS, loss_dtype, problems
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from ganfast import ops, reference

compiled = pytest.mark.compiled

WEIGHT, A, B = [1.0, -2.0], [1.0, 0.5], [0.25, 1.0]


def randn(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=generator(seed)).to(dtype)


def four(requires_grad: bool = True) -> list[Tensor]:
    shapes = ((3, 2), (3, 2, 2), (3, 2), (3, 2, 2))
    return [randn(*s, seed=k).requires_grad_(requires_grad) for k, s in enumerate(shapes)]


#: Each op of four tensors.
CALLS: dict[str, Callable[[ModuleType, list[Tensor]], Tensor]] = {
    "flat": lambda m, t: m.flat(t, "softplus", WEIGHT * 2, A * 2, B * 2),
    "flat of differences": lambda m, t: m.flat(t[:2], "softplus", WEIGHT, A, B, t[2:]),
    "flat, each term": lambda m, t: m.flat(t[:2], "softplus", WEIGHT, A, B, t[2:], per_term=True),
    "rows": lambda m, t: m.rows(t, "softplus", WEIGHT * 2, A * 2, B * 2),
    "rows of differences": lambda m, t: m.rows(t[:2], "softplus", WEIGHT, A, B, t[2:]),
    "norms": lambda m, t: m.norms(t, "power", 2.5, 3.0, 0.0, False),
    "norms of pixels": lambda m, t: m.norms(
        [x.reshape(3, -1, 2) for x in t], "power", 2.5, 3.0, 0.0, True
    ),
}
each_call = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)


@pytest.mark.usefixtures("route")
@pytest.mark.parametrize(("family", "f", "subtrahend"), KINDS)
@settings(max_examples=3)
@given(data=st.data())
def test_gradcheck(family: str, f: str, subtrahend: str, device: str, data: st.DataObject) -> None:
    p = data.draw(problems(family, f, subtrahend, torch.float64, device, small=True))

    def loss(*inputs: Tensor) -> Tensor:
        return p.at(*inputs).call(ops)

    assert gradcheck(loss, p.inputs)
    assert gradgradcheck(loss, p.inputs)


@pytest.mark.parametrize(("phi", "a", "b", "pixel"), norms.CASES)
def test_gradcheck_of_norms(
    phi: str, a: float, b: float, pixel: bool, route: str, device: str
) -> None:
    def loss(*x: Tensor) -> Tensor:
        return ops.norms(x, phi, 2.5, a, b, pixel)

    x = [randn(3, c, 2, 2, seed=c).to(device).requires_grad_() for c in (2, 1)]
    assert gradcheck(loss, x)
    assert gradgradcheck(loss, x)


#: What the registered ops are called with: shapes of y, and options of the family.
FORMS = {
    "flat": ([], False, None),
    "flat with statistics": ([], False, 0.5),
    "flat of differences": ([(3,), (3, 2, 2)], False, None),
    "flat of numbers, each term": ([(), (1,)], True, None),
    "rows": ([], "identity", None),
    "rows of differences": ([(3,), (3, 2, 2)], "identity", None),
    "norms": ([], "centred", None),
    "norms of pixels": ([], "centred", None),
}


def arguments(
    form: str, dtype: torch.dtype, requires_grad: bool, device: str = "cpu"
) -> list[tuple[object, ...]]:
    """Of an op, of its backward and of its double backward."""
    shapes, option, threshold = FORMS[form]
    wide, pixel = loss_dtype(dtype), form == "norms of pixels"
    repeats = () in shapes

    def tensors(shapes: list[tuple[int, ...]], dtype: torch.dtype, seed: int) -> list[Tensor]:
        made = [randn(*shape, dtype=dtype, seed=seed).to(device) for shape in shapes]
        return [t.requires_grad_(requires_grad) for t in made]

    x = tensors([(3, 1, 2), (3, 2, 2)] if pixel else [(3,), (3, 2, 2)], dtype, 0)
    y = tensors(shapes, wide if repeats else dtype, 1)
    v = tensors([x[0].shape], dtype, 2) + (tensors(shapes[1:], y[1].dtype, 3) if y else [])
    given, wanted = [0, 3][: len(v)], [0, 1, 2][: 1 + len(x + y) // 2]
    if form.startswith("flat"):
        grad = torch.ones((2,) if option else (), dtype=wide, device=device)
        grad.requires_grad_(requires_grad)
        numbers: tuple[object, ...] = ("softplus", WEIGHT, A, B)
        return [
            (x, y, *numbers, option, threshold),
            (grad, x, y, *numbers, wanted),
            (grad, x, y, v, *numbers, given, wanted),
        ]
    of_phi = [] if option == "identity" else [2.0, 1.0, 0.0]
    if of_phi:
        numbers = ([], [], "square", [1.0, 2.0], [0.0, 0.0], B, False, pixel)
        grad = torch.ones((), dtype=wide, device=device)
        derivatives = randn(2, 6 if pixel else 3, dtype=wide).to(device)
    else:
        s, own = (randn(3, dtype=wide, seed=seed).to(device) for seed in (4, 5))
        numbers = ([s, None], [None, own], "softplus", WEIGHT, A, B, True, False)
        grad, derivatives = torch.ones(3, dtype=wide, device=device), None
    grad.requires_grad_(requires_grad)
    return [
        (x, y, *numbers, option, of_phi),
        (grad, x, y, derivatives, *numbers, wanted),
        (grad, x, y, v, derivatives, *numbers, given, wanted),
    ]


@compiled
@pytest.mark.parametrize("requires_grad", [False, True])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("form", FORMS)
def test_the_ops_keep_torchs_rules(form: str, dtype: torch.dtype, requires_grad: bool) -> None:
    family = "flat" if form.startswith("flat") else "rows"
    checks = ["test_schema", "test_autograd_registration", "test_faketensor"]
    traced = [*checks, "test_aot_dispatch_dynamic"] if dtype == torch.float64 else checks
    forward, backward, double_backward = arguments(form, dtype, requires_grad)
    check, namespace = torch.library.opcheck, torch.ops.ganfast
    check(getattr(namespace, family).default, forward, test_utils=traced)
    if "statistics" in form:  # which have no derivatives of their own
        return
    check(getattr(namespace, f"{family}_backward").default, backward, test_utils=traced)
    # There is no third order to trace.
    op = getattr(namespace, f"{family}_double_backward").default
    check(op, double_backward, test_utils=checks if requires_grad else traced)


@compiled
@each_call
def test_the_third_order_is_refused_with_a_sentence(
    call: Callable[[ModuleType, list[Tensor]], Tensor], request: pytest.FixtureRequest
) -> None:
    t = four()
    first = torch.autograd.grad(call(ops, t).sum(), t, create_graph=True)
    second = torch.autograd.grad(sum(d.square().sum() for d in first), t, create_graph=True)
    name = request.node.callspec.id.split()[0].strip(",")
    with pytest.raises(
        NotImplementedError, match=rf"^{name}: .*third order.*use ganfast\.reference\.{name}$"
    ):
        torch.autograd.grad(second[0].sum(), t[0])


@each_call
def test_the_reference_has_a_third_order(
    call: Callable[[ModuleType, list[Tensor]], Tensor],
) -> None:
    def second(*t: Tensor) -> tuple[Tensor, ...]:
        first = torch.autograd.grad(call(reference, list(t)).sum(), t, create_graph=True)
        return torch.autograd.grad(sum(d.square().sum() for d in first), t, create_graph=True)

    assert gradcheck(second, four())


@each_call
@pytest.mark.parametrize("wanted", [(0,), (3,), (1, 2), (0, 1)], ids=str)
def test_only_wanted_gradients_are_taken(
    call: Callable[[ModuleType, list[Tensor]], Tensor], wanted: tuple[int, ...], route: str
) -> None:
    """As where only the generator's samples require gradients, or real features are detached."""
    t = four()
    every = torch.autograd.grad(call(reference, t).sum(), t)
    t = four(requires_grad=False)
    for k in wanted:
        t[k].requires_grad_()
    call(ops, t).sum().backward()
    for k, (tk, expected) in enumerate(zip(t, every, strict=True)):
        if k in wanted:
            torch.testing.assert_close(tk.grad, expected)
        else:
            assert tk.grad is None


@compiled
@each_call
@pytest.mark.parametrize("left_out", range(4))
def test_the_second_order_of_some_gradients(
    call: Callable[[ModuleType, list[Tensor]], Tensor], left_out: int
) -> None:
    """Gradients that are left out have no cotangent."""
    orders = []
    for module in (ops, reference):
        t = four()
        dt = list(torch.autograd.grad(call(module, t).sum(), t, create_graph=True))
        dt.pop(left_out)
        used = sum(d.pow(k + 2).sum() for k, d in enumerate(dt))
        orders.append(torch.autograd.grad(used, t, allow_unused=True, materialize_grads=True))
    torch.testing.assert_close(*orders)


@each_call
def test_inputs_without_gradients_make_a_result_without(
    call: Callable[[ModuleType, list[Tensor]], Tensor], route: str
) -> None:
    t = four(requires_grad=False)
    assert not call(ops, t).requires_grad
    t[3].requires_grad_()
    assert call(ops, t).requires_grad
    with torch.no_grad():
        assert not call(ops, t).requires_grad


def test_gradients_reach_what_the_inputs_were_made_of(route: str) -> None:
    w = torch.tensor([0.5, -2.0], dtype=torch.float64, requires_grad=True)
    ops.flat([w * 3, w.exp()], "identity", [2.0, 2.0], [0, 0], [0, 0]).backward()
    torch.testing.assert_close(w.grad, 3 + w.detach().exp())


def test_a_tensor_that_comes_several_times_gets_the_sum(route: str) -> None:
    x = randn(7).requires_grad_()
    (dx,) = torch.autograd.grad(ops.flat([x, x], "softplus", [1, 1], [-1, 2], [0, 0]), x)
    wide = x.detach()
    torch.testing.assert_close(dx, (2 * torch.sigmoid(2 * wide) - torch.sigmoid(-wide)) / 7)
    loss = ops.flat([x, 2 * x], "square", [1.0, 1.0], [0, 0], [0, 0], [3 * x, x])
    torch.testing.assert_close(torch.autograd.grad(loss, x)[0], 10 * wide / 7)
    loss = ops.flat([x], "square", [1.0], [0.0], [0.0], [x[0]])  # an element from all of them
    expected = 2 * (wide - wide[0]) / 7
    expected[0] -= expected.sum()
    torch.testing.assert_close(torch.autograd.grad(loss, x)[0], expected)


def test_a_gradient_taken_with_another_cotangent_is_scaled(route: str) -> None:
    x = [randn(5).sigmoid().requires_grad_(), randn(2, 3).sigmoid().requires_grad_()]
    loss = ops.flat(x, "bce", WEIGHT, A, B)
    once = torch.autograd.grad(loss, x, retain_graph=True)
    thrice = torch.autograd.grad(loss * 3, x)
    torch.testing.assert_close(thrice, tuple(3 * d for d in once))


def test_weights_that_require_a_gradient_get_one(route: str) -> None:
    x, s, a = randn(3), torch.ones(3).double().requires_grad_(), randn(3, seed=1).requires_grad_()
    rows = ops.rows([x], "square", [1.0], [0.0], [0.0], sample_weight=[s], sample_a=[a])
    rows.sum().backward()
    torch.testing.assert_close(s.grad, (x - a.detach()) ** 2)
    torch.testing.assert_close(a.grad, 2 * (a.detach() - x))


@compiled
@pytest.mark.parametrize("family", ["flat", "rows"])
@pytest.mark.parametrize("changed", ["x", "y", "sample_weight"])
def test_what_is_changed_in_place_is_noticed(family: str, changed: str) -> None:
    if (family, changed) == ("flat", "sample_weight"):
        pytest.skip("flat has none")
    leaf, y, s = randn(3).requires_grad_(), randn(3, seed=1), torch.ones(3).double()
    x = leaf * 1
    options = {"sample_weight": [s]} if family == "rows" else {}
    result = getattr(ops, family)([x], "square", [1.0], [1.0], [0.0], [y], **options)
    with torch.no_grad():
        {"x": x, "y": y, "sample_weight": s}[changed].add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        result.sum().backward()
