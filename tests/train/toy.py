"""A GAN on 6 x 6 images that trains in milliseconds, and its plain softplus loss.

Run as a program, ``python toy.py FOLDER``, it trains there until it is stopped, saving and printing
the step every round.
"""

import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganfast.train import Trainer, TrainOptions


class NonSaturating:
    def discriminator(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        return F.softplus(-real_logits).mean() + F.softplus(fake_logits).mean()

    def generator(self, fake_logits: Tensor) -> Tensor:
        return F.softplus(-fake_logits).mean()


class Stream:
    """Endless random batches with a state."""

    def __init__(self) -> None:
        self.generator = torch.Generator().manual_seed(5)

    def __iter__(self):
        return self

    def __next__(self) -> tuple[Tensor, None]:
        return torch.rand(8, 1, 6, 6, generator=self.generator) * 2 - 1, None

    def state_dict(self) -> dict[str, Tensor]:
        return {"generator": self.generator.get_state()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.generator.set_state(state["generator"])


def generator(width: int = 10) -> nn.Module:
    torch.manual_seed(1)
    # Batch norm has buffers; dropout draws from torch's global generator.
    return nn.Sequential(
        nn.Linear(4, width, bias=False),
        nn.BatchNorm1d(width),
        nn.ReLU(),
        nn.Dropout(0.2),
        nn.Linear(width, 36),
        nn.Tanh(),
        nn.Unflatten(1, (1, 6, 6)),
    )


def discriminator() -> nn.Module:
    torch.manual_seed(2)
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(36, 10, bias=False),
        nn.BatchNorm1d(10),
        nn.LeakyReLU(),
        nn.Linear(10, 1),
    )


def options(**changes) -> TrainOptions:
    settings = {
        "steps": 12,
        "latent_dim": 4,
        "lr_g": 1e-2,
        "lr_d": 1e-2,
        "ema": 0.9,
        "d_steps": 2,
        "log_every": 5,
        "checkpoint_every": 3,
        "seed": 3,
    }
    return TrainOptions(**{**settings, **changes})


def trainer(out: Path, *, g=None, d=None, data=None, loss=None, hooks=None, **changes) -> Trainer:
    g, d = g or generator(), d or discriminator()
    torch.manual_seed(4)
    return Trainer(
        g,
        d,
        Stream() if data is None else data,
        loss or NonSaturating(),
        options(**changes),
        out,
        **(hooks or {}),
    )


EVERY_ROUND = {"checkpoint_every": 1, "sample_every": 1}

if __name__ == "__main__":
    torch.set_num_threads(1)
    say = {"on_sample": lambda step, images: print(step, flush=True)}
    trainer(Path(sys.argv[1]), hooks=say, steps=100_000, **EVERY_ROUND).run()
