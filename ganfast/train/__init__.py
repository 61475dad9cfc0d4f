"""A thin trainer for adversarial models."""

from ganfast.train.objective import Loss, Relativistic, loss_by_name
from ganfast.train.options import TrainOptions
from ganfast.train.step_graphs import graphed
from ganfast.train.trainer import Trainer

__all__ = ["Loss", "Relativistic", "TrainOptions", "Trainer", "graphed", "loss_by_name"]
