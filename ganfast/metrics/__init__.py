"""Distances between distributions of features."""

from ganfast.metrics.frechet import frechet_distance, frechet_distance_from_features
from ganfast.metrics.matrix import inv_sqrtm_psd, polar_factor, sqrtm_psd
from ganfast.metrics.statistics import FrechetStatistics
from ganfast.metrics.trace import trace_sqrt_product

__all__ = [
    "FrechetStatistics",
    "frechet_distance",
    "frechet_distance_from_features",
    "inv_sqrtm_psd",
    "polar_factor",
    "sqrtm_psd",
    "trace_sqrt_product",
]
