"""What a training run is told."""

import math
from dataclasses import dataclass, fields


@dataclass(frozen=True)
class TrainOptions:
    """Settings of one run.

    Attributes:
        steps: generator-and-discriminator rounds in the whole run.
        d_steps, g_steps: optimizer steps of each network per round.
        lr_g, lr_d: Adam learning rates.
        betas: Adam's decay rates (b1, b2) for both networks.
        ema: decay of the generator's moving average, ema <- decay * ema + (1 - decay) * weights.
        latent_dim: size of one latent, or its shape, such as (100, 1, 1).
        seed: seeds the trainer's own latents.
        log_every, score_every, sample_every, checkpoint_every: rounds between records, scores,
            pictures and checkpoints; 0 is never. The last round has all that are not never.
        samples: fixed latents whose images are handed to ``on_sample``.

    Raises:
        TypeError, ValueError: a field has another type or is out of range.
    """

    steps: int
    d_steps: int = 1
    g_steps: int = 1
    lr_g: float = 2e-4
    lr_d: float = 2e-4
    betas: tuple[float, float] = (0.5, 0.999)
    ema: float = 0.999
    latent_dim: int | tuple[int, ...] = 100
    seed: int = 0
    log_every: int = 50
    score_every: int = 0
    sample_every: int = 0
    checkpoint_every: int = 1000
    samples: int = 64

    def __post_init__(self) -> None:
        for name in ("steps", "d_steps", "g_steps", "log_every", "samples"):
            _whole(name, getattr(self, name), minimum=1)
        for name in ("seed", "score_every", "sample_every", "checkpoint_every"):
            _whole(name, getattr(self, name), minimum=0)
        for name in ("lr_g", "lr_d"):
            _between(name, getattr(self, name), math.inf, zero=False)
        _between("ema", self.ema, 1.0)
        if not isinstance(self.betas, tuple) or len(self.betas) != 2:
            raise TypeError(f"betas must be a tuple of two numbers, got {self.betas!r}")
        for beta in self.betas:
            _between("betas", beta, 1.0)
        for size in self.latent_shape:
            _whole("latent_dim", size, minimum=1)

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """Shape of one latent."""
        return self.latent_dim if isinstance(self.latent_dim, tuple) else (self.latent_dim,)

    def refuse_other(self, saved: dict[str, object]) -> None:
        """Raise ValueError where a checkpoint's options are not these; ``steps`` alone may grow."""
        for field in fields(self):
            mine, theirs = getattr(self, field.name), saved.get(field.name)
            if field.name != "steps" and mine != theirs:
                raise ValueError(
                    f"the checkpoint was made with {field.name}={theirs!r}, "
                    f"this run has {field.name}={mine!r}"
                )


def _whole(name: str, value: object, minimum: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} must be an int, got {value!r}")
    if value < minimum:
        raise ValueError(f"{name} must be >= {minimum}, got {value}")


def _between(name: str, value: object, end: float, zero: bool = True) -> None:
    """Check 0 <= value < end, or 0 < value < end."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"{name} must be a number, got {value!r}")
    if not (0 <= value < end) or (value == 0 and not zero):
        start = "[0" if zero else "(0"
        raise ValueError(f"{name} must be in {start}, {end}), got {value}")
