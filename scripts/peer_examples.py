"""Write what torchmetrics' published examples print, on random weights.

Set up as scripts/peer_numbers.py says, then:

    PEERS/bin/python scripts/peer_examples.py

Each example is the code in the docstring of its class, with ``torch.manual_seed(42)`` where the
metric has been made (which draws weights that it then replaces), and a few more.
tests/metrics/test_torchmetrics.py runs them with the import changed.
"""

import json
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import torch

TESTS = Path(__file__).parents[1] / "tests"
sys.path[:0] = [str(TESTS / "features")]

import public_inception  # noqa: E402


def main() -> None:
    from torchmetrics.image.fid import FrechetInceptionDistance, NoTrainInceptionV3
    from torchmetrics.image.inception import InceptionScore
    from torchmetrics.image.kid import KernelInceptionDistance
    from torchmetrics.image.mifid import MemorizationInformedFrechetInceptionDistance
    from torchmetrics.wrappers import FeatureShare

    folder = Path(tempfile.mkdtemp())
    weights = str(folder / "weights.pth")
    torch.save(public_inception.random_state(), weights)

    def inception(layer: str) -> NoTrainInceptionV3:
        return NoTrainInceptionV3("inception-v3-compat", [layer], weights)

    def drawn(low: int, high: int, n: int = 100, size: int = 299) -> torch.Tensor:
        return torch.randint(low, high, (n, 3, size, size), dtype=torch.uint8)

    numbers: dict[str, list[float]] = {}
    for antialias in (True, False):
        fid = FrechetInceptionDistance(
            feature=64, feature_extractor_weights_path=weights, antialias=antialias
        )
        torch.manual_seed(42)
        size = 299 if antialias else 80  # at 299 pixels nothing is resized
        fid.update(drawn(0, 200, size=size), real=True)
        fid.update(drawn(100, 255, size=size), real=False)
        numbers["fid" if antialias else "fid, not antialiased"] = [float(fid.compute())]

    fid = FrechetInceptionDistance(
        feature=192, feature_extractor_weights_path=weights, normalize=True
    )
    torch.manual_seed(42)
    fid.update(torch.rand(220, 3, 40, 50), real=True)
    fid.update(torch.rand(220, 3, 40, 50) ** 1.1, real=False)
    numbers["fid, floats"] = [float(fid.compute())]

    kid = KernelInceptionDistance(inception("2048"), subset_size=50)
    torch.manual_seed(42)
    kid.update(drawn(0, 200), real=True)
    kid.update(drawn(100, 255), real=False)
    numbers["kid"] = [float(x) for x in kid.compute()]
    # torchmetrics sums the kernel in the dtype of the features: here as exactly as ganfast does.
    kid.real_features = [x.double() for x in kid.real_features]
    kid.fake_features = [x.double() for x in kid.fake_features]
    kid._computed = None
    torch.manual_seed(0)
    numbers["kid, in float64"] = [float(x) for x in kid.compute()]

    score = InceptionScore(inception("logits_unbiased"))
    torch.manual_seed(42)
    score.update(drawn(0, 255))
    numbers["is"] = [float(x) for x in score.compute()]

    mifid = MemorizationInformedFrechetInceptionDistance(inception("64"))
    torch.manual_seed(42)
    mifid.update(drawn(0, 200), real=True)
    mifid.update(drawn(100, 255), real=False)
    numbers["mifid"] = [float(mifid.compute())]

    net = inception("2048")
    shared = FeatureShare(
        [
            FrechetInceptionDistance(net),
            KernelInceptionDistance(net, subset_size=10, subsets=2),
        ]
    )
    for seed, real in ((42, True), (43, False)):
        images = torch.randint(
            255, (50, 3, 64, 64), dtype=torch.uint8, generator=torch.manual_seed(seed)
        )
        shared.update(images, real=real)
    found = shared.compute()
    numbers["shared fid"] = [float(found["FrechetInceptionDistance"])]
    numbers["shared kid"] = [float(x) for x in found["KernelInceptionDistance"]]

    versions = {name: version(name) for name in ("torchmetrics", "torch-fidelity", "torch")}
    out = TESTS / "metrics" / "torchmetrics_examples.json"
    out.write_text(json.dumps({"versions": versions, "numbers": numbers}, indent=1) + "\n")


if __name__ == "__main__":
    main()
