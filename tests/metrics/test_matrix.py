import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ganfast.metrics import inv_sqrtm_psd, polar_factor, sqrtm_psd
from ganfast.metrics.matrix import Root, congruence, lower_gram, product_of


def randn(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def definite(dim: int, seed: int) -> Tensor:
    x = randn(2 * dim + 3, dim, seed=seed)
    return x.T @ x / len(x)


@given(m=st.integers(1, 12), n=st.integers(1, 12), seed=st.integers(0, 999))
def test_polar_factor_equals_scipy(m: int, n: int, seed: int) -> None:
    a = randn(2, m, n, seed=seed)
    want = np.stack([scipy.linalg.polar(x.numpy())[0] for x in a])
    # Singular values near 0 make the factor itself uncertain.
    least = float(torch.linalg.svdvals(a).min())
    np.testing.assert_allclose(polar_factor(a), want, atol=1e-13 / least)


def test_polar_factor_of_a_singular_matrix_is_a_partial_isometry() -> None:
    a = randn(7, 3, seed=0) @ randn(3, 5, seed=1)
    u = polar_factor(a)
    values = torch.linalg.svdvals(u)
    torch.testing.assert_close(values, torch.tensor([1.0, 1, 1, 0, 0]).double(), atol=1e-13, rtol=0)
    torch.testing.assert_close((u * a).sum(), torch.linalg.svdvals(a).sum())
    assert not polar_factor(np.zeros((2, 3))).any()


@pytest.mark.parametrize("shape", [(4, 4), (6, 4), (4, 6), (2, 3, 3), (1, 1)])
def test_gradient_of_the_polar_factor(shape: tuple[int, ...]) -> None:
    a = randn(*shape, seed=0).requires_grad_()
    assert torch.autograd.gradcheck(polar_factor, (a,))


@given(dim=st.integers(1, 15), seed=st.integers(0, 999), power=st.integers(-20, 20))
def test_roots(dim: int, seed: int, power: int) -> None:
    s = definite(dim, seed) * 10.0**power
    root, inverse = sqrtm_psd(s), inv_sqrtm_psd(s)
    size = s.abs().max()
    torch.testing.assert_close(root @ root / size, s / size, atol=1e-13, rtol=0)
    assert torch.linalg.eigvalsh(root)[0] > 0
    torch.testing.assert_close(inverse @ root, torch.eye(dim).double(), atol=1e-11, rtol=0)


def test_roots_of_what_is_singular() -> None:
    r = randn(6, 2, seed=0)
    s = r @ r.T
    torch.testing.assert_close(sqrtm_psd(s) @ sqrtm_psd(s), s, atol=1e-13, rtol=0)
    with pytest.raises(ValueError, match="s must not be singular with eps = 0"):
        inv_sqrtm_psd(s)
    shifted = inv_sqrtm_psd(s, eps=0.25)
    want = np.linalg.inv(scipy.linalg.sqrtm(s.numpy() + 0.25 * np.eye(6)))
    np.testing.assert_allclose(shifted, want, atol=1e-13)


def test_gradients_of_the_roots() -> None:
    s = torch.stack([definite(4, 0), definite(4, 1)]).requires_grad_()
    assert torch.autograd.gradcheck(lambda s: sqrtm_psd((s + s.mT) / 2), (s,))
    assert torch.autograd.gradcheck(lambda s: inv_sqrtm_psd((s + s.mT) / 2, 0.1), (s,))
    # Equal eigenvalues, where a gradient through eigenvectors is not finite.
    eye = torch.eye(3, dtype=torch.float64).requires_grad_()
    sqrtm_psd(eye).trace().backward()
    torch.testing.assert_close(eye.grad, torch.eye(3).double() / 2)


def test_what_is_no_matrix_is_refused() -> None:
    eye = torch.eye(3, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"a must have shape \(\.\.\., m, n\), got \(3,\)"):
        polar_factor(eye[0])
    with pytest.raises(ValueError, match="a must be finite"):
        polar_factor(eye / 0)
    with pytest.raises(TypeError, match=r"a must be float32, float64.* got torch\.float16"):
        polar_factor(eye.half())
    for function in (sqrtm_psd, inv_sqrtm_psd):
        with pytest.raises(ValueError, match=r"s must be a positive semi-definite.* -1 "):
            function(torch.tensor([[1.0, 0.0], [0.0, -1.0]]))
        with pytest.raises(ValueError, match=r"s must have shape \(\.\.\., D, D\)"):
            function(eye[:2])
        with pytest.raises(ValueError, match="s must be a symmetric matrix"):
            function(eye + torch.ones(3, 3).triu(1))
    with pytest.raises(ValueError, match="eps must be at least 0, got -1"):
        inv_sqrtm_psd(eye, eps=-1)


@pytest.mark.parametrize("dim", [5, 512, 700, 1100])
def test_products_in_blocks(dim: int) -> None:
    a = randn(30, dim, seed=0)
    want = (a.T @ a).tril()
    torch.testing.assert_close(lower_gram(a).tril(), want, atol=1e-12, rtol=0)
    l1, l2 = randn(dim, dim, seed=1).tril(), randn(dim, dim, seed=2).tril()
    found = product_of(Root(l1, True), Root(l2, True))
    torch.testing.assert_close(found, l1.T @ l2, atol=1e-10, rtol=0)
    s = want + want.tril(-1).T
    for root in (Root(l1, True), Root(l2.T, False)):
        r = root.matrix
        found = congruence(root, s).tril()
        torch.testing.assert_close(found, (r.T @ s @ r).tril(), atol=1e-8, rtol=1e-12)
