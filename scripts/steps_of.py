"""Time the training step of a project's checkout: its own losses against ganfast's.

    python scripts/steps_of.py ~/hifi-gan

Knows HiFi-GAN, and vocoders that kept its ``models.py``. Networks and losses are the checkout's;
the mel spectrogram of its own step is the project's formula, since its code needs librosa. The ways
of the step are those of bench/steps/trainer.py.
"""

import importlib
import json
import statistics
import sys
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Annotated

import torch
import typer
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parent.parent))

from bench.steps import vocoders
from bench.steps.trainer import WAYS, Outputs, Step

Judged = tuple[list[Tensor], list[Tensor], list[list[Tensor]], list[list[Tensor]]]


class OfCheckout(vocoders.HiFiGAN):
    """HiFi-GAN's step with a checkout's networks and losses."""

    def __init__(self, swapped: bool, models: ModuleType, settings: dict[str, object]) -> None:
        super().__init__(swapped, lambda: [nn.Identity()])
        self.models = models
        self.generator = models.Generator(SimpleNamespace(**settings))
        self.discriminator = nn.ModuleList(
            [models.MultiPeriodDiscriminator(), models.MultiScaleDiscriminator()]
        )

    def criticize(self, fakes: Outputs) -> Outputs:
        return [discriminator(self.audio, fakes) for discriminator in self.discriminator]

    def judge(self, fakes: Outputs) -> Outputs:
        return fakes, self.criticize(fakes)

    def own_discriminator(self, outputs: Outputs) -> Tensor:
        (of_periods, *_), (of_scales, *_) = (
            self.models.discriminator_loss(real, fake) for real, fake, *_ in outputs
        )
        loss: Tensor = of_periods + of_scales
        return loss

    def own_generator(self, outputs: Outputs) -> Tensor:
        fake, judged = outputs
        mel = vocoders.own_mel(fake, self.filters)
        loss: Tensor = torch.nn.functional.l1_loss(self.real_mel, mel) * 45
        for _, logits, of_real, of_fake in judged:
            loss = loss + self.models.feature_loss(of_real, of_fake)
            loss = loss + self.models.generator_loss(logits)[0]
        return loss

    def discriminator_loss(self, outputs: Outputs) -> Tensor:
        return super().discriminator_loss(_by_side(outputs)[:2])

    def generator_loss(self, outputs: Outputs) -> Tensor:
        fake, judged = outputs
        return super().generator_loss((fake, *_by_side(judged)[2:]))


def _by_side(judged: list[Judged]) -> list[list[list[Tensor]]]:
    """The logits of real and of fake samples, a list each, and their features."""
    logits = [[[x] for of in judged for x in of[side]] for side in (0, 1)]
    return [*logits, *([maps for of in judged for maps in of[side]] for side in (2, 3))]


def main(
    checkout: Annotated[Path, typer.Argument(help="Folder of HiFi-GAN's code.")],
    config: Annotated[
        str, typer.Option(help="A configuration in the checkout.")
    ] = "config_v3.json",
    rounds: Annotated[int, typer.Option(min=1)] = 10,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
) -> None:
    """Print the median time of each way of the step, and own / way."""
    if not (checkout / "models.py").exists() or not (checkout / config).exists():
        raise typer.BadParameter(f"CHECKOUT must hold models.py and {config}, got {checkout}")
    sys.path.insert(0, str(checkout))
    models = importlib.import_module("models")
    settings = json.loads((checkout / config).read_text())
    steps = {
        way: Step(
            lambda s: OfCheckout(s, models, settings), way, torch.float32, torch.device(device)
        )
        for way in WAYS
    }
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    for step in steps.values():
        step()
    for k in range(rounds):
        for way in WAYS[k % len(WAYS) :] + WAYS[: k % len(WAYS)]:
            start = time.perf_counter()
            steps[way]()
            if device != "cpu":
                torch.cuda.synchronize()
            seconds[way].append(time.perf_counter() - start)
    for way in WAYS:
        median = statistics.median(seconds[way])
        low, high = min(seconds[way]), max(seconds[way])
        ratio = statistics.median(seconds["own"]) / median
        print(f"{way:8} {median:.3f} s ({low:.3f} to {high:.3f}), own / {way} {ratio:.2f}")


if __name__ == "__main__":
    typer.run(main)
