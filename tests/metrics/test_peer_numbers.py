"""The same features give the numbers that other projects' packages give.

peer_numbers.json is what the packages gave (scripts/peer_numbers.py). Where a package computes in
float64 the numbers agree to 1e-6 relative or better, else to the package's own float32 rounding.
"""

import json
from pathlib import Path

import pytest
import torch

from ganfast.features.inception import Inception
from ganfast.features.resize import resize
from ganfast.metrics import (
    frechet_distance_from_features,
    inception_score,
    kid,
    mifid,
    prdc,
)
from tests.features import public_inception
from tests.metrics.peer_inputs import features, images, logits

NUMBERS = json.loads(Path(__file__).with_name("peer_numbers.json").read_text())
SEED = 7  # of the script
DTYPES = ("float64", "float32")
# A float32 kernel is summed to about 1e-5 of a small difference of large numbers.
OF_FLOAT32 = 2e-5


@pytest.mark.parametrize("peer", ["pytorch-fid", "torch-fidelity", "torchmetrics"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_fid(dtype, peer):
    found = float(frechet_distance_from_features(*features(dtype)))
    rel = 1e-10 if dtype == "float64" else 1e-6  # means in float32, or the result
    assert found == pytest.approx(NUMBERS[dtype]["fid"][peer], rel=rel)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("peer", ["torch-fidelity", "torchmetrics", "clean-fid"])
def test_kid(dtype, peer):
    real, fake = features(dtype)
    settings = {"subsets": 20, "subset_size": 150, "seed": SEED}
    expected = NUMBERS[dtype]["kid"][peer]
    if peer == "torch-fidelity":
        found = kid(fake, real, **settings)
    elif peer == "torchmetrics":
        found = kid(real, fake, draws="torch", **settings)
    else:
        # Generated second; its subsets are as large as the smaller set, up to 1,000.
        found = kid(fake, real, **settings | {"subset_size": 600})
        found, expected = (found.mean,), (expected,)
    rel = 1e-9 if dtype == "float64" else OF_FLOAT32
    assert tuple(found) == pytest.approx(tuple(expected), rel=rel)


@pytest.mark.parametrize("dtype", DTYPES)
def test_inception_score(dtype):
    fidelity = inception_score(logits(dtype), seed=SEED)
    assert tuple(fidelity) == pytest.approx(NUMBERS[dtype]["is"]["torch-fidelity"], rel=1e-10)
    torchmetrics = inception_score(logits(dtype), seed=SEED, draws="torch", chunks="ceil", ddof=1)
    rel = 1e-10 if dtype == "float64" else 1e-6
    assert tuple(torchmetrics) == pytest.approx(NUMBERS[dtype]["is"]["torchmetrics"], rel=rel)


@pytest.mark.parametrize("dtype", DTYPES)
def test_prdc(dtype):
    numbers = NUMBERS[dtype]["prdc"]
    assert prdc(*features(dtype))._asdict() == pytest.approx(numbers["prdc"], rel=1e-14)
    inclusive = prdc(*features(dtype), k=3, inclusive=True)
    found = {
        "precision": inclusive.precision,
        "recall": inclusive.recall,
        "f_score": inclusive.f_score,
    }
    # Its means are float32.
    assert found == pytest.approx(numbers["torch-fidelity"], rel=1e-7)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("threshold", [0.1, 1.0])
def test_mifid(dtype, threshold):
    expected = NUMBERS[dtype]["mifid"][str(threshold)]
    rel = 1e-9 if dtype == "float64" else 1e-6
    assert mifid(*features(dtype), threshold=threshold) == pytest.approx(expected, rel=rel)


@pytest.mark.parametrize("peer", ["pytorch-fid", "torch-fidelity"])
def test_inception_features(peer):
    net = Inception()
    net.load_public(public_inception.random_state())
    batch = torch.from_numpy(images())
    mode, half = ("torch", 127.5) if peer == "pytorch-fid" else ("tf1", 128.0)
    found = net((resize(batch, 299, mode) - half) / half, ("64", "192", "768", "2048", "logits"))
    for layer, rows in NUMBERS["inception"][peer].items():
        expected = torch.tensor(rows, dtype=torch.float64)
        ours = found["logits" if layer == "logits_unbiased" else layer][:, ::32].double()
        assert (ours - expected).abs().max() < 1e-5 * expected.abs().max(), layer


def test_clean_resize():
    ours = resize(torch.from_numpy(images())[:1], 299, "clean")[0].permute(1, 2, 0)
    assert ours.flatten()[::1009].tolist() == pytest.approx(NUMBERS["clean"], abs=1e-4)
