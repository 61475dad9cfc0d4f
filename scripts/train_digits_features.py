"""Train the ``digits`` feature net on MNIST and write its weights into the package.

    python scripts/train_digits_features.py MNIST_FOLDER [OUT_FILE]

The loss is the cross-entropy of the digits plus the squared error of a linear picture of the
image in the features. The second term keeps what differs within a class (slant, stroke, style) in
the features, which a classifier alone would let collapse; its decoder is not kept. Prints the
sha256 to put in ganfast/features/digit_network.py. Refuses to write below 99 % test accuracy.
"""

import argparse
import hashlib
import math
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save
from torch import Tensor, nn
from tqdm import tqdm

from ganfast._files import atomic_write
from ganfast.data import BatchStream, ImageData, idx_folder, to_float
from ganfast.features import DigitsFeatures
from ganfast.features.digit_network import WEIGHTS

SEED, EPOCHS, BATCH, LEARNING_RATE = 0, 8, 128, 2e-3
PICTURE_WEIGHT = 2.0
REQUIRED_ACCURACY = 0.99


def jitter(images: Tensor, generator: torch.Generator) -> Tensor:
    """Rotate by up to 10 degrees, scale and shear by up to 10 %, shift by up to 2 pixels."""

    def draw(limit: float) -> Tensor:
        return (torch.rand(len(images), generator=generator) * 2 - 1) * limit

    angle, scale = draw(math.radians(10)), 1 + draw(0.1)
    cos, sin = angle.cos() * scale, angle.sin() * scale
    rows = [cos, draw(0.1) - sin, draw(2 / 14), sin, cos, draw(2 / 14)]
    grid = F.affine_grid(torch.stack(rows, dim=1).view(-1, 2, 3), list(images.shape), False)
    # Sampling pads with 0, the background is -1.
    return F.grid_sample(images + 1, grid, align_corners=False) - 1


def train(data: ImageData) -> DigitsFeatures:
    torch.manual_seed(SEED)
    generator = torch.Generator().manual_seed(SEED)
    net, decoder = DigitsFeatures(), nn.Linear(DigitsFeatures.dim, 14 * 14)
    parameters = [*net.parameters(), *decoder.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=LEARNING_RATE, weight_decay=0.01)
    steps = EPOCHS * (len(data) // BATCH)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    stream = BatchStream(data, BATCH, SEED)
    for _ in tqdm(range(steps), desc="digits", mininterval=10):
        images, labels = next(stream)
        assert labels is not None
        images = jitter(images, generator)
        features = net(images)
        picture = F.mse_loss(decoder(features), F.avg_pool2d(images, 2).flatten(1))
        loss = F.cross_entropy(net.head(features), labels) + PICTURE_WEIGHT * picture
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return net.eval()


def accuracy(net: DigitsFeatures, data: ImageData) -> float:
    assert data.labels is not None
    with torch.inference_mode():
        logits = torch.cat([net.classify(to_float(part)) for part in data.images.split(1000)])
    return (logits.argmax(dim=1) == data.labels).double().mean().item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("mnist", type=Path, help="folder with the MNIST idx files")
    parser.add_argument("out", type=Path, nargs="?", default=WEIGHTS, help="file to write")
    arguments = parser.parse_args()

    data = idx_folder(arguments.mnist, "train")
    net = train(data)
    score = accuracy(net, idx_folder(arguments.mnist, "test"))
    print(f"accuracy on the MNIST test set: {score:.4f}")
    if score < REQUIRED_ACCURACY:
        raise SystemExit(f"expected at least {REQUIRED_ACCURACY}; nothing written")

    raw = save(
        {name: tensor.contiguous() for name, tensor in net.state_dict().items()},
        metadata={
            "test_accuracy": f"{score:.4f}",
            "seed": str(SEED),
            "epochs": str(EPOCHS),
            "training_images_sha256": hashlib.sha256(data.images.numpy().tobytes()).hexdigest(),
        },
    )
    with atomic_write(arguments.out) as file:
        file.write(raw)
    print(f"{len(raw)} bytes written to {arguments.out}")
    print(f'SHA256 = "{hashlib.sha256(raw).hexdigest()}"')


if __name__ == "__main__":
    main()
