"""Use an installed ganfast: its files, a loss with its gradient, and `ganfast fid` on two folders.

    python package_use.py    in an empty folder

The last line printed is JSON, for package_check.py.
"""

import json
import subprocess
import sys
from importlib.metadata import files
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import ganfast
from ganfast.losses import AdversarialLoss

GANFAST = Path(sys.executable).with_name("ganfast")
NEEDED = {
    "ganfast/py.typed",
    "ganfast/_build.json",
    "ganfast/data/digits/LICENSE",
    "ganfast/features/weights/digits.safetensors",
}


def check_files() -> None:
    """The distribution is the package and its data, and kernels where it says so."""
    kind = ganfast.build_info()["kind"]
    names = {str(path) for path in files("ganfast") or ()}
    tops = {name.partition("/")[0] for name in names if not name.startswith("..")}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"ganfast"}, tops
    assert names >= NEEDED, NEEDED - names
    kernels = [name for name in names if name.startswith("ganfast/_C.") and name.endswith(".so")]
    assert len(kernels) == (kind != "none"), kernels


def loss_and_gradient() -> float:
    """Hinge loss of a discriminator, checked against torch's formula."""
    torch.manual_seed(0)
    real, fake = (torch.randn(64, 1, requires_grad=True) for _ in range(2))
    loss = AdversarialLoss("hinge").discriminator(real, fake)
    want = torch.relu(1 - real).mean() + torch.relu(1 + fake).mean()
    torch.testing.assert_close(loss, want)
    gradients = torch.autograd.grad(loss, (real, fake))
    torch.testing.assert_close(gradients, torch.autograd.grad(want, (real, fake)))
    return float(loss)


def distance() -> float:
    """Fréchet distance of two folders, from the command."""
    draw = np.random.default_rng(0)
    for name, lowest in (("real", 0), ("fake", 40)):
        Path(name).mkdir()
        for i in range(80):
            image = draw.integers(lowest, 256, (28, 28), dtype=np.uint8)
            Image.fromarray(image).save(f"{name}/{i:02}.png")
    command = [GANFAST, "fid", "real", "fake", "--features", "digits", "--json"]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(json.loads(run.stdout)["metrics"]["fid"])


def main() -> None:
    subprocess.run([GANFAST, "info"], check=True)
    check_files()
    print(json.dumps({"loss": loss_and_gradient(), "distance": distance()}))


if __name__ == "__main__":
    main()
