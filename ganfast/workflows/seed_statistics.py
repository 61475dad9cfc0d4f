"""Statistics over several seeds: mean, standard deviation and 95 % interval."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

# 97.5 % quantiles of Student's t for 1, 2, ... degrees of freedom.
_T = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
    *(2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086),
    *(2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042),
)


class Summary(NamedTuple):
    """Mean and standard deviation (ddof 1) of n values, and the 95 % interval of the mean."""

    mean: float
    std: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        return f"{self.mean:.4g} ± {self.std:.2g}" if self.n > 1 else f"{self.mean:.4g}"


def summary(values: Sequence[float]) -> Summary:
    """Summarize values; for a single one, standard deviation and interval are NaN.

    Raises:
        ValueError: there are no values.
    """
    if len(values) == 0:
        raise ValueError("values must hold at least one number, got none")
    n, mean = len(values), float(np.mean(values))
    if n == 1:
        return Summary(mean, math.nan, math.nan, math.nan, 1)
    std = float(np.std(values, ddof=1))
    reach = (_T[n - 2] if n - 2 < len(_T) else 1.96) * std / math.sqrt(n)
    return Summary(mean, std, mean - reach, mean + reach, n)


def difference(values: Sequence[float], others: Sequence[float]) -> Summary:
    """Summarize the differences value - other, seed by seed.

    Raises:
        ValueError: the lengths differ.
    """
    if len(values) != len(others):
        raise ValueError(
            f"values and others must have one length, got {len(values)} and {len(others)}"
        )
    return summary([a - b for a, b in zip(values, others, strict=True)])


def in_words(change: Summary, better: str = "higher") -> str:
    """Describe a difference and its interval, and whether it is better, ``higher`` or ``lower``."""
    if math.isnan(change.low):
        return "one seed: no interval"
    interval = f"{change.mean:+.3g} [{change.low:+.3g}, {change.high:+.3g}]"
    if change.low <= 0 <= change.high:
        return f"{interval}: no difference to be seen"
    return f"{interval}: {'better' if (change.low > 0) == (better == 'higher') else 'worse'}"
