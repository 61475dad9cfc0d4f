import warnings
from decimal import Decimal, getcontext

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ganfast.metrics import (
    frechet_distance,
    frechet_distance_from_features,
    polar_factor,
    sqrtm_psd,
    trace_sqrt_product,
    trace_sqrt_product_with_bounds,
)
from ganfast.metrics.polar import MIXED
from ganfast.metrics.trace import _by_polar_iteration

METHODS = ("eigenvalues", "polar")
SEEDS = st.integers(0, 9999)


def randn(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def orthogonal(dim: int, seed: int) -> Tensor:
    return torch.linalg.qr(randn(dim, dim, seed=seed)).Q


def covariance(dim: int, seed: int, decades: float = 1.0) -> Tensor:
    """A random covariance of this condition, exactly symmetric."""
    r = orthogonal(dim, seed) * torch.logspace(0, -decades / 2, dim, dtype=torch.float64)
    return r @ r.T


def in_many_digits(sigma1: Tensor, sigma2: Tensor) -> float:
    """The definition, by eigenvalues of the product in 60 digits."""
    with mpmath.workdps(60):
        product = mpmath.matrix(sigma1.tolist()) * mpmath.matrix(sigma2.tolist())
        values = mpmath.eig(product, left=False, right=False)
        return float(mpmath.fsum(mpmath.sqrt(value).real for value in values))


Block = tuple[float, float, float]  # variances and correlation of two variables


def two_by_two(block: Block) -> list[list[float]]:
    v, w, c = block
    covariance = c * v**0.5 * w**0.5
    return [[v, covariance], [covariance, w]]


def exact_of_blocks(one: list[Block], two: list[Block]) -> float:
    """tr (A B)^(1/2) = (tr A B + 2 (det A det B)^(1/2))^(1/2) for 2 x 2 matrices, in 60 digits."""
    getcontext().prec = 60
    total = Decimal(0)
    for blocks in zip(one, two, strict=True):
        a, b = ([[Decimal(x) for x in row] for row in two_by_two(block)] for block in blocks)
        trace = sum(a[i][j] * b[j][i] for i in (0, 1) for j in (0, 1))
        det = [m[0][0] * m[1][1] - m[0][1] * m[1][0] for m in (a, b)]
        total += (trace + 2 * (max(det[0], Decimal(0)) * max(det[1], Decimal(0))).sqrt()).sqrt()
    return float(total)


def blocks(low: int, high: int) -> st.SearchStrategy[Block]:
    variance = st.floats(low, high).map(lambda e: 10.0**e)
    return st.tuples(variance, variance, st.floats(-0.95, 0.95))


@pytest.mark.parametrize("method", METHODS)
@given(
    pairs=st.lists(st.tuples(blocks(-6, 0), blocks(-6, 0)), min_size=1, max_size=6),
    powers=st.tuples(st.integers(-280, 280), st.integers(-280, 280)),
    seed=SEEDS,
)
def test_closed_form_at_any_scale(
    method: str, pairs: list[tuple[Block, Block]], powers: tuple[int, int], seed: int
) -> None:
    # Condition up to 1e12, any units that float64 has; a shuffle hides the blocks.
    one, two = (
        [(v * 10.0**power, w * 10.0**power, c) for v, w, c in side]
        for side, power in zip(zip(*pairs, strict=True), powers, strict=True)
    )
    order = torch.randperm(2 * len(pairs), generator=torch.Generator().manual_seed(seed))
    a, b = (
        torch.block_diag(*(torch.tensor(two_by_two(x), dtype=torch.float64) for x in side))
        for side in (one, two)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # the polar route may hand over
        found = trace_sqrt_product(a[order][:, order], b[order][:, order], method=method)
    tolerance = 1e-10 if method == "eigenvalues" else 1e-7
    assert float(found) == pytest.approx(exact_of_blocks(one, two), rel=tolerance, abs=0)


@pytest.mark.parametrize("method", METHODS)
@given(dim=st.integers(2, 6), decades=st.sampled_from([0, 3, 6, 9, 12]), seed=SEEDS)
@settings(max_examples=25)
def test_equals_the_definition_in_many_digits(
    method: str, dim: int, decades: int, seed: int
) -> None:
    a, b = covariance(dim, seed, decades), covariance(dim, seed + 10_000, decades)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        found = float(trace_sqrt_product(a, b, method=method))
    assert found == pytest.approx(in_many_digits(a, b), rel=1e-10 if decades < 9 else 1e-8)


@given(
    spread=st.lists(st.tuples(st.floats(-12, 12), st.floats(-12, 12)), min_size=1, max_size=9),
    rotate=st.booleans(),
    seed=SEEDS,
)
def test_commuting_matrices(spread: list[tuple[float, float]], rotate: bool, seed: int) -> None:
    decades = torch.tensor(spread, dtype=torch.float64)
    if rotate:
        decades = decades / 12
    one, two = (10**decades).T
    basis = orthogonal(len(spread), seed) if rotate else torch.eye(len(spread)).double()
    a, b = ((basis * v) @ basis.T for v in (one, two))
    found = trace_sqrt_product((a + a.T) / 2, (b + b.T) / 2)
    assert float(found) == pytest.approx(float((one * two).sqrt().sum()), rel=1e-12)


@given(
    dim=st.integers(2, 8), decades=st.sampled_from([0, 2, 6, 12]), power=st.integers(-250, 250),
    seed=SEEDS,
)  # fmt: skip
@settings(max_examples=30)
def test_the_bounds_hold_and_are_close(dim: int, decades: int, power: int, seed: int) -> None:
    a = covariance(dim, seed, decades) * 10.0**power
    b = covariance(dim, seed + 10_000, decades)
    value, lower, upper = trace_sqrt_product_with_bounds(a, b)
    exact = in_many_digits(a, b)
    assert float(lower) <= exact <= float(upper)
    assert lower <= value <= upper
    # The trace itself is sure to a rounding over the root of the least eigenvalue.
    assert float(upper - lower) <= exact * (1e-11 if decades <= 6 else 1e-7)


def test_the_bounds_of_singular_matrices() -> None:
    # Integers, so that the matrices are exactly of rank 3 and 5.
    g = torch.Generator().manual_seed(0)
    r, s = (torch.randint(-9, 10, (rank, 8), generator=g).double() for rank in (3, 5))
    value, lower, upper = trace_sqrt_product_with_bounds(r.T @ r, s.T @ s)
    with mpmath.workdps(40):
        product = mpmath.matrix(r.tolist()) * mpmath.matrix(s.tolist()).T
        exact = float(mpmath.fsum(mpmath.svd_r(product, compute_uv=False)))
    assert float(lower) <= exact <= float(upper)
    assert float(value) == pytest.approx(exact, rel=1e-12)
    assert float(upper - lower) < 1e-4 * exact
    zero = torch.zeros(4, 4)
    assert [float(x) for x in trace_sqrt_product_with_bounds(zero, torch.eye(4))] == [0] * 3


@given(dim=st.integers(1, 20), seed=SEEDS)
@settings(max_examples=20)
def test_the_bounds_hold_for_the_other_road_too(dim: int, seed: int) -> None:
    a, b = covariance(dim, seed, 2), covariance(dim, seed + 10_000, 2)
    _, lower, upper = trace_sqrt_product_with_bounds(a, b)
    for method in METHODS:
        found = float(trace_sqrt_product(a, b, method=method))
        assert float(lower) * (1 - 1e-12) <= found <= float(upper) * (1 + 1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_batches(method: str) -> None:
    a = torch.stack([covariance(5, s) for s in range(6)]).view(2, 3, 5, 5)
    b = torch.stack([covariance(5, s + 50) for s in range(3)])
    b[1] = a[0, 1]
    found = trace_sqrt_product(a, b, method=method)
    assert found.shape == (2, 3)
    for i in range(2):
        for j in range(3):
            assert found[i, j] == pytest.approx(
                float(trace_sqrt_product(a[i, j], b[j], method=method)), rel=1e-12
            )
    mu = randn(2, 3, 5, seed=0)
    distances = frechet_distance(mu, a, torch.zeros(5), b, method=method)
    assert distances[0, 1] == pytest.approx(float(mu[0, 1].square().sum()), rel=1e-15)
    one = frechet_distance(mu[1, 2], a[1, 2], torch.zeros(5), b[2], method=method)
    assert distances[1, 2] == pytest.approx(float(one), rel=1e-12)
    bounds = trace_sqrt_product_with_bounds(a, b, method=method)
    assert [x.shape for x in bounds] == [(2, 3)] * 3


@pytest.mark.parametrize("method", METHODS)
@given(dim=st.integers(1, 12), seed=SEEDS)
@settings(max_examples=25)
def test_swapped_arguments_give_the_same_bits(method: str, dim: int, seed: int) -> None:
    a, b = covariance(dim, seed), covariance(dim, seed + 10_000)
    b = b / b.diagonal().sum() * a.diagonal().sum()
    mu = randn(dim, seed=seed)
    found = frechet_distance(mu, a, 0 * mu, b, method=method)
    assert torch.equal(found, frechet_distance(0 * mu, b, mu, a, method=method))
    assert frechet_distance(mu, a, mu, a.clone(), method=method) == 0


@pytest.mark.parametrize("method", METHODS)
def test_gradients(method: str) -> None:
    a, b = (torch.stack([covariance(4, s), covariance(4, s + 1)]) for s in (0, 5))
    mu1, mu2 = randn(2, 4, seed=8), randn(4, seed=9)
    leaves = [x.requires_grad_() for x in (mu1, a, mu2, b[0].clone())]

    def distance(mu1: Tensor, a: Tensor, mu2: Tensor, b: Tensor) -> Tensor:
        return frechet_distance(mu1, (a + a.mT) / 2, mu2, (b + b.mT) / 2, method=method)

    assert torch.autograd.gradcheck(distance, leaves)


@pytest.mark.parametrize("method", METHODS)
def test_the_gradient_is_the_transport_map(method: str) -> None:
    # I - T with T the map from N(0, A) to N(0, B): symmetric, and T A T = B.
    a, b = covariance(30, 0, 4), covariance(30, 1, 4)
    a.requires_grad_()
    frechet_distance(torch.zeros(30), a, torch.zeros(30), b, method=method).backward()
    t = torch.eye(30) - a.grad
    torch.testing.assert_close(t, t.T, atol=1e-11, rtol=0)
    torch.testing.assert_close(t @ a.detach() @ t, b, atol=1e-10, rtol=0)


def test_the_gradient_of_a_singular_matrix_stays_where_it_has_variance() -> None:
    a = torch.diag(torch.tensor([4.0, 1.0, 0.0], dtype=torch.float64)).requires_grad_()
    b = torch.diag(torch.tensor([1.0, 9.0, 5.0], dtype=torch.float64))
    frechet_distance(torch.zeros(3), a, torch.zeros(3), b).backward()
    want = torch.diag(torch.tensor([1 - 1 / 2, 1 - 3, 1.0], dtype=torch.float64))
    torch.testing.assert_close(a.grad, want, atol=1e-12, rtol=0)
    a.grad = None
    frechet_distance(torch.zeros(3), a, torch.zeros(3), a.detach().clone()).backward()
    want = torch.diag(torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64))
    torch.testing.assert_close(a.grad, want, atol=1e-12, rtol=0)


def test_the_polar_road_hands_over_what_it_cannot_resolve() -> None:
    dim = 401  # one singular value 1, and 400 of 1e-9 that add up to 4e-7
    least = torch.full((dim,), 1e-9, dtype=torch.float64)
    least[7] = 1
    hard = torch.diag(least), torch.diag(1.001 * least)
    good = covariance(dim, 0), covariance(dim, 1)
    singular = torch.diag(least.round()), torch.eye(dim, dtype=torch.float64)
    a, b = (torch.stack(side) for side in zip(good, hard, singular, strict=True))
    with pytest.warns(RuntimeWarning, match="the polar iteration may have missed") as seen:
        found = trace_sqrt_product(a, b, method="polar")
    assert len(seen) == 1
    assert str(seen[0].filename).endswith("test_trace.py")
    exact = [float(trace_sqrt_product(*pair)) for pair in (good, hard, singular)]
    np.testing.assert_allclose(found, exact, rtol=1e-12)
    assert exact[1] == pytest.approx(1.001**0.5 * (1 + 4e-7), rel=1e-12)
    assert exact[2] == 1


def test_the_mixed_iteration_is_right_to_1e_7(monkeypatch: pytest.MonkeyPatch) -> None:
    # What a GPU without fast float64 runs.
    monkeypatch.setattr("ganfast.metrics.trace.iteration_for", lambda device: MIXED)
    slack = (1e-7, 1e-7)
    for decades in (0, 2, 4, 6):
        a, b = covariance(150, 0, decades), covariance(150, 1, decades)
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # what it cannot resolve it says
            (pair,) = _by_polar_iteration(a[None], b[None], slack, False)
        exact = float(trace_sqrt_product(a, b))
        assert float(pair.trace) == pytest.approx(exact, rel=1e-8)


def test_what_is_refused() -> None:
    eye = torch.eye(3, dtype=torch.float64)
    with pytest.raises(ValueError, match="method must be auto, eigenvalues or polar, got 'fast'"):
        trace_sqrt_product(eye, eye, method="fast")
    with pytest.raises(ValueError, match=r"sigma2 must have shape \(\.\.\., 3, 3\)"):
        trace_sqrt_product(eye, torch.eye(2))
    for method in METHODS:
        with pytest.raises(ValueError, match="sigma1 must be a positive semi-definite"):
            trace_sqrt_product(-eye, eye, method=method)
        with pytest.raises(ValueError, match="sigma1 must be a positive semi-definite"):
            trace_sqrt_product(-eye, -eye, method=method)


def test_a_second_derivative_is_refused_and_not_wrong() -> None:
    x = torch.eye(3, dtype=torch.float64).requires_grad_()
    features = randn(5, 3, seed=0).requires_grad_()
    for leaf, value in (
        (x, trace_sqrt_product(x, 2 * x.detach())),
        (x, sqrtm_psd(x).trace()),
        (x, polar_factor(x).trace()),
        (features, frechet_distance_from_features(features, randn(5, 3, seed=1))),
    ):
        (gradient,) = torch.autograd.grad(value, leaf, create_graph=True)
        with pytest.raises(RuntimeError, match="second order are not implemented"):
            gradient.square().sum().backward()
