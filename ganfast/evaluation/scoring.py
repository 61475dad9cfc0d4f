"""`ganfast.evaluate`: the function behind ``ganfast eval``."""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ganfast._files import atomic_write
from ganfast.evaluation import inputs, run
from ganfast.evaluation.collect import OnError
from ganfast.evaluation.scores import TABLE, FeatureSet, Options, names
from ganfast.evaluation.settings import Settings, open_side
from ganfast.features import Encoder
from ganfast.features.resize import Mode
from ganfast.features.user_models import given
from ganfast.metrics import load_moments

#: Packages that resize as a mode does: their numbers are compared with each other, not across.
PROTOCOLS = {
    "clean": "clean-fid", "torch": "pytorch-fid", "tf1": "torch-fidelity, StyleGAN, EDM",
    "antialias": "torchmetrics",
}  # fmt: skip


_SHARES = ("precision", "recall", "density", "coverage", "f_score", "realism")


@dataclass
class Evaluation(run.Result):
    """What `evaluate` has found: it prints as a table, plots, and saves itself.

    ``evaluation["fid"]`` is a score by its key in `values`.
    """

    @property
    def values(self) -> dict[str, float]:
        """The scores by their keys; the spread of ``kid`` is ``kid_std``."""
        found: Any = self.as_json()["metrics"]
        return dict(found)

    def __getitem__(self, key: str) -> float:
        return self.values[key]

    def __str__(self) -> str:
        return self.as_text()

    def plot(self) -> Any:
        """Return a figure of matplotlib: distances on a logarithmic axis, shares from 0 to 1."""
        from matplotlib import pyplot as plt

        shares = [row for row in self.rows if row.key in _SHARES]
        others = [row for row in self.rows if row.key not in _SHARES]
        groups = [rows for rows in (others, shares) if rows]
        figure, axes = plt.subplots(
            len(groups), 1, squeeze=False, layout="constrained",
            figsize=(6.4, 1.2 + 0.45 * len(self.rows)),
            height_ratios=[len(rows) for rows in groups],
        )  # fmt: skip
        for rows, axis in zip(groups, axes[:, 0], strict=True):
            found = [row.value for row in rows]
            places = range(len(rows))
            axis.errorbar(found, places, xerr=[row.std or 0 for row in rows], fmt="o")
            axis.set_yticks(places, [row.name for row in rows])
            for place, value in enumerate(found):
                axis.annotate(
                    f"{value:.6g}", (value, place), (0, 6), textcoords="offset points", ha="center"
                )
            axis.set_ylim(len(rows) - 0.5, -0.7)
            if rows is shares:
                axis.set_xlim(-0.1, max(1.1, *found))
            else:
                axis.margins(x=0.2)
                axis.set_xscale("log" if min(found) > 0 else "linear")
                axis.tick_params(which="minor", labelbottom=False)
        figure.suptitle(f"{self.fake.name} against {self.real.name}")
        return figure

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write everything to a .json file, or a page to a .html file.

        Raises:
            ValueError: the path has another ending.
        """
        target = Path(path)
        if target.suffix == ".json":
            with atomic_write(target) as file:
                file.write(json.dumps(self.as_json(), indent=2).encode() + b"\n")
        elif target.suffix == ".html":
            from ganfast.evaluation.page import page
            from ganfast.reporting import report

            report.write(target, page(self, "ganfast.evaluate"))
        else:
            raise ValueError(f"path must end in .json or .html, got {str(path)!r}")


@dataclass(frozen=True)
class _Settings(Settings):
    """Settings with a network that is loaded once, or given."""

    load: Callable[[], Encoder] | None = None

    def encoder(self) -> Encoder:
        return super().encoder() if self.load is None else self.load()


def evaluate(
    real: Any, fake: Any, metrics: str | Sequence[str] = ("fid", "kid", "prdc"),
    features: str | Encoder | nn.Module | Callable[[Tensor], Tensor] = "inception", *,
    resize: Mode | None = None, dims: int = 2048, weights: str | None = None,
    sha256: str | None = None, dtype: str = "float32", compile: bool = False,
    graphs: bool = False, download: bool = False, device: str | None = None,
    batch_size: int = 32, samples: int | None = None,
    value_range: tuple[float, float] | None = None,
    background: str | None = None, on_error: OnError = "stop",
    state: str | os.PathLike[str] | None = None, engine: Literal["here", "ray"] = "here",
    workers: int | None = None, seed: int = 2020,
    ddof: int = 1, kid_subsets: int = 100, kid_subset_size: int = 1000, splits: int = 10,
    k: int = 5, inclusive: bool = False, neighbour_samples: int | None = None,
    pictures: bool = False, progress: bool = True,
) -> Evaluation:  # fmt: skip
    """Score generated images against real ones.

    Args:
        real, fake: each is one of

            - a path, pattern, URL or name, as ``ganfast eval`` takes it;
            - images (N, C, H, W), uint8 or floats, or with channels last in NumPy;
            - features (N, D), floats;
            - `Moments` or `FrechetStatistics`, for Fréchet distances;
            - a data set: anything with a length and items, such as torch's and Hugging Face's,
              whose items are images, tuples that start with one, or dicts with ``image``;
            - a `DataLoader` or another iterable of images or batches of them, which is read once;
            - a generator: a function of n that returns n images, or a module with ``latent_dim``.
        metrics: names of `TABLE`, in a list or separated by commas.
        features: a name or file as ``ganfast eval`` takes it, an `Encoder`, or a module or callable
            from uint8 images (N, 3, H, W) to features (N, D).
        resize, dims, weights, sha256, dtype, compile, graphs, download: of a network by name, as
            `ganfast.features.load` takes them.
        device: of the network; a GPU by default if there is one.
        batch_size: images that go through the network at once.
        samples: images that a generator makes; by default as many as the other side has.
        value_range: of floats, by default (0, 1), and (-1, 1) from a generator.
        background, on_error, state, engine, workers: as of `Settings`.
        seed, ddof, kid_subsets, kid_subset_size, splits, k, inclusive, neighbour_samples: as of
            `Options`.
        pictures: also collect what the page draws: samples, nearest neighbours, precision and
            recall by k.
        progress: show a progress bar on a terminal.

    Returns:
        The scores. In several processes the first one returns them, and the others none; each
        reads a whole iterable.

    Raises:
        FileNotFoundError, ModuleNotFoundError, TypeError, ValueError: an input cannot be used, or a
            metric or an option does not fit.

    Example:
        >>> result = ganfast.evaluate("photos/", loader, metrics="fid,kid", resize="clean")
        >>> print(result)
        >>> result["fid"], result.save("scores.html")
    """
    wanted = names(metrics if isinstance(metrics, str) else ",".join(map(str, metrics)))
    settings = _Settings(
        features=features if isinstance(features, str) else "given", resize=resize, dims=dims,
        weights=weights, sha256=sha256, dtype=dtype, compile=compile, graphs=graphs,
        download=download, device=device or ("cuda" if torch.cuda.is_available() else "cpu"),
        batch_size=batch_size, samples=samples, background=background, on_error=on_error,
        state=None if state is None else Path(state), engine=engine, workers=workers,
        options=Options(
            seed, ddof, kid_subsets, kid_subset_size, splits, k, inclusive, neighbour_samples
        ),
    )  # fmt: skip
    kept: list[Encoder] = []

    def load() -> Encoder:
        if not kept:
            if isinstance(features, str):
                kept.append(settings.encoder())
            else:
                kept.append(given(features, settings.device))
        return kept[0]

    loaded = replace(settings, load=load)
    layers = tuple(dict.fromkeys(TABLE[name].layer for name in wanted))
    if pictures and "features" not in layers:
        layers = ("features", *layers)
    keep = None if pictures or run.wanted_features(wanted) else run.FEW

    def side(value: Any, name: str, number: int | None) -> Any:
        if isinstance(value, str | Path):
            return str(value)
        from ganfast.evaluation.objects import opened

        return opened(
            value, name, load, number, seed, value_range, layers, keep, batch_size, not progress
        )

    one = side(real, "real", samples)
    number = samples
    if number is None and not isinstance(fake, str | Path):
        if isinstance(one, str) and not inputs.is_statistics(one):
            inputs.refuse_missing(one)
            if inputs.is_images(one):
                one = open_side(one, load(), loaded, samples)
        number = _count(one)
    two = side(fake, "fake", number)
    if not kept and isinstance(one, FeatureSet) and isinstance(two, FeatureSet):
        kept.append(inputs.given_features())  # moments alone
    found = run.score(one, two, wanted, loaded, pictures=pictures, quiet=not progress)
    result = Evaluation(**vars(found))
    mode = result.settings.get("resize")
    if result.settings.get("features") == "inception" and mode in PROTOCOLS:
        result.settings["protocol"] = PROTOCOLS[mode]
    return result


def _count(side: Any) -> int | None:
    """Return how many images the other side has, if that is known."""
    if isinstance(side, str):
        return load_moments(side).n if inputs.is_statistics(side) else None
    return side.n if isinstance(side, FeatureSet) else side.count
