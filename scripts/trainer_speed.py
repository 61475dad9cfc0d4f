"""The trainer's round against the loop of the DCGAN tutorial, in turn, on DCGAN-64 and batch 64.

    python scripts/trainer_speed.py --repeats 5

The tutorial's loop makes fakes with a graph, feeds them detached to a discriminator that ends in a
sigmoid, takes BCELoss against label tensors made anew, and goes back through the discriminator's
weights in the generator's step. Both begin with the same weights.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from ganfast.losses import AdversarialLoss
from ganfast.models import dcgan
from ganfast.train import Trainer, TrainOptions

BATCH, LATENT, SIZE = 64, 100, 64


def networks(sigmoid: bool, device: str) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    generator = dcgan.Generator(LATENT, 64, 3, SIZE)
    discriminator = dcgan.Discriminator(64, 3, SIZE, sigmoid=sigmoid)
    return generator.to(device), discriminator.to(device)


def tutorial(real: Tensor) -> Callable[[], None]:
    device = real.device
    generator, discriminator = networks(True, str(device))
    criterion = nn.BCELoss()
    optimizer_g, optimizer_d = (
        torch.optim.Adam(net.parameters(), 2e-4, (0.5, 0.999)) for net in (generator, discriminator)
    )

    def step() -> None:
        discriminator.zero_grad()
        labels = torch.full((BATCH,), 1.0, device=device)
        torch.autograd.backward(criterion(discriminator(real).view(-1), labels))
        fake = generator(torch.randn(BATCH, LATENT, device=device))
        labels.fill_(0.0)
        torch.autograd.backward(criterion(discriminator(fake.detach()).view(-1), labels))
        optimizer_d.step()
        generator.zero_grad()
        labels.fill_(1.0)
        torch.autograd.backward(criterion(discriminator(fake).view(-1), labels))
        optimizer_g.step()

    return step


def trainer(real: Tensor, folder: str, **changes: object) -> Callable[[], None]:
    generator, discriminator = networks(False, str(real.device))
    options = TrainOptions(steps=10**6, latent_dim=LATENT, **changes)  # type: ignore[arg-type]
    loss = AdversarialLoss("bce")
    return Trainer(generator, discriminator, [real], loss, options, folder)._round


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    real = torch.rand(BATCH, 3, SIZE, SIZE, device=chosen.device) * 2 - 1
    best = {"channels_last": True, "reuse_fakes": True}
    with tempfile.TemporaryDirectory() as folder:
        loops = {
            "tutorial": tutorial(real),
            "fp32": trainer(real, folder),
            "fp32, best": trainer(real, folder, **best),
            "bf16": trainer(real, folder, precision="bf16"),
            "bf16, best": trainer(real, folder, precision="bf16", **best),
        }
        seconds: dict[str, list[float]] = {name: [] for name in loops}
        for repeat in range(chosen.repeats + 1):
            for name, step in loops.items():
                start = time.perf_counter()
                step()
                if real.is_cuda:
                    torch.cuda.synchronize()
                if repeat:  # the first warms up
                    seconds[name].append(time.perf_counter() - start)
    base = statistics.median(seconds["tutorial"])
    for name, times in seconds.items():
        median = statistics.median(times)
        print(f"{name:<22} {median:8.3f} s  {base / median:5.2f} x")


if __name__ == "__main__":
    main()
