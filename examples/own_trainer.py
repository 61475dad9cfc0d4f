"""Train your own networks with ganfast's trainer.

    python own_trainer.py --steps 500 --out runs/own
    python own_trainer.py --steps 1000 --out runs/own --resume

The trainer brings the loop, penalties, a moving average of the generator, checkpoints, a log and
exact resume. Any two modules will do: latents (N, latent_dim) to images, and images to logits.
"""

import argparse

import torch
from torch import Tensor, nn

from ganfast import data
from ganfast.losses import AdversarialLoss
from ganfast.reporting import images
from ganfast.train import Trainer, TrainOptions


class Generator(nn.Module):
    """Latents (N, 64) to images (N, 1, 28, 28) in [-1, 1]."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(64, 32 * 7 * 7), nn.ReLU(), nn.Unflatten(1, (32, 7, 7)),
            nn.Upsample(scale_factor=2), nn.Conv2d(32, 16, 3, padding=1), nn.ReLU(),
            nn.Upsample(scale_factor=2), nn.Conv2d(16, 1, 3, padding=1), nn.Tanh(),
        )  # fmt: skip

    def forward(self, latents: Tensor) -> Tensor:
        return self.layers(latents)


class Discriminator(nn.Module):
    """Images (N, 1, 28, 28) to logits (N, 1)."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 16, 4, 2, 1), nn.LeakyReLU(0.2),
            nn.Conv2d(16, 32, 4, 2, 1), nn.LeakyReLU(0.2),
            nn.Flatten(), nn.Linear(32 * 7 * 7, 1),
        )  # fmt: skip

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images)


def main() -> None:
    parser = argparse.ArgumentParser(description="Train your own networks.")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--out", default="runs/own", help="folder of the run")
    parser.add_argument("--resume", action="store_true", help="continue the run in --out")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args()

    torch.manual_seed(0)
    options = TrainOptions(
        steps=args.steps,
        latent_dim=64,
        lr_g=1e-3,
        lr_d=1e-3,
        penalty="r1",
        penalty_weight=0.1,
        penalty_every=16,  # the lazy schedule of StyleGAN2
        log_every=25,
    )
    trainer = Trainer(
        Generator().to(args.device),
        Discriminator().to(args.device),
        data.BatchStream(data.digits(), args.batch_size, seed=0),
        AdversarialLoss("non_saturating"),
        options,
        args.out,
    )
    if args.resume:
        trainer.resume()
    if not trainer.run():
        print(f"stopped at step {trainer.step}; --resume continues")
        return

    with torch.no_grad():
        samples = trainer.ema(torch.randn(64, 64, device=args.device))  # the moving average
    images.write_png(images.grid(samples, scale=2), f"{args.out}/samples.png")
    print(f"{args.out}: checkpoint.pt, metrics.jsonl, samples.png")


if __name__ == "__main__":
    main()
