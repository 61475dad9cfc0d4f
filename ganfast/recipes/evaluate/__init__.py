"""Score images against images: the work behind ``ganfast eval``, ``fid`` and ``stats``."""

from ganfast.recipes.evaluate.collect import OnError
from ganfast.recipes.evaluate.run import Result, Settings, evaluate, statistics
from ganfast.recipes.evaluate.scores import TABLE, Options, names

__all__ = [
    "TABLE",
    "OnError",
    "Options",
    "Result",
    "Settings",
    "evaluate",
    "names",
    "statistics",
]
