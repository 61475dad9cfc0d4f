import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog
from torch import Tensor

from ganfast.metrics.polar import (
    DOUBLE,
    MIXED,
    Iteration,
    _iterate,
    _quintic,
    minimax_quintics,
    polar_iteration,
)


def composed(coefficients: tuple[float, ...], x: np.ndarray) -> np.ndarray:
    for a, b, c in np.reshape(coefficients, (-1, 3)):
        x = a * x + b * x**3 + c * x**5
    return x


@pytest.mark.parametrize(("iteration", "most"), [(DOUBLE, 1e-12), (MIXED, 1e-14)])
def test_all_from_least_to_one_go_to_one(iteration: Iteration, most: float) -> None:
    x = np.geomspace(iteration.least, 1, 100_001)
    coefficients = minimax_quintics(iteration.least, iteration.steps)
    assert len(coefficients) == 3 * iteration.steps
    assert np.abs(composed(coefficients, x) - 1).max() <= most


@pytest.mark.parametrize("steps", [1, 4, 8])
def test_none_falls_far_on_the_way_and_none_leaves(steps: int) -> None:
    x = np.geomspace(0.2, 1.001, 10_001)
    image = composed(minimax_quintics(1e-7, steps), x)
    assert image.min() > 0.15
    assert image.max() < 2


@pytest.mark.parametrize(("low", "high"), [(0.05, 1.0), (0.2, 1.0), (0.6, 1.4)])
def test_a_quintic_is_the_best_one(low: float, high: float) -> None:
    # Least maximum error over odd quintics, from a linear programme over many points.
    x = np.linspace(low, high, 4001)
    rows = np.stack([x, x**3, x**5], axis=1)
    ones = np.ones((len(x), 1))
    best = linprog(
        [0, 0, 0, 1],
        A_ub=np.block([[rows, -ones], [-rows, -ones]]),
        b_ub=np.concatenate([np.ones(len(x)), -np.ones(len(x))]),
        bounds=[(None, None)] * 4,
    )
    error = np.abs(composed(_quintic(low, high), x) - 1).max()
    assert error == pytest.approx(best.fun, rel=1e-4)


def spectrum(kind: str, n: int) -> Tensor:
    if kind == "one large":
        values = torch.full((n,), 1e-5, dtype=torch.float64)
        values[0] = 1
        return values
    return torch.logspace(0, -float(kind), n, dtype=torch.float64)


@given(
    kind=st.sampled_from(["0", "2", "4", "6", "8", "10", "14", "one large"]),
    n=st.integers(1, 70),
    extra=st.integers(-20, 20),
    iteration=st.sampled_from([DOUBLE, MIXED]),
    seed=st.integers(0, 999),
)
@settings(max_examples=60)
def test_the_bound_holds(kind: str, n: int, extra: int, iteration: Iteration, seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    rows, columns = n + max(extra, 0), n + max(-extra, 0)
    left, right = (
        torch.linalg.qr(torch.randn(size, n, dtype=torch.float64, generator=g)).Q
        for size in (rows, columns)
    )
    a = ((left * spectrum(kind, n)) @ right.T)[None]
    u, inner, missed = polar_iteration(a, iteration)
    assert u.shape == a.shape
    nuclear = torch.linalg.svdvals(a).sum(-1)
    rounding = 1e-11 if iteration is DOUBLE else 2e-8
    assert math.isclose(float(inner), float((u * a).sum()), rel_tol=1e-12)
    assert float((nuclear - inner).abs()) <= float(missed + rounding * nuclear)
    if kind in ("0", "2", "4"):
        assert float(missed) <= 1e-8 * float(nuclear)


def test_one_step_exactly() -> None:
    # Of diag(3, 4), whose norm is 5: G = diag(.36, .64), and the scale is |G|_F^(1/2).
    a = torch.tensor([[[3.0, 0.0], [0.0, 4.0]]], dtype=torch.float64)
    s = torch.tensor([0.6, 0.8], dtype=torch.float64) / (0.36**2 + 0.64**2) ** 0.25
    t = 1.5 * s - 0.75 * s**3 + 0.25 * s**5
    u = _iterate(a, (1.5, -0.75, 0.25), 0)
    torch.testing.assert_close(u[0], t.diag(), rtol=1e-15, atol=1e-16)


def test_zero_stays_zero_and_strides_do_not_matter() -> None:
    g = torch.Generator().manual_seed(0)
    a = torch.randn(3, 9, 7, dtype=torch.float64, generator=g)
    a[0] = 0
    want = polar_iteration(a, DOUBLE)
    assert not any(part[0].any() for part in want)
    for same in (a.clone(), a.mT.contiguous().mT, torch.stack([a, -a], dim=-1)[..., 0]):
        for x, y in zip(polar_iteration(same, DOUBLE), want, strict=True):
            assert torch.equal(x, y)


_SETTINGS = """
import torch
from ganfast.metrics import prdc
from ganfast.metrics.polar import MIXED, polar_iteration

g = torch.Generator().manual_seed(0)
a = torch.randn(1, 40, 30, dtype=torch.float64, generator=g)
x, y = torch.randn(2, 300, 64, generator=g)
iteration = MIXED
backends = torch.backends.cuda.matmul, torch.backends.mkldnn.matmul
want = polar_iteration(a, iteration)[0], prdc(x, y)
for setting in (
    'torch.set_float32_matmul_precision("high")',
    'torch.set_float32_matmul_precision("medium")',
    'torch.backends.cuda.matmul.allow_tf32 = True',
    'torch.backends.cuda.matmul.fp32_precision = "tf32"',
    'torch.backends.mkldnn.matmul.fp32_precision = "bf16"',
    'torch.backends.fp32_precision = "tf32"',
):
    exec(setting)
    before = [backend.fp32_precision for backend in backends]
    assert torch.equal(polar_iteration(a, iteration)[0], want[0]), setting
    assert prdc(x, y) == want[1], setting
    assert [backend.fp32_precision for backend in backends] == before, setting
"""


def test_float32_products_are_exact_and_the_setting_of_others_stays() -> None:
    """In a process of its own: torch refuses its older settings once a newer one was used."""
    done = subprocess.run([sys.executable, "-c", _SETTINGS], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
