"""Train on your own image files, read from disk batch by batch.

    python own_data.py --images photos --size 64 --steps 5000 --out runs/photos
    python own_data.py                     # without --images: on pictures drawn for the purpose

The trainer takes any iterable of batches, so a DataLoader serves collections of any size. For a
folder that fits into memory, `ganfast train photos` does the same without a script.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageOps
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ganfast import DiffAugment, data
from ganfast.losses import AdversarialLoss
from ganfast.models import dcgan
from ganfast.train import Trainer, TrainOptions

ENDINGS = {".jpg", ".jpeg", ".png", ".webp"}


class Photos(Dataset[Tensor]):
    """RGB images of one size, float32 (3, size, size) in [-1, 1]."""

    def __init__(self, folder: Path, size: int) -> None:
        self.files = sorted(f for f in folder.rglob("*") if f.suffix.lower() in ENDINGS)
        self.size = size
        if not self.files:
            raise FileNotFoundError(f"{folder} holds no images ({', '.join(sorted(ENDINGS))})")

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Tensor:
        with Image.open(self.files[index]) as image:
            square = ImageOps.fit(image.convert("RGB"), (self.size, self.size))
        return data.to_float(torch.from_numpy(np.array(square)).permute(2, 0, 1))


def draw_photos(folder: Path, count: int = 64) -> None:
    """Discs of drawn colours, sizes and places."""
    random = np.random.default_rng(0)
    for index in range(count):
        image = Image.new("RGB", (48, 40), tuple(random.integers(0, 80, 3)))
        x, y, radius = random.integers(8, 40), random.integers(8, 32), random.integers(5, 12)
        box = (x - radius, y - radius, x + radius, y + radius)
        ImageDraw.Draw(image).ellipse(box, fill=tuple(random.integers(120, 256, 3)))
        image.save(folder / f"{index:03d}.png")


def main() -> None:
    parser = argparse.ArgumentParser(description="Train a DCGAN on a folder of images.")
    parser.add_argument("--images", type=Path, help="folder of images")
    parser.add_argument("--size", type=int, default=32, choices=(28, 32, 64))
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--workers", type=int, default=0, help="processes that read images")
    parser.add_argument("--out", default="runs/own-data", help="folder of the run")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args()

    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as drawn:
        if args.images is None:
            draw_photos(Path(drawn))
        loader = DataLoader(
            Photos(args.images or Path(drawn), args.size),
            args.batch_size,
            shuffle=True,
            drop_last=True,
            num_workers=args.workers,
        )
        trainer = Trainer(
            dcgan.Generator(latent_dim=64, width=32, channels=3, size=args.size).to(args.device),
            dcgan.Discriminator(width=32, channels=3, size=args.size).to(args.device),
            loader,
            AdversarialLoss("non_saturating"),
            TrainOptions(steps=args.steps, latent_dim=64, log_every=10),
            args.out,
            # With few images the discriminator must not learn them by heart.
            augment=lambda images: DiffAugment(images, "color,translation,cutout"),
        )
        trainer.run()

    with torch.no_grad():
        samples = trainer.ema(torch.randn(16, 64, device=args.device))
    for index, image in enumerate(data.to_uint8(samples).cpu()):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(f"{args.out}/{index:02d}.png")
    print(f"{args.out}: checkpoint.pt, metrics.jsonl and {len(samples)} images")


if __name__ == "__main__":
    main()
