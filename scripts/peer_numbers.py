"""Write what other projects' packages give for known features, images and weights.

    python -m venv PEERS
    PEERS/bin/pip install torch torchvision pytorch-fid torch-fidelity torchmetrics prdc \
        scikit-learn "scipy<1.18" requests
    PEERS/bin/pip install --no-deps clean-fid
    PEERS/bin/python scripts/peer_numbers.py

The features are drawn by numpy.random.RandomState, whose stream does not change, so that
tests/metrics/test_peer_numbers.py draws them again and the numbers in peer_numbers.json are enough.
"""

import json
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

TESTS = Path(__file__).parents[1] / "tests"
# By their folders: one of the packages installs a package named tests of its own.
sys.path[:0] = [str(TESTS / "features"), str(TESTS / "metrics")]

import public_inception  # noqa: E402
from peer_inputs import features, images, logits  # noqa: E402

OUT = TESTS / "metrics" / "peer_numbers.json"
SEED = 7
KID = {"kid_subsets": 20, "kid_subset_size": 150}


def frechet(real: np.ndarray, fake: np.ndarray) -> dict[str, float]:
    from pytorch_fid.fid_score import calculate_frechet_distance
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
    from torchmetrics.image.fid import FrechetInceptionDistance

    statistics = [part for x in (real, fake) for part in (x.mean(0), np.cov(x, rowvar=False))]
    fidelity = [fid_features_to_statistics(torch.from_numpy(x)) for x in (fake, real)]
    metric = FrechetInceptionDistance(identity(real.shape[1])).set_dtype(torch.float64)
    metric.update(torch.from_numpy(real), real=True)
    metric.update(torch.from_numpy(fake), real=False)
    return {
        "pytorch-fid": float(calculate_frechet_distance(*statistics)),
        "torch-fidelity": fid_statistics_to_metric(*fidelity, verbose=False)[
            "frechet_inception_distance"
        ],
        "torchmetrics": float(metric.compute()),
    }


def kid(real: np.ndarray, fake: np.ndarray) -> dict[str, Any]:
    from cleanfid.fid import kernel_distance
    from torch_fidelity.metric_kid import kid_features_to_metric
    from torchmetrics.image.kid import KernelInceptionDistance

    settings = {"kid_degree": 3, "kid_gamma": None, "kid_coef0": 1, "rng_seed": SEED}
    fidelity = kid_features_to_metric(
        torch.from_numpy(fake), torch.from_numpy(real), **KID, **settings, verbose=False
    )
    metric = KernelInceptionDistance(
        identity(real.shape[1]), subsets=KID["kid_subsets"], subset_size=KID["kid_subset_size"]
    )
    metric.update(torch.from_numpy(real), real=True)
    metric.update(torch.from_numpy(fake), real=False)
    torch.manual_seed(SEED)
    mean, std = metric.compute()
    np.random.seed(SEED)  # noqa: NPY002  what clean-fid draws from
    return {
        "torch-fidelity": list(fidelity.values()),
        "torchmetrics": [float(mean), float(std)],
        "clean-fid": float(kernel_distance(real, fake, num_subsets=20)),
    }


def inception_score(x: np.ndarray) -> dict[str, list[float]]:
    from torch_fidelity.metric_isc import isc_features_to_metric
    from torchmetrics.image.inception import InceptionScore

    fidelity = isc_features_to_metric(torch.from_numpy(x), splits=10, shuffle=True, rng_seed=SEED)
    metric = InceptionScore(identity(x.shape[1]))
    metric.update(torch.from_numpy(x))
    torch.manual_seed(SEED)
    mean, std = metric.compute()
    return {"torch-fidelity": list(fidelity.values()), "torchmetrics": [float(mean), float(std)]}


def prdc(real: np.ndarray, fake: np.ndarray) -> dict[str, dict[str, float]]:
    from prdc import compute_prdc
    from torch_fidelity.metric_prc import prc_features_to_metric

    own = compute_prdc(real_features=real, fake_features=fake, nearest_k=5)
    fidelity = prc_features_to_metric(
        torch.from_numpy(fake), torch.from_numpy(real), prc_neighborhood=3, prc_batch_size=10000,
        save_cpu_ram=False, verbose=False,
    )  # fmt: skip
    return {"prdc": {k: float(v) for k, v in own.items()}, "torch-fidelity": fidelity}


def mifid(real: np.ndarray, fake: np.ndarray) -> dict[str, float]:
    from torchmetrics.image.mifid import MemorizationInformedFrechetInceptionDistance

    found = {}
    for threshold in (0.1, 1.0):
        metric = MemorizationInformedFrechetInceptionDistance(
            identity(real.shape[1]), cosine_distance_eps=threshold
        )
        metric.update(torch.from_numpy(real), real=True)
        metric.update(torch.from_numpy(fake), real=False)
        found[str(threshold)] = float(metric.compute())
    return found


def inception(x: np.ndarray) -> dict[str, Any]:
    """Every 32nd feature of each image, with the random weights of public_inception."""
    from pytorch_fid import inception as pytorch_fid
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    state = public_inception.random_state()
    pytorch_fid.load_state_dict_from_url = lambda *_, **__: state
    batch = torch.from_numpy(x)
    net = pytorch_fid.InceptionV3([0, 1, 2, 3]).eval()
    maps = [torch.nn.functional.adaptive_avg_pool2d(m, 1).flatten(1) for m in net(batch / 255)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.pth"
        torch.save(state, path)
        layers = ["64", "192", "768", "2048", "logits_unbiased"]
        fidelity = FeatureExtractorInceptionV3("inception", layers, str(path))(batch)
    return {
        "pytorch-fid": {str(m.shape[1]): m[:, ::32].tolist() for m in maps},
        "torch-fidelity": {
            layer: m[:, ::32].tolist() for layer, m in zip(layers, fidelity, strict=True)
        },
    }


def clean_resize(x: np.ndarray) -> list[float]:
    """Every 1009th value of the first image as clean-fid resizes it."""
    from cleanfid.resize import build_resizer

    return [float(v) for v in build_resizer("clean")(x[0].transpose(1, 2, 0)).ravel()[::1009]]


def identity(dim: int) -> torch.nn.Module:
    net = torch.nn.Identity()
    net.num_features = dim
    return net


def main() -> None:
    packages = ("pytorch-fid", "torch-fidelity", "torchmetrics", "clean-fid", "prdc", "torch")
    numbers: dict[str, Any] = {"versions": {name: version(name) for name in packages}}
    for dtype in ("float64", "float32"):
        real, fake = features(dtype)
        numbers[dtype] = {
            "fid": frechet(real, fake),
            "kid": kid(real, fake),
            "is": inception_score(logits(dtype)),
            "prdc": prdc(real, fake),
            "mifid": mifid(real, fake),
        }
    with torch.no_grad():
        numbers["inception"] = inception(images())
    numbers["clean"] = clean_resize(images())
    OUT.write_text(json.dumps(numbers, indent=1) + "\n")


if __name__ == "__main__":
    main()
