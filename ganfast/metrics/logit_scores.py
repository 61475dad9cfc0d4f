"""The Inception score."""

from typing import Literal

import torch
from torch import Tensor

from ganfast.metrics.sampling import Draws, Spread, permutations
from ganfast.metrics.validation import Array, as_features, to_float64

Chunks = Literal["even", "ceil", "floor"]


def inception_score(
    logits: Array,
    *,
    splits: int = 10,
    chunks: Chunks = "even",
    seed: int | None = 2020,
    draws: Draws = "numpy",
    ddof: int = 0,
) -> Spread:
    """Mean and standard deviation over splits of exp(mean KL(p(y|x) || p(y))).

    It is computed in float64 (Salimans et al. 2016). The defaults are those of torch-fidelity.
    torchmetrics: ``chunks="ceil", draws="torch", ddof=1`` and the seed of ``torch.manual_seed``.
    StyleGAN: ``seed=None``. guided-diffusion: ``seed=None`` and ``splits = N / 5000``.
    inception-score-pytorch: ``seed=None, splits=1, chunks="floor"``. dgm-eval: ``chunks="floor"``.
    All of these agree on logits of the 2015 Inception without bias; on other logits it is a score
    of its own.

    Args:
        logits: (N, C), floating-point.
        splits: how many.
        chunks: split i of s is [i N / s : (i + 1) N / s] with ``"even"``; ``"ceil"`` takes ceil(N /
            s) at a time, the last being shorter; ``"floor"`` takes floor(N / s) and drops the rest.
        seed: of the shuffle before the split; None leaves the order.
        draws: the random stream of the shuffle; see `ganfast.metrics.sampling`.
        ddof: of the standard deviation.

    Raises:
        TypeError, ValueError: the logits do not fit, there are more splits than samples, or an
            option is unknown.
    """
    x = as_features(logits, "logits").detach()
    if not 1 <= splits <= len(x):
        raise ValueError(f"splits must be from 1 to {len(x)}, the number of samples, got {splits}")
    if ddof not in (0, 1) or ddof >= splits:
        raise ValueError(f"ddof must be 0, or 1 with 2 splits or more, got {ddof}")
    if seed is not None:
        x = x[permutations(seed, draws)(len(x)).to(x.device)]
    scores = torch.tensor([_score(part) for part in _split(x, splits, chunks)], dtype=torch.float64)
    return Spread(float(scores.mean()), float(scores.std(correction=ddof)))


def _split(x: Tensor, splits: int, chunks: Chunks) -> list[Tensor]:
    n = len(x)
    if chunks == "even":
        return [x[i * n // splits : (i + 1) * n // splits] for i in range(splits)]
    if chunks == "ceil":
        return list(x.chunk(splits))
    if chunks == "floor":
        return list(torch.split(x[: n // splits * splits], n // splits))
    raise ValueError(f"chunks must be 'even', 'ceil' or 'floor', got {chunks!r}")


def _score(logits: Tensor) -> float:
    log_p = to_float64(logits).log_softmax(1)
    p = log_p.exp()
    mean = p.mean(0)
    # A class that never occurs adds nothing: p log p - p log 0 is 0 there, not NaN.
    entropy = torch.special.entr(mean).sum()
    return float(((p * log_p).sum(1).mean() + entropy).exp())
