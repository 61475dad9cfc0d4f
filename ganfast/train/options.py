"""The options of a training run."""

import math
from dataclasses import MISSING, dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

from ganfast._names import check_name
from ganfast._numbers import check_between, check_truth, check_whole

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
        lr_decay, lr_decay_start: both rates stay ``constant``, or fall from round
            ``lr_decay_start`` on to 0 at the last round, along a line or half a cosine.
        burn_in_kimg: thousands of images in which the settings named ``*_end``, ``ema_kimg`` and
            ``augment_p`` are reached along half a cosine, as in R3GAN; 0 is at once.
        lr_end: factor on both learning rates at the end of the burn-in.
        penalty_end: factor on ``penalty_weight`` at the end of the burn-in.
        beta2_end: Adam's b2 of both networks at the end of the burn-in; null keeps it.
        augment_p: probability of each augmentation; it starts at 0 if there is a burn-in. With null
            the augmentation has its own.
        clip_gradients: largest norm of each network's gradient; 0 does not clip.
        clip_weights: bound c that keeps the discriminator's weights in [-c, c] (WGAN); 0 does not
            clip.
        reuse_fakes: train the generator on the fakes of the discriminator's last step, as the DCGAN
            tutorial does. This saves a forward of the generator and costs the memory of its graph.
        accumulate: batches whose gradients make one optimizer step.
        precision: ``fp32``, or autocast to ``bf16``, or to ``fp16`` with a gradient scaler.
            R1 and R2 are taken in the precision of the pass that the loss takes, other penalties
            always in float32, and with ``fp16`` all of them.
        channels_last: the memory format of weights and images. With ``compile`` on a GPU the
            compiler chooses it.
        compile: run both networks through torch.compile. Penalties call them uncompiled, because
            torch.compile has no second derivatives. If it fails, a warning says so and the networks
            run uncompiled.
        cuda_graphs: replay rounds as CUDA graphs from the fourth on. Batches must have one shape,
            and random numbers drawn on the host repeat.
        ema: decay of the generator's moving average, ema <- decay * ema + (1 - decay) * weights.
        ema_kimg: half-life of the moving average in thousands of images, which replaces ``ema``; it
            starts at 0 if there is a burn-in. 0 is none.
        latent_dim: size of one latent, or its shape, such as (100, 1, 1).
        classes: number of labels if both networks take labels as a second argument, else 0.
        penalty: gradient penalty of the discriminator.
        penalty_weight: gamma of R1 and R2 (with the factor 1/2), lambda of the others.
        penalty_every: compute the penalty in every n-th step of the discriminator, times n.
        consistency: weight of the logits' change under small shifts of real images (CR); 0 is off.
        lecam: weight of LeCam; 0 is off.
        lecam_decay: decay of LeCam's moving averages.
        divergence: reaction to a discriminator that wins outright or a generator that collapses:
            ``warn``, ``stop``, or ``roll_back`` to the last sound checkpoint, with other latents
            and half the learning rates, at most three times. A loss that is not finite stops the
            run or rolls it back.
        best_by: name of the score whose lowest value selects ``best.pt``.
        patience: end the run after so many scores without a better one; 0 is never.
        seed: seed of the trainer's own latents.
        log_every, score_every, sample_every, checkpoint_every: rounds between records, scores,
            samples and checkpoints; 0 is never. Those that are not 0 also come in the last round.
        keep_checkpoints: number of newest checkpoints to keep, beside the best.
        samples: number of fixed latents whose images ``on_sample`` gets.

    Raises:
        TypeError: a field has the wrong type.
        ValueError: a field is out of range, or fields do not fit each other.
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
    burn_in_kimg: float = 0.0
    lr_end: float = 1.0
    penalty_end: float = 1.0
    beta2_end: float | None = None
    augment_p: float | None = None
    clip_gradients: float = 0.0
    clip_weights: float = 0.0
    reuse_fakes: bool = False
    accumulate: int = 1
    precision: Precision = "fp32"
    channels_last: bool = False
    compile: bool = False
    cuda_graphs: bool = False
    ema: float = 0.999
    ema_kimg: float = 0.0
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
            check_whole(name, getattr(self, name), minimum=1)
        counts = ("seed", "score_every", "sample_every", "checkpoint_every")
        for name in (*counts, "classes", "patience", "lr_decay_start"):
            check_whole(name, getattr(self, name), minimum=0)
        for name in ("lr_g", "lr_d"):
            check_between(name, getattr(self, name), math.inf, zero=False)
        weights = ("penalty_weight", "consistency", "lecam", "clip_gradients", "clip_weights")
        schedule = ("burn_in_kimg", "lr_end", "penalty_end", "ema_kimg")
        for name in (*weights, *schedule):
            check_between(name, getattr(self, name), math.inf)
        for name in ("ema", "lecam_decay"):
            check_between(name, getattr(self, name), 1.0)
        if self.beta2_end is not None:
            check_between("beta2_end", self.beta2_end, 1.0)
        if self.augment_p is not None:
            check_between("augment_p", self.augment_p, 1.0, last=True)
        for name in ("betas_g", "betas_d"):
            betas = getattr(self, name)
            if not isinstance(betas, tuple) or len(betas) != 2:
                raise TypeError(f"{name} must be a tuple of two numbers, got {betas!r}")
            for beta in betas:
                check_between(name, beta, 1.0)
        if self.seed >= 2**63:
            raise ValueError(f"seed must be below 2**63, got {self.seed}")
        for size in self.latent_shape:
            check_whole("latent_dim", size, minimum=1)
        check_name("lr_decay", self.lr_decay, get_args(Decay))
        check_name("precision", self.precision, get_args(Precision))
        check_name("penalty", self.penalty, get_args(Penalty))
        check_name("divergence", self.divergence, get_args(Divergence))
        for name in ("channels_last", "reuse_fakes", "compile", "cuda_graphs"):
            check_truth(name, getattr(self, name))
        if self.lr_decay != "constant" and self.lr_decay_start >= self.steps:
            raise ValueError(
                f"lr_decay_start must be below steps, {self.steps}, got {self.lr_decay_start}"
            )
        ends = {"lr_end": 1.0, "penalty_end": 1.0, "beta2_end": None}
        for name, none in ends.items():
            if getattr(self, name) != none and not self.burn_in_kimg:
                raise ValueError(f"burn_in_kimg must be positive with {name}, got 0")
        if self.beta2_end is not None and self.betas_g[1] != self.betas_d[1]:
            raise ValueError(
                f"betas_g and betas_d must have the same b2 with beta2_end, "
                f"got {self.betas_g} and {self.betas_d}"
            )
        if self.cuda_graphs and self.precision == "fp16":
            raise ValueError("cuda_graphs must be False for precision fp16, got True: use bf16")
        if self.patience and not self.score_every:
            raise ValueError(f"patience must be 0 if score_every is 0, got {self.patience}")

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """Shape of one latent."""
        return self.latent_dim if isinstance(self.latent_dim, tuple) else (self.latent_dim,)

    def lr_factor(self, step: int) -> float:
        """Return the factor on both learning rates in the round after ``step`` rounds."""
        if self.lr_decay == "constant" or step < self.lr_decay_start:
            return 1.0
        progress = min(1.0, (step - self.lr_decay_start) / (self.steps - self.lr_decay_start))
        return 1 - progress if self.lr_decay == "linear" else (1 + math.cos(math.pi * progress)) / 2


#: When a run logs, scores, shows and saves, and where to. A resumed run may change these.
CADENCE = frozenset(
    (
        *("log_every", "score_every", "sample_every", "checkpoint_every", "keep_checkpoints"),
        *("patience", "tensorboard", "wandb"),
    )
)


def refuse_other(
    options: "DataclassInstance", saved: dict[str, Any], free: frozenset[str] = frozenset()
) -> None:
    """Raise ValueError if a checkpoint's options differ from these, except for ``free`` ones."""
    if not isinstance(saved, dict):
        raise ValueError(f"the checkpoint's options must be settings by name, got {saved!r}")
    for field in fields(options):
        mine = getattr(options, field.name)
        if field.name in saved or field.default is MISSING or not field.init:
            theirs = saved.get(field.name, "nothing")
        else:  # the checkpoint is older than the option and was made with its default
            theirs = getattr(replace(options, **{field.name: field.default}), field.name)
        if field.name not in free and mine != theirs:
            raise ValueError(
                f"the checkpoint was made with {field.name}={theirs!r}, "
                f"this run has {field.name}={mine!r}"
            )
