"""Swap a fused loss into a plain PyTorch training loop.

    python drop_in_loss.py --loss hinge --steps 200

The loop is the usual one. What ganfast changes is marked with (1), (2) and (3). Lists of outputs,
as multi-scale discriminators return them, go into the same calls.
"""

import argparse

import torch
from torch import nn

from ganfast import data
from ganfast.losses import AdversarialLoss

LATENTS = 64


def main() -> None:
    parser = argparse.ArgumentParser(description="Train a small GAN on digits with a fused loss.")
    parser.add_argument("--loss", default="non_saturating", help="hinge, least_squares, ...")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args()

    torch.manual_seed(0)
    images = data.to_float(data.digits().images).to(args.device)  # float32 in [-1, 1]
    generator = nn.Sequential(
        nn.Linear(LATENTS, 256), nn.ReLU(), nn.Linear(256, 784), nn.Tanh(),
        nn.Unflatten(1, (1, 28, 28)),
    ).to(args.device)  # fmt: skip
    discriminator = nn.Sequential(
        nn.Flatten(), nn.Linear(784, 256), nn.LeakyReLU(0.2), nn.Linear(256, 1)
    ).to(args.device)
    adam_g = torch.optim.Adam(generator.parameters(), 1e-3, betas=(0.5, 0.999))
    adam_d = torch.optim.Adam(discriminator.parameters(), 1e-3, betas=(0.5, 0.999))

    loss = AdversarialLoss(args.loss)  # (1)
    for step in range(1, args.steps + 1):
        chosen = torch.randint(len(images), (args.batch_size,), device=args.device)
        real = images[chosen]
        fake = generator(torch.randn(args.batch_size, LATENTS, device=args.device))

        loss_d = loss.discriminator(discriminator(real), discriminator(fake.detach()))  # (2)
        adam_d.zero_grad()
        loss_d.backward()
        adam_d.step()

        loss_g = loss.generator(discriminator(fake))  # (3)
        adam_g.zero_grad()
        loss_g.backward()
        adam_g.step()

        if step % 50 == 0 or step == args.steps:  # the only place that waits for the device
            print(f"step {step}: loss_d {loss_d.item():.3f}, loss_g {loss_g.item():.3f}")


if __name__ == "__main__":
    main()
