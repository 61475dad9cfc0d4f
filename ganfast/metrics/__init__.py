"""Distances between distributions of features, and metrics of images and texts."""

import importlib
from typing import TYPE_CHECKING, Any

from ganfast.metrics.frechet import frechet_distance, frechet_distance_from_features, mifid
from ganfast.metrics.frechet_loss import FrechetLoss
from ganfast.metrics.kernel_distance import cmmd, kid
from ganfast.metrics.logit_scores import inception_score
from ganfast.metrics.matrix import inv_sqrtm_psd, polar_factor, sqrtm_psd
from ganfast.metrics.moments import Moments, load_moments, save_moments
from ganfast.metrics.ppl import perceptual_path_length
from ganfast.metrics.precision_recall import PRDC, prdc, realism
from ganfast.metrics.sampling import Spread
from ganfast.metrics.sliced import mind, sliced_wasserstein
from ganfast.metrics.statistics import (
    EMAStatistics,
    FrechetStatistics,
    WindowStatistics,
)
from ganfast.metrics.text import bleu, rouge, self_bleu
from ganfast.metrics.trace import (
    BoundedTrace,
    trace_sqrt_product,
    trace_sqrt_product_with_bounds,
)
from ganfast.metrics.uncertainty import (
    Extrapolation,
    Interval,
    frechet_distance_infinity,
    intra_frechet_distance,
    jackknife_interval,
)

if TYPE_CHECKING:
    from ganfast.metrics.image_metrics import (
        FrechetInceptionDistance,
        InceptionScore,
        KernelInceptionDistance,
        MemorizationInformedFrechetInceptionDistance,
        PrecisionRecall,
    )
    from ganfast.metrics.perceptual import DISTS, LPIPS

__all__ = [
    "DISTS",
    "LPIPS",
    "PRDC",
    "BoundedTrace",
    "EMAStatistics",
    "Extrapolation",
    "FrechetInceptionDistance",
    "FrechetLoss",
    "FrechetStatistics",
    "InceptionScore",
    "Interval",
    "KernelInceptionDistance",
    "MemorizationInformedFrechetInceptionDistance",
    "Moments",
    "PrecisionRecall",
    "Spread",
    "WindowStatistics",
    "bleu",
    "cmmd",
    "frechet_distance",
    "frechet_distance_from_features",
    "frechet_distance_infinity",
    "inception_score",
    "intra_frechet_distance",
    "inv_sqrtm_psd",
    "jackknife_interval",
    "kid",
    "load_moments",
    "mifid",
    "mind",
    "perceptual_path_length",
    "polar_factor",
    "prdc",
    "realism",
    "rouge",
    "save_moments",
    "self_bleu",
    "sliced_wasserstein",
    "sqrtm_psd",
    "trace_sqrt_product",
    "trace_sqrt_product_with_bounds",
]


def __getattr__(name: str) -> Any:
    """Import some metrics on first use: networks, and what loads an installed torchmetrics."""
    if name in __all__:
        module = "perceptual" if name in ("DISTS", "LPIPS") else "image_metrics"
        return getattr(importlib.import_module(f"ganfast.metrics.{module}"), name)
    raise AttributeError(f"module 'ganfast.metrics' has no attribute {name!r}")
