"""Distances between distributions of features."""

from ganfast.metrics.frechet import frechet_distance, frechet_distance_from_features
from ganfast.metrics.statistics import FrechetStatistics

__all__ = ["FrechetStatistics", "frechet_distance", "frechet_distance_from_features"]
