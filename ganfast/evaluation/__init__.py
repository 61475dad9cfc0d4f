"""Score images against images: the work behind the commands eval, fid, stats and merge."""

from ganfast.evaluation.collect import OnError
from ganfast.evaluation.parts import merge_files, save_statistics, statistics
from ganfast.evaluation.run import Result, score
from ganfast.evaluation.scores import TABLE, FeatureSet, Options, names
from ganfast.evaluation.settings import Settings
from ganfast.evaluation.state import State, merged

__all__ = [
    "TABLE",
    "FeatureSet",
    "OnError",
    "Options",
    "Result",
    "Settings",
    "State",
    "merge_files",
    "merged",
    "names",
    "save_statistics",
    "score",
    "statistics",
]
