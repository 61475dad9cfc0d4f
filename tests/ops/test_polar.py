"""The compiled polar op against its reference, and both against singular values."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ganfast import _ext, ops, reference
from ganfast.metrics.polar import DOUBLE, MIXED, Iteration, minimax_quintics

pytestmark = pytest.mark.compiled


def matrices(count: int, rows: int, columns: int, least: float, seed: int) -> Tensor:
    """Matrices whose singular values go from 1 to ``least``, each with its own scale."""
    g = torch.Generator().manual_seed(seed)
    left, right = (
        torch.linalg.qr(torch.randn(count, size, columns, dtype=torch.float64, generator=g)).Q
        for size in (rows, columns)
    )
    values = torch.logspace(0, torch.tensor(least).log10().item(), columns, dtype=torch.float64)
    scale = 10 ** (6 * torch.randn(count, 1, 1, dtype=torch.float64, generator=g))
    return scale * (left * values) @ right.mT


@given(
    count=st.integers(1, 3),
    columns=st.integers(1, 40),
    extra=st.integers(0, 30),
    iteration=st.sampled_from([DOUBLE, MIXED]),
    seed=st.integers(0, 999),
)
@settings(max_examples=40)
def test_equals_the_reference(
    count: int, columns: int, extra: int, iteration: Iteration, seed: int
) -> None:
    a = matrices(count, columns + extra, columns, 1e-3, seed)
    coefficients = minimax_quintics(iteration.least, iteration.steps)
    got = torch.ops.ganfast.polar(a, coefficients, iteration.single_steps)
    want = reference.polar(a, coefficients, iteration.single_steps)
    # Float32 steps turn the factor by their roundings over the least singular value.
    turn = 1e-11 if iteration is DOUBLE else 1e-2
    torch.testing.assert_close(got[0], want[0], rtol=0, atol=turn)
    nuclear = torch.linalg.svdvals(a).sum(-1)
    torch.testing.assert_close(got[1], nuclear, rtol=1e-11 if iteration is DOUBLE else 1e-8, atol=0)
    norms = a.square().sum((-2, -1))
    assert (got[2] <= 1e-20 * norms).all()
    assert (want[2] <= 1e-20 * norms).all()


def test_one_step_exactly() -> None:
    # Of diag(3, 4), whose norm is 5: G = diag(.36, .64), and the scale is |G|_F^(1/2).
    a = torch.tensor([[[3.0, 0.0], [0.0, 4.0]]], dtype=torch.float64)
    u, inner, residual = torch.ops.ganfast.polar(a, (1.5, -0.75, 0.25), 0)
    s = torch.tensor([0.6, 0.8], dtype=torch.float64) / (0.36**2 + 0.64**2) ** 0.25
    t = 1.5 * s - 0.75 * s**3 + 0.25 * s**5
    torch.testing.assert_close(u[0], t.diag(), rtol=1e-15, atol=1e-16)
    sizes = torch.tensor([3.0, 4.0], dtype=torch.float64)
    torch.testing.assert_close(inner[0], (sizes * t).sum(), rtol=1e-15, atol=0)
    torch.testing.assert_close(residual[0], (sizes * (1 - t**2)).square().sum(), rtol=1e-14, atol=0)


def test_zero_stays_zero_and_equal_input_gives_equal_bits() -> None:
    coefficients = minimax_quintics(*DOUBLE[:2])
    a = torch.cat([torch.zeros(1, 90, 80, dtype=torch.float64), matrices(2, 90, 80, 0.1, 0)])
    first = torch.ops.ganfast.polar(a, coefficients, 0)
    assert not first[0][0].any()
    assert first[1][0] == first[2][0] == 0
    for x, y in zip(first, torch.ops.ganfast.polar(a.clone(), coefficients, 0), strict=True):
        assert torch.equal(x, y)


def test_strides() -> None:
    coefficients = minimax_quintics(*DOUBLE[:2])
    a = matrices(2, 9, 7, 0.1, 0)
    want = ops.polar(a, coefficients, 0)
    for same in (a.mT.contiguous().mT, torch.stack([a, -a], dim=-1)[..., 0]):
        for x, y in zip(ops.polar(same, coefficients, 0), want, strict=True):
            assert torch.equal(x, y)


def test_opcheck() -> None:
    a = matrices(2, 6, 5, 0.1, 0)
    torch.library.opcheck(
        torch.ops.ganfast.polar.default,
        (a, minimax_quintics(*DOUBLE[:2]), 0),
        test_utils=("test_schema", "test_faketensor"),
    )


@pytest.mark.parametrize("compiled", [True, False])
def test_what_does_not_fit_is_refused(compiled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not compiled:
        monkeypatch.setattr(_ext, "DEVICES", frozenset())
    a = torch.ones(1, 3, 2, dtype=torch.float64)
    with pytest.raises(TypeError, match="polar: a must have dtype float64, got"):
        ops.polar(a.float(), (1.0, 0.0, 0.0), 0)
    for bad in (a[0], a.mT, a[:, :, :0]):
        with pytest.raises(ValueError, match="polar: a must have shape"):
            ops.polar(bad, (1.0, 0.0, 0.0), 0)
    for coefficients, single in (((), 0), ((1.0, 2.0), 0), ((1.0, 0.0, 0.0), 1)):
        with pytest.raises(ValueError, match="polar: "):
            ops.polar(a, coefficients, single)
