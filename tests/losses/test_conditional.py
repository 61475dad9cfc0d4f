"""Class-conditional losses against loops over samples in float64."""

import math

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import cosine_similarity as cosine

from ganfast.losses import (
    auxiliary_classifier_loss,
    conditional_contrastive_loss,
    crammer_singer_loss,
    data_to_data_cross_entropy_loss,
    gaussian_code_loss,
)

CONTRASTIVE = (conditional_contrastive_loss, data_to_data_cross_entropy_loss)


def problem(
    b: int, classes: int, n: int, seed: int, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor, Tensor]:
    random = torch.Generator().manual_seed(seed)
    embeddings = torch.randn(b, n, dtype=torch.float64, generator=random)
    table = torch.randn(classes, n, dtype=torch.float64, generator=random)
    labels = torch.randint(classes, (b,), generator=random)
    return embeddings.to(dtype).requires_grad_(), table[labels].to(dtype).requires_grad_(), labels


drawn = given(
    b=st.integers(1, 9), classes=st.integers(1, 4), n=st.integers(1, 8), seed=st.integers(0, 999)
)


@drawn
def test_contrastive(b: int, classes: int, n: int, seed: int) -> None:
    h, p, y = (t.detach() for t in problem(b, classes, n, seed))
    tau = 0.5
    expected = 0.0
    for i in range(b):
        near = far = math.exp(cosine(h[i], p[i], 0) / tau)
        for j in range(b):
            if j != i:
                e = math.exp(cosine(h[i], h[j], 0) / tau)
                far += e
                near += e if y[i] == y[j] else 0
        expected -= math.log(near / far) / b
    got = conditional_contrastive_loss(h, p, y, temperature=tau)
    assert got.item() == pytest.approx(expected, abs=1e-12)


@drawn
def test_data_to_data_cross_entropy(b: int, classes: int, n: int, seed: int) -> None:
    h, p, y = problem(b, classes, n, seed)
    tau, m_p, m_n = 0.25, 0.9, 0.05
    expected = 0.0
    for i in range(b):
        near = math.exp(min(cosine(h[i], p[i], 0).item() - m_p, 0) / tau)
        far = near + sum(
            math.exp(max(cosine(h[i], h[j], 0).item() - m_n, 0) / tau)
            for j in range(b)
            if y[i] != y[j]
        )
        expected -= math.log(near / far) / b
    got = data_to_data_cross_entropy_loss(
        h, p, y, temperature=tau, positive_margin=m_p, negative_margin=m_n
    )
    assert got.item() == pytest.approx(expected, abs=1e-12)
    default = data_to_data_cross_entropy_loss(h, p, y, positive_margin=m_p)
    assert default == data_to_data_cross_entropy_loss(
        h, p, y, positive_margin=m_p, negative_margin=1 - m_p
    )


@given(b=st.integers(1, 9), k=st.integers(2, 6), seed=st.integers(0, 999))
@settings(max_examples=40)
def test_crammer_singer(b: int, k: int, seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    scores = torch.randn(b, k, dtype=torch.float64, generator=random).requires_grad_()
    labels = torch.randint(k, (b,), generator=random)
    expected = torch.stack(
        [
            (0.5 + max(s[j] for j in range(k) if j != y) - s[y]).clamp(min=0)
            for s, y in zip(scores, labels.tolist(), strict=True)
        ]
    ).mean()
    got = crammer_singer_loss(scores, labels, margin=0.5)
    torch.testing.assert_close(got, expected)
    for g, e in zip(
        torch.autograd.grad(got, scores), torch.autograd.grad(expected, scores), strict=True
    ):
        torch.testing.assert_close(g, e)


def test_auxiliary_classifier() -> None:
    logits = torch.randn(6, 4, dtype=torch.float64)
    labels = torch.tensor([0, 1, 2, 3, 1, 1])
    p = logits.exp() / logits.exp().sum(1, keepdim=True)
    expected = -p.log()[torch.arange(6), labels]
    torch.testing.assert_close(auxiliary_classifier_loss(logits, labels), expected.mean())
    smooth = 0.9 * expected - 0.1 * p.log().mean(1)
    got = auxiliary_classifier_loss(logits, labels, label_smoothing=0.1)
    torch.testing.assert_close(got, smooth.mean())


def test_gaussian_codes() -> None:
    codes, mu = (torch.randn(5, 3, dtype=torch.float64) for _ in range(2))
    var = torch.rand(5, 3, dtype=torch.float64) + 0.1
    expected = -scipy.stats.norm.logpdf(codes.numpy(), mu.numpy(), np.sqrt(var.numpy())).sum() / 5
    assert gaussian_code_loss(codes, mu, var).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("loss", CONTRASTIVE)
def test_two_orders(loss) -> None:
    h, p, y = problem(5, 2, 3, 0)
    assert torch.autograd.gradcheck(lambda h, p: loss(h, p, y), (h, p))
    assert torch.autograd.gradgradcheck(lambda h, p: loss(h, p, y), (h, p))


def test_two_orders_of_crammer_singer() -> None:
    scores = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([0, 2, 1, 1])
    assert torch.autograd.gradcheck(lambda s: crammer_singer_loss(s, labels), scores)
    assert torch.autograd.gradgradcheck(lambda s: crammer_singer_loss(s, labels), scores)


@pytest.mark.parametrize("loss", CONTRASTIVE)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_half_types_and_autocast_compute_in_float32(loss, dtype: torch.dtype) -> None:
    h, p, y = problem(16, 4, 32, 1, dtype)
    got = loss(h, p, y)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got.double(), loss(h.double(), p.double(), y), rtol=1e-6, atol=0)
    (dh,) = torch.autograd.grad(got, h)
    assert dh.dtype == dtype
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(loss(h, p, y), got)


@pytest.mark.parametrize("loss", CONTRASTIVE)
def test_small_temperatures_do_not_overflow(loss) -> None:
    h, p, y = problem(6, 3, 4, 2, torch.float32)
    got = loss(h, p, y, temperature=1e-3)
    assert got.isfinite()
    (dh,) = torch.autograd.grad(got, h)
    assert dh.isfinite().all()


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.inf, math.nan])
@pytest.mark.parametrize("loss", CONTRASTIVE)
def test_invalid_temperatures(loss, temperature: float) -> None:
    x, y = torch.ones(3, 4), torch.zeros(3, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"^temperature must be positive and finite, got"):
        loss(x, x, y, temperature=temperature)


def test_shapes_and_dtypes_that_do_not_fit() -> None:
    x, y = torch.ones(3, 4), torch.zeros(3, dtype=torch.int64)
    for call, error, message in (
        (lambda: crammer_singer_loss(x, y.int()), TypeError, "labels must have dtype int64"),
        (lambda: crammer_singer_loss(x[:, :1], y), ValueError, "at least two columns, got 1"),
        (lambda: crammer_singer_loss(x[:0], y[:0]), ValueError, "scores must hold at least one s"),
        (lambda: crammer_singer_loss(x.int(), y), TypeError, "scores must be floating point"),
        (lambda: auxiliary_classifier_loss(x[0], y), ValueError, r"logits must have shape \(B, n"),
        (lambda: auxiliary_classifier_loss(x, y[:2]), ValueError, "one entry for each of the 3 ro"),
        (lambda: gaussian_code_loss(x, x, x[:1]), ValueError, "codes, mu and var must have one"),
        (lambda: CONTRASTIVE[0](x, x[:2], y), ValueError, "proxies must have the shape of embed"),
    ):
        with pytest.raises(error, match=message):
            call()
