"""Compute the FID of two folders of images from Python.

    python fid_of_two_folders.py REAL FAKE        # needs the Inception weights: ganfast weights
    python fid_of_two_folders.py                  # on digits, with the feature net of the package

`ganfast fid REAL FAKE` is the same on the command line.
"""

import argparse
import tempfile
from pathlib import Path

import torch
from PIL import Image

import ganfast
from ganfast import data


def write_digits(folder: Path, count: int = 300) -> tuple[Path, Path]:
    """Two folders of handwritten digits; in the second one they are darker."""
    images = data.digits().images[: 2 * count, 0]
    real, fake = folder / "real", folder / "fake"
    for path, pixels in ((real, images[:count]), (fake, images[count:] // 2)):
        path.mkdir()
        for index, image in enumerate(pixels.numpy()):
            Image.fromarray(image).save(path / f"{index:03d}.png")
    return real, fake


def main() -> None:
    parser = argparse.ArgumentParser(description="Compute the FID of two folders of images.")
    parser.add_argument("real", nargs="?", type=Path, help="folder of real images")
    parser.add_argument("fake", nargs="?", type=Path, help="folder of generated images")
    parser.add_argument("--resize", default="clean", help="clean, tf1, torch or antialias")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args()
    if (args.real is None) != (args.fake is None):
        parser.error("give two folders, or none")

    with tempfile.TemporaryDirectory() as folder:
        if args.real is None:
            real, fake = write_digits(Path(folder))
            features = "digits"
        else:
            real, fake, features = args.real, args.fake, "inception"
        result = ganfast.evaluate(
            real, fake, "fid", features,
            resize=args.resize, batch_size=args.batch_size, device=args.device,
        )  # fmt: skip

    for row in result.rows:  # "FID", or "FD (digits)" on other features than Inception's
        print(f"{row.name}: {row.value:.4f}")


if __name__ == "__main__":
    main()
