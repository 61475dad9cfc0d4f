"""A thin trainer for adversarial models."""

from ganfast.train.options import TrainOptions
from ganfast.train.trainer import Trainer

__all__ = ["TrainOptions", "Trainer"]
