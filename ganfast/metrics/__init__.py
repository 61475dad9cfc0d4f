"""Distances between distributions of features."""

from ganfast.metrics.frechet import frechet_distance, frechet_distance_from_features
from ganfast.metrics.loss import FrechetLoss
from ganfast.metrics.matrix import inv_sqrtm_psd, polar_factor, sqrtm_psd
from ganfast.metrics.statistics import (
    EMAStatistics,
    FrechetStatistics,
    Moments,
    WindowStatistics,
)
from ganfast.metrics.stats_files import load_moments, save_moments
from ganfast.metrics.trace import trace_sqrt_product
from ganfast.metrics.uncertainty import (
    Extrapolation,
    Interval,
    frechet_distance_infinity,
    intra_frechet_distance,
    jackknife_interval,
)

__all__ = [
    "EMAStatistics",
    "Extrapolation",
    "FrechetLoss",
    "FrechetStatistics",
    "Interval",
    "Moments",
    "WindowStatistics",
    "frechet_distance",
    "frechet_distance_from_features",
    "frechet_distance_infinity",
    "intra_frechet_distance",
    "inv_sqrtm_psd",
    "jackknife_interval",
    "load_moments",
    "polar_factor",
    "save_moments",
    "sqrtm_psd",
    "trace_sqrt_product",
]
