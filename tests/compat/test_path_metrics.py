"""The functions of three projects that score paths: their numbers, and what they refuse."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from path_images import Generator, blocks, folders

from ganfast.compat import cleanfid, pytorch_fid, torch_fidelity
from tests.features import public_inception

# What the projects give (scripts/peer_paths.py).
PEER = json.loads(Path(__file__).with_name("path_numbers.json").read_text())
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "weights.pth"
    torch.save(public_inception.random_state(), path)
    return str(path)


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    return folders(tmp_path_factory.mktemp("many"))


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    return folders(tmp_path_factory.mktemp("few"), 20)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    return folders(tmp_path_factory.mktemp("mixed"), 60, ((40, 48), (310, 400), (299, 299)))


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GANFAST_CACHE", str(tmp_path / "cache"))


def test_pytorch_fid(many, weights, tmp_path):
    out = str(tmp_path / "real.npz")
    pytorch_fid.save_fid_stats([many[0], out], 50, CPU, 64, 4, weights=weights)
    found = pytorch_fid.calculate_fid_given_paths([out, many[1]], 7, "cpu", 64, weights=weights)
    assert found == pytest.approx(PEER["pytorch-fid"]["64"], rel=1e-5)
    assert pytorch_fid.calculate_fid_given_paths([out, out], 7, "cpu", 64) == 0  # no network
    with pytest.raises(FileExistsError, match="must be a new file"):
        pytorch_fid.save_fid_stats([many[0], out], 50, "cpu", 64, weights=weights)


@pytest.mark.slow
def test_pytorch_fid_768(few, weights):
    found = pytorch_fid.calculate_fid_given_paths(few, 50, "cpu", 768, weights=weights)
    assert found == pytest.approx(PEER["pytorch-fid"]["768"], rel=1e-5)


def test_distances_of_moments():
    draw = np.random.RandomState(0)
    x, y = draw.randn(50, 6), draw.randn(40, 6) + 0.3
    moments = [part for z in (x, y) for part in (z.mean(0), np.cov(z, rowvar=False))]
    found = pytorch_fid.calculate_frechet_distance(*moments)
    assert found == pytest.approx(cleanfid.fid_from_feats(x, y), rel=1e-9)
    assert cleanfid.frechet_distance(*moments) == found
    # Of numbers: (m - n)^2 + (s - t)^2.
    one = pytorch_fid.calculate_frechet_distance(1.0, 4.0, 3.0, 9.0)
    assert one == pytest.approx(4 + 1)


def test_pytorch_fid_refuses(many, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere must be a folder of images or a \.npz"):
        pytorch_fid.calculate_fid_given_paths(["nowhere", many[0]], 50, "cpu", 2048)
    with pytest.raises(ValueError, match="paths must be two, got 1"):
        pytorch_fid.calculate_fid_given_paths(many[:1], 50, "cpu", 2048)


def test_cleanfid_resizes_and_lists(mixed, many):
    options = {"custom_feat_extractor": blocks, "device": CPU, "verbose": False}
    for mode in ("clean", "legacy_pytorch"):
        found = cleanfid.compute_fid(*mixed, mode=mode, **options)
        assert found == pytest.approx(PEER["clean-fid"][f"custom {mode}"], rel=1e-5), mode
    torch.manual_seed(3)
    found = cleanfid.compute_fid(
        gen=Generator(byte=False), fdir2=many[0], z_dim=6, num_gen=90, batch_size=40, **options
    )
    assert found == pytest.approx(PEER["clean-fid"]["gen"], rel=1e-5)


def test_cleanfid_archives_arrays_and_changes(many, tmp_path):
    options = {"custom_feat_extractor": blocks, "device": "cpu", "num_workers": 0}
    whole = cleanfid.compute_fid(*many, **options)
    packed = shutil.make_archive(str(tmp_path / "real"), "zip", many[0])
    assert cleanfid.compute_fid(packed, many[1], **options) == pytest.approx(whole, rel=1e-9)
    arrays = tmp_path / "arrays"
    arrays.mkdir()
    from PIL import Image

    for file in Path(many[0]).rglob("*.[pP][nN][gG]"):
        np.save(arrays / f"{file.stem}.npy", np.array(Image.open(file)))
    assert cleanfid.compute_fid(str(arrays), many[1], **options) == pytest.approx(whole, rel=1e-9)
    flipped = cleanfid.compute_fid(
        *many, custom_image_tranform=lambda image: image[:, ::-1], **options
    )
    assert abs(flipped - whole) > 1e-3 * whole


@pytest.mark.slow
def test_cleanfid_inception(few, weights):
    options = {"device": CPU, "verbose": False, "weights": weights}
    numbers = PEER["clean-fid"]
    for mode in ("clean", "legacy_pytorch", "legacy_tensorflow"):
        np.random.seed(4)  # noqa: NPY002
        found = cleanfid.compute_kid(*few, mode=mode, **options)
        assert found == pytest.approx(numbers[f"kid {mode}"], rel=1e-4), mode
    assert not cleanfid.test_stats_exists("mine", "clean")
    cleanfid.make_custom_stats("mine", few[0], **options)
    assert cleanfid.test_stats_exists("mine", "clean", metric="KID")
    named = {"dataset_name": "mine", "dataset_split": "custom"}
    found = cleanfid.compute_fid(few[1], **named, **options)
    assert found == pytest.approx(numbers["custom stats"], rel=1e-5)
    assert found == pytest.approx(cleanfid.compute_fid(*few, **options), rel=1e-6)
    np.random.seed(4)  # noqa: NPY002
    assert cleanfid.compute_kid(few[1], **named, **options) > 0
    with pytest.raises(FileExistsError, match="name must be new, got 'mine'"):
        cleanfid.make_custom_stats("mine", few[0], **options)
    cleanfid.remove_custom_stats("mine")
    with pytest.raises(FileNotFoundError, match="name must be that of custom statistics"):
        cleanfid.remove_custom_stats("mine")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mode": "dirty"}, "mode must be one of clean, legacy_pytorch, legacy_tensorflow"),
        ({"model_name": "clip_vit_b_32"}, "model_name must be 'inception_v3', got 'clip_vit_b_32'"),
        ({"custom_fn_resize": lambda x: x}, "custom_fn_resize must be None"),
        ({"fdir1": None}, "fdir1 or gen must be given, got neither"),
        ({"fdir1": "nowhere"}, "nowhere must be a folder of images, got nothing"),
        ({"fdir2": None}, "ffhq_clean_train_1024.npz is missing: .* get https"),
    ],
)
def test_cleanfid_refuses(many, arguments, message):
    given = {"fdir1": many[0], "fdir2": many[1], "custom_feat_extractor": blocks} | arguments
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        cleanfid.compute_fid(**given, device=CPU, verbose=False)


def fidelity(weights, **arguments):
    low = {f"feature_layer_{name}": "64" for name in ("isc", "fid", "kid", "prc")}
    return torch_fidelity.calculate_metrics(
        cuda=False, verbose=False, feature_extractor="inception-v3-compat",
        feature_extractor_weights_path=weights, **low | arguments,
    )  # fmt: skip


def test_torch_fidelity(many, weights):
    real, fake = many
    numbers = PEER["torch-fidelity"]
    wanted = dict.fromkeys(("isc", "fid", "kid", "prc"), True)
    found = fidelity(
        weights, input1=fake, input2=real, **wanted, kid_subsets=10, kid_subset_size=30
    )
    assert list(found) == list(numbers["64"])
    assert found == pytest.approx(numbers["64"], rel=1e-5, abs=1e-6)


@pytest.mark.slow
def test_torch_fidelity_looks_into_folders(many, weights):
    real, fake = many
    numbers = PEER["torch-fidelity"]
    deep = fidelity(weights, input1=fake, input2=real, fid=True, samples_find_deep=True)
    assert deep == pytest.approx(numbers["deep"], rel=1e-5)


def test_torch_fidelity_generators_and_data_sets(many, weights):
    class Pictures(torch.utils.data.Dataset):
        def __init__(self, folder):
            self.images = torch_fidelity._opened(folder, ("", None, 0), False, "png,jpg,jpeg")

        def __len__(self):
            return len(self.images)

        def __getitem__(self, number):
            return self.images[number]

    model = torch_fidelity.GenerativeModelModuleWrapper(Generator(byte=True), 6, "normal", 0)
    found = fidelity(
        weights, input1=model, input1_model_num_samples=70, input2=Pictures(many[0]), fid=True,
        batch_size=32,
    )  # fmt: skip
    assert found == pytest.approx(PEER["torch-fidelity"]["generator"], rel=1e-5)


def test_conditional_generators(weights):
    class Conditional(Generator):
        def forward(self, z, label):
            assert label.dtype == torch.int64
            return super().forward(z) // (label + 1).view(-1, 1, 1, 1).to(torch.uint8)

    model = torch_fidelity.GenerativeModelModuleWrapper(Conditional(byte=True), 6, "unit", 3)
    found = fidelity(weights, input1=model, input1_model_num_samples=9, isc=True, isc_splits=2)
    assert set(found) == {"inception_score_mean", "inception_score_std"}


@pytest.mark.slow
def test_torch_fidelity_2048(few, weights):
    wanted = dict.fromkeys(("isc", "fid", "kid", "prc"), True)
    layers = dict.fromkeys([f"feature_layer_{name}" for name in wanted])
    found = fidelity(
        weights, input1=few[1], input2=few[0], **wanted, **layers, kid_subsets=10,
        kid_subset_size=10,
    )  # fmt: skip
    assert found == pytest.approx(PEER["torch-fidelity"]["all"], rel=1e-4, abs=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"ppl": True}, "ppl must be False"),
        ({"prc": True, "feature_extractor": None}, "feature_extractor must be 'inception-v3-comp"),
        ({"fid": True, "feature_extractor": "vgg16"}, "feature_extractor must be 'inception-v3-c"),
        ({}, "isc, fid, kid or prc must be True, got none"),
        ({"fid": True, "input2": None}, "input2 must be given, got None"),
        ({"isc": True, "input1": "cifar10-train"}, "cifar10-train must be a folder of images"),
        ({"fid": True, "feature_layer_fid": "13"}, "feature layers must be of 64, 192"),
        ({"isc": True, "samples_resize_and_crop": 8}, "samples_resize_and_crop and feature"),
        ({"isc": True, "feature_extractor_internal_dtype": "float64"}, "internal_dtype must be"),
        ({"isc": True, "typo": 1}, "typo"),
    ],
)
def test_torch_fidelity_refuses(many, weights, arguments, message):
    given = {
        "input1": many[1], "input2": many[0], "feature_extractor": "inception-v3-compat",
        "cuda": False, "feature_extractor_weights_path": weights,
    }  # fmt: skip
    with pytest.raises((TypeError, ValueError, FileNotFoundError), match=message):
        torch_fidelity.calculate_metrics(**given | arguments)
