"""Does it pay to train G or D before the GAN? Against a GAN from scratch, at an equal budget."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import get_args

from safetensors.torch import load, save

from ganfast._files import atomic_write
from ganfast.data import ImageData
from ganfast.train import config as options
from ganfast.train.log import read_records
from ganfast.workflows import gan, pretrain_report, transfer
from ganfast.workflows.gan import Config
from ganfast.workflows.pretext import Method, Weights, weights_of
from ganfast.workflows.result_cache import Rounds
from ganfast.workflows.seed_statistics import Summary, difference, summary
from ganfast.workflows.train import clear, trainer_of

Curve = list[tuple[int, float]]


@dataclass(frozen=True)
class Settings:
    """Of the whole workflow.

    Attributes:
        method: how the networks are trained first.
        source: checkpoint for ``transfer``, of ``ganfast train``.
        pretrain_steps: of the first training; none for ``transfer``.
        gan: settings of ``ganfast train`` as ``field=value`` words; ``steps`` are those after the
            first training. The GAN from scratch has ``pretrain_steps`` rounds more, each of which
            costs more than a step of the first training.
        seeds: runs of each kind.
    """

    method: Method = "autoencoder"
    source: str = ""
    pretrain_steps: int = 200
    gan: tuple[str, ...] = ("model=dcgan", "steps=400", "lr_g=2e-3", "lr_d=1e-3", "score_every=100")
    seeds: int = 3

    def __post_init__(self) -> None:
        if self.method not in get_args(Method):
            raise ValueError(f"method must be {', '.join(get_args(Method))}, got {self.method!r}")
        if (self.method == "transfer") != bool(self.source):
            raise ValueError("source must be given for transfer, and for no other method")
        if self.seeds < 1 or self.pretrain_steps < 1:
            raise ValueError("seeds and pretrain_steps must be at least 1")

    @property
    def extra(self) -> int:
        """Rounds that the GAN from scratch has more."""
        return 0 if self.method == "transfer" else self.pretrain_steps

    def config(self, seed: int) -> Config:
        """Of the GAN after the first training. Raises as ``ganfast.train.config.read``."""
        config = replace(options.read(Config, None, self.gan), seed=seed)
        if not config.score_every:
            raise ValueError("gan must have a score_every above 0: it is what is compared")
        return config


@dataclass(frozen=True)
class Result:
    """Distances over rounds of each run, and what was taken over from the first training."""

    scratch: list[Curve]
    pretrained: list[Curve]
    taken: dict[str, list[transfer.Row]]

    @property
    def last(self) -> tuple[Summary, Summary, Summary]:
        """Last distances from scratch, after pre-training, and the difference (second - first)."""
        a, b = ([curve[-1][1] for curve in curves] for curves in (self.scratch, self.pretrained))
        return summary(a), summary(b), difference(b, a)


def pretrain(settings: Settings, out: Path, device: str = "cpu", overwrite: bool = False) -> Result:
    """Train everything, and write ``report.html``; goes on where it was stopped.

    Raises:
        FileExistsError: ``out`` holds a run of other settings.
        FileNotFoundError, ValueError: source, data and settings do not fit.
    """
    config = settings.config(0)
    real = gan.real_images(config)
    if gan.score_of(config, real, device) is None:
        raise ValueError("data must be the embedded digits: other images have no score here")
    Rounds(out / "settings.json", asdict(settings), overwrite)(("settings",), dict)
    result = Result([], [], {})
    for seed in range(settings.seeds):
        config = settings.config(seed)
        weights = _weights(settings, config, real, out / f"pretext-{seed}.safetensors", overwrite)
        longer = replace(config, steps=config.steps + settings.extra)
        scratch = _run(longer, real, out / f"scratch-{seed}", device, overwrite, {})
        folder = out / f"pretrained-{seed}"
        curve, taken = _run(config, real, folder, device, overwrite, weights)
        result.scratch.append(scratch[0])
        result.pretrained.append(curve)
        result.taken.update(taken)
    pretrain_report.write(out, settings, result)
    return result


def _weights(
    settings: Settings, config: Config, real: ImageData, path: Path, overwrite: bool
) -> dict[str, Weights]:
    """Those of the first training: from their file, or trained and written."""
    if path.exists() and not overwrite:
        flat = load(path.read_bytes())
    else:
        found = weights_of(
            settings.method, config, real, settings.pretrain_steps, config.seed, settings.source
        )
        flat = {f"{part}/{k}": v.contiguous() for part, w in found.items() for k, v in w.items()}
        with atomic_write(path) as file:
            file.write(save(flat))
    weights: dict[str, Weights] = {}
    for name, value in flat.items():
        part, _, key = name.partition("/")
        weights.setdefault(part, {})[key] = value
    return weights


def _run(
    config: Config,
    real: ImageData,
    folder: Path,
    device: str,
    overwrite: bool,
    weights: dict[str, Weights],
) -> tuple[Curve, dict[str, list[transfer.Row]]]:
    """Train from the weights; the distances over rounds, and what was taken."""
    pair = gan.make(config)
    taken = {part: transfer.take(getattr(pair, part), w) for part, w in weights.items()}
    trainer = trainer_of(config, folder, device, real, pair)
    if overwrite:
        clear(folder, overwrite)
    elif trainer.checkpoint_path.exists():
        trainer.resume()
    if not trainer.run():
        raise KeyboardInterrupt
    records = read_records(folder / "metrics.jsonl")
    return [(int(r["step"]), r["fd"]) for r in records if "fd" in r], taken
