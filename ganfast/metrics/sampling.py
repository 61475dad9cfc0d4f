"""Random subsets drawn as other projects draw them, so that scores agree to the last digit."""

from collections.abc import Callable
from typing import Literal, NamedTuple, get_args

import numpy as np
import torch
from torch import Tensor

Draws = Literal["numpy", "torch"]


class Spread(NamedTuple):
    """Mean and standard deviation over subsets or splits."""

    mean: float
    std: float


def permutations(seed: int | None, draws: Draws) -> Callable[[int], Tensor]:
    """Return a function of n that yields the next permutation of 0..n-1 of a random stream.

    A ``seed`` leaves the global generators alone. None continues the global stream, as packages do
    that are seeded by ``torch.manual_seed`` or ``numpy.random.seed``. ``"numpy"`` draws from
    ``numpy.random.RandomState(seed)``, whose ``choice(n, m, replace=False)`` is the first m of a
    permutation, ``"torch"`` by ``torch.randperm`` after ``torch.manual_seed(seed)``.
    """
    if draws == "numpy":
        state = np.random if seed is None else np.random.RandomState(seed)
        return lambda n: torch.from_numpy(state.permutation(n))
    if draws == "torch":
        generator = None if seed is None else torch.Generator().manual_seed(seed)
        return lambda n: torch.randperm(n, generator=generator)
    raise ValueError(f"draws must be one of {get_args(Draws)}, got {draws!r}")
