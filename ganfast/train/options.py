"""What a training run is told."""

import math
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal, get_args

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Decay = Literal["constant", "linear", "cosine"]
Precision = Literal["fp32", "bf16", "fp16"]
Penalty = Literal["none", "r1", "r2", "r1_r2", "wgan_gp", "wgan_lp", "dragan", "zero_centered"]
Divergence = Literal["warn", "stop", "roll_back"]


@dataclass(frozen=True)
class TrainOptions:
    """Settings of one run.

    Attributes:
        steps: generator-and-discriminator rounds in the whole run.
        d_steps, g_steps: optimizer steps of each network per round.
        lr_g, lr_d: Adam learning rates.
        betas_g, betas_d: Adam's decay rates (b1, b2).
        lr_decay: both rates stay ``constant``, or fall to 0 at the last round from round
            ``lr_decay_start`` on, in a line or as half a cosine.
        clip_gradients: largest norm of each network's gradient; 0 does not clip.
        clip_weights: the discriminator's weights are kept in [-c, c] (WGAN); 0 does not clip.
        reuse_fakes: the generator's step takes the fakes of the discriminator's last step, as the
            tutorial of DCGAN does: one forward of the generator less, for the memory of its graph.
        accumulate: batches whose gradients make one optimizer step.
        precision: ``fp32``, or autocast to ``bf16``, or to ``fp16`` with a gradient scaler. The
            penalty is computed in float32 always.
        channels_last: the memory format of weights and images; left to the compiler where
            ``compile`` serves a GPU.
        compile: both networks go through torch.compile, but for penalties, whose second derivatives
            it does not have. Where it fails, that is said and they run as they are.
        cuda_graphs: from the fourth on, rounds are replayed as CUDA graphs; batches must then be of
            one shape, and what is drawn on the host is drawn once.
        ema: decay of the generator's moving average, ema <- decay * ema + (1 - decay) * weights.
        latent_dim: size of one latent, or its shape, such as (100, 1, 1).
        classes: number of labels where both networks take them as a second argument, else 0.
        penalty: gradient penalty of the discriminator.
        penalty_weight: gamma of R1 and R2 (with the half), lambda of the others.
        penalty_every: optimizer steps of the discriminator from one penalty to the next, which is
            so many times as strong.
        consistency: weight of the logits' change under small shifts of real images (CR); 0 is off.
        lecam: weight of LeCam; 0 is off.
        lecam_decay: of LeCam's moving averages.
        divergence: what to do where the discriminator wins outright or the generator collapses:
            ``warn``, ``stop``, or ``roll_back`` to the last sound checkpoint, with other latents
            and half the learning rates, three times at most. A loss that is not finite stops, or
            rolls back.
        best_by: the score that says, by being lowest, which checkpoint is kept as ``best.pt``.
        patience: scores without a better one after which the run ends; 0 is never.
        seed: seeds the trainer's own latents.
        log_every, score_every, sample_every, checkpoint_every: rounds between records, scores,
            pictures and checkpoints; 0 is never. The last round has all that are not never.
        keep_checkpoints: newest checkpoints that are kept, beside the best.
        samples: fixed latents whose images are handed to ``on_sample``.

    Raises:
        TypeError, ValueError: a field has another type or is out of range.
    """

    steps: int
    d_steps: int = 1
    g_steps: int = 1
    lr_g: float = 2e-4
    lr_d: float = 2e-4
    betas_g: tuple[float, float] = (0.5, 0.999)
    betas_d: tuple[float, float] = (0.5, 0.999)
    lr_decay: Decay = "constant"
    lr_decay_start: int = 0
    clip_gradients: float = 0.0
    clip_weights: float = 0.0
    reuse_fakes: bool = False
    accumulate: int = 1
    precision: Precision = "fp32"
    channels_last: bool = False
    compile: bool = False
    cuda_graphs: bool = False
    ema: float = 0.999
    latent_dim: int | tuple[int, ...] = 100
    classes: int = 0
    penalty: Penalty = "none"
    penalty_weight: float = 10.0
    penalty_every: int = 1
    consistency: float = 0.0
    lecam: float = 0.0
    lecam_decay: float = 0.99
    divergence: Divergence = "warn"
    best_by: str = "fd"
    patience: int = 0
    seed: int = 0
    log_every: int = 50
    score_every: int = 0
    sample_every: int = 0
    checkpoint_every: int = 1000
    keep_checkpoints: int = 2
    samples: int = 64

    def __post_init__(self) -> None:
        positive = ("steps", "d_steps", "g_steps", "accumulate", "penalty_every", "log_every")
        for name in (*positive, "keep_checkpoints", "samples"):
            whole(name, getattr(self, name), minimum=1)
        counts = ("seed", "score_every", "sample_every", "checkpoint_every")
        for name in (*counts, "classes", "patience", "lr_decay_start"):
            whole(name, getattr(self, name), minimum=0)
        for name in ("lr_g", "lr_d"):
            between(name, getattr(self, name), math.inf, zero=False)
        weights = ("penalty_weight", "consistency", "lecam", "clip_gradients", "clip_weights")
        for name in weights:
            between(name, getattr(self, name), math.inf)
        for name in ("ema", "lecam_decay"):
            between(name, getattr(self, name), 1.0)
        for name in ("betas_g", "betas_d"):
            betas = getattr(self, name)
            if not isinstance(betas, tuple) or len(betas) != 2:
                raise TypeError(f"{name} must be a tuple of two numbers, got {betas!r}")
            for beta in betas:
                between(name, beta, 1.0)
        if self.seed >= 2**63:
            raise ValueError(f"seed must be below 2**63, got {self.seed}")
        for size in self.latent_shape:
            whole("latent_dim", size, minimum=1)
        one_of("lr_decay", self.lr_decay, get_args(Decay))
        one_of("precision", self.precision, get_args(Precision))
        one_of("penalty", self.penalty, get_args(Penalty))
        one_of("divergence", self.divergence, get_args(Divergence))
        for name in ("channels_last", "reuse_fakes", "compile", "cuda_graphs"):
            truth(name, getattr(self, name))
        if self.lr_decay != "constant" and self.lr_decay_start >= self.steps:
            raise ValueError(
                f"lr_decay_start must be below steps, {self.steps}, got {self.lr_decay_start}"
            )
        if self.cuda_graphs and self.precision == "fp16":
            raise ValueError("cuda_graphs must be False for fp16, whose scaler asks the host: bf16")
        if self.patience and not self.score_every:
            raise ValueError("patience must be 0 where score_every is: nothing is scored")

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """Shape of one latent."""
        return self.latent_dim if isinstance(self.latent_dim, tuple) else (self.latent_dim,)

    def lr_factor(self, step: int) -> float:
        """What the learning rates are multiplied with in the round after ``step`` rounds."""
        if self.lr_decay == "constant" or step < self.lr_decay_start:
            return 1.0
        gone = min(1.0, (step - self.lr_decay_start) / (self.steps - self.lr_decay_start))
        return 1 - gone if self.lr_decay == "linear" else (1 + math.cos(math.pi * gone)) / 2


def refuse_other(options: "DataclassInstance", saved: dict[str, Any], free: str = "") -> None:
    """Raise ValueError where a checkpoint's options are not these, but for the one ``free``."""
    if not isinstance(saved, dict):
        raise ValueError(f"the checkpoint's options must be settings by name, got {saved!r}")
    for field in fields(options):
        # An option that is newer than the checkpoint was at its default.
        mine, theirs = getattr(options, field.name), saved.get(field.name, field.default)
        if field.name != free and mine != theirs:
            raise ValueError(
                f"the checkpoint was made with {field.name}={theirs!r}, "
                f"this run has {field.name}={mine!r}"
            )


def whole(name: str, value: object, minimum: int) -> None:
    """Check that a value is an int from ``minimum`` on."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} must be an int, got {value!r}")
    if value < minimum:
        raise ValueError(f"{name} must be >= {minimum}, got {value}")


def truth(name: str, value: object) -> None:
    """Check that a value is true or false."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be true or false, got {value!r}")


def between(name: str, value: object, end: float, zero: bool = True) -> None:
    """Check 0 <= value < end, or 0 < value < end."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"{name} must be a number, got {value!r}")
    if not (0 <= value < end) or (value == 0 and not zero):
        start = "[0" if zero else "(0"
        raise ValueError(f"{name} must be in {start}, {end}), got {value}")


def one_of(name: str, value: object, known: tuple[str, ...]) -> None:
    """Check that a value is one of some words."""
    if value not in known:
        raise ValueError(f"{name} must be one of {', '.join(known)}, got {value!r}")
