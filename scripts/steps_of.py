"""Time the training step of a project's checkout: its own losses against ganfast's.

    python scripts/steps_of.py ~/hifi-gan

Knows HiFi-GAN, vocoders that kept its ``models.py``, BigVGAN, pix2pix and CycleGAN,
taming-transformers and R3GAN. Networks, losses and steps are the checkout's. The ways of a step are
those of bench/steps/trainer.py, the last two only where losses get what the networks return.
"""

import statistics
import sys
import time
from pathlib import Path
from typing import Annotated

import torch
import typer

sys.path.insert(0, str(Path(__file__).parent.parent))

from bench.steps.projects import PROJECTS, Project


def main(
    checkout: Annotated[Path, typer.Argument(help="Folder of a project's code.")],
    rounds: Annotated[int, typer.Option(min=1)] = 10,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
) -> None:
    """Print the median time of each way of the step, and own / way."""
    found = [project for project in PROJECTS if (checkout / project.file).exists()]
    if not found:
        files = ", ".join(project.file for project in PROJECTS)
        raise typer.BadParameter(f"CHECKOUT must hold one of {files}, got {checkout}")
    sys.path.insert(0, str(checkout))
    for project in found:
        print(project.name)
        seconds = times(project, checkout, rounds, torch.device(device))
        own = statistics.median(seconds["own"])
        for way, samples in seconds.items():
            median, low, high = statistics.median(samples), min(samples), max(samples)
            spread = f"({low:.3f} to {high:.3f})"
            print(f"  {way:8} {median:.3f} s {spread}, own / {way} {own / median:.2f}")


def times(
    project: Project, checkout: Path, rounds: int, device: torch.device
) -> dict[str, list[float]]:
    """Seconds of a step in each way; the ways take turns, each round in another order."""
    steps = {}
    for way in project.ways:
        torch.manual_seed(0)
        steps[way] = project.make(checkout, way, device)
        steps[way]()
    seconds: dict[str, list[float]] = {way: [] for way in project.ways}
    for k in range(rounds):
        turn = k % len(project.ways)
        for way in project.ways[turn:] + project.ways[:turn]:
            start = time.perf_counter()
            steps[way]()
            if device.type != "cpu":
                torch.cuda.synchronize()
            seconds[way].append(time.perf_counter() - start)
    return seconds


if __name__ == "__main__":
    typer.run(main)
