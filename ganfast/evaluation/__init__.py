"""Score images against images: the work behind ``ganfast eval``, ``fid`` and ``stats``."""

from ganfast.evaluation.collect import OnError
from ganfast.evaluation.run import Result, Settings, evaluate, statistics
from ganfast.evaluation.scores import TABLE, Options, names

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
