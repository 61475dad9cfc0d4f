"""Feature nets by name, and what an encoder makes of images of all sizes."""

import hashlib
import json
import sys
import types

import pytest
import torch
from torch import nn

from ganfast import data, features
from ganfast.features import open_clip, transformer, weight_files
from ganfast.features.resize import resize
from tests.features import public_inception
from tests.numerics import generator


def images(n, side, channels=3, seed=0):
    shape = (n, channels, side, side)
    return torch.randint(0, 256, shape, generator=generator(seed)).to(torch.uint8)


@pytest.fixture(scope="module")
def random_weights(tmp_path_factory):
    """A file in the public key layout, and its sha256."""
    path = tmp_path_factory.mktemp("weights") / "random.pth"
    torch.save(public_inception.random_state(), path)
    return path, weight_files.sha256_of(path)


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GANFAST_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path


def test_digits_are_what_the_net_gives():
    batch = data.digits().images[:20]
    encoder = features.load("digits")
    found = encoder(batch, ("features", "logits"))
    net = features.digits()
    x = data.to_float(batch)
    assert torch.allclose(found["features"], net(x), rtol=1e-5, atol=1e-6)
    assert torch.allclose(found["logits"], net.classify(x), rtol=1e-5, atol=1e-5)
    assert encoder.label == "FD (digits)"


@pytest.mark.parametrize(
    ("mode", "shift", "scale"), [("clean", 128, 128), ("tf1", 128, 128), ("torch", 127.5, 127.5)]
)
def test_inception_prepares_as_the_tool_it_follows(random_weights, mode, shift, scale):
    path, sha256 = random_weights
    encoder = features.load("inception", weights=path, sha256=sha256, resize=mode)
    batch = images(2, 80)
    exact = public_inception.forward(
        torch.load(path), (resize(batch, 299, mode).double() - shift) / scale
    )
    found = encoder(batch, ("features", "logits", "spatial"))
    for layer, name in (("features", "2048"), ("logits", "logits"), ("spatial", "spatial")):
        error = (found[layer].double() - exact[name]).abs().max() / exact[name].abs().max()
        assert error < 1e-5
    assert encoder.label == f"FD (inception 2048, weights {sha256[:8]})"
    assert encoder.settings["resize"] == mode


def test_mixed_sizes_equal_one_by_one():
    mixed = [images(1, side, 1, side)[0] for side in (28, 40, 40, 17, 28)]
    encoder = features.load("digits")
    alone = torch.cat([encoder(image[None])["features"] for image in mixed])
    assert torch.allclose(encoder(mixed)["features"], alone, rtol=1e-5, atol=1e-6)


def test_bf16_is_close_and_float32_outside(random_weights):
    path, sha256 = random_weights
    batch = images(1, 60)
    full = features.load(weights=path, sha256=sha256)(batch)["features"]
    half = features.load(weights=path, sha256=sha256, dtype="bf16")(batch)["features"]
    assert half.dtype == torch.float32
    assert 0 < (half - full).norm() / full.norm() < 0.03


def test_dims(random_weights):
    path, sha256 = random_weights
    encoder = features.load(weights=path, sha256=sha256, dims=192)
    assert encoder(images(2, 50))["features"].shape == (2, 192)
    assert "192" in encoder.label


def test_public_weights_are_found_in_either_cache(empty_cache, monkeypatch, random_weights):
    path, sha256 = random_weights
    known = weight_files.WeightFile(("pt_x.pth", "weights-x.pth"), "", sha256, 1)
    monkeypatch.setattr(weight_files, "INCEPTION", known)
    with pytest.raises(FileNotFoundError, match=r"pt_x\.pth .* put the file into .*cache/weights"):
        features.load("inception")
    for folder, name in (("torch/hub/checkpoints", "weights-x.pth"), ("cache/weights", "pt_x.pth")):
        target = empty_cache / folder / name
        target.parent.mkdir(parents=True)
        target.write_bytes(path.read_bytes())
        assert features.load("inception").label == "FID"
        assert weight_files.find(known) == target
    target.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(ValueError, match=r"must have sha256 .* may have been cut off"):
        features.load("inception")


def test_download_is_whole_or_not_there(empty_cache):
    source = empty_cache / "source.pth"
    source.write_bytes(b"weights" * 1000)
    right = hashlib.sha256(source.read_bytes()).hexdigest()
    file = weight_files.WeightFile(("a.pth",), source.as_uri(), right, 7000)
    assert weight_files.download(file).read_bytes() == source.read_bytes()
    wrong = weight_files.WeightFile(("b.pth",), source.as_uri(), "0" * 64, 7000)
    with pytest.raises(ValueError, match="must have sha256 000"):
        weight_files.download(wrong)
    assert [path.name for path in weight_files.folders()[0].iterdir()] == ["a.pth"]


def test_weights_are_read_without_running_code(tmp_path):
    path = tmp_path / "bad.pth"
    torch.save({"x": print}, path)
    with pytest.raises(ValueError, match="must be a file of weights"):
        weight_files.read(path)


def test_safetensors_weights(tmp_path, random_weights):
    from safetensors.torch import save_file

    path, sha256 = random_weights
    other = tmp_path / "random.safetensors"
    save_file(torch.load(path), other)
    batch = images(1, 60)
    one = features.load(weights=path, sha256=sha256)(batch)
    two = features.load(weights=other, sha256=weight_files.sha256_of(other))(batch)
    assert torch.equal(one["features"], two["features"])


class Mean(nn.Module):
    """Mean colour: a feature net that can be worked out by hand."""

    def forward(self, x):
        return x.float().mean((2, 3))


def brightest(x):
    return x.float().amax((1, 2, 3))[:, None]


@pytest.mark.parametrize("name", ["Mean", "brightest"])
def test_module_and_callable(name):
    batch = images(3, 9)
    encoder = features.load(f"{__name__}:{name}")
    expected = Mean()(batch) if name == "Mean" else brightest(batch)
    assert torch.equal(encoder(batch)["features"], expected)
    assert encoder.label == f"FD ({__name__}:{name})"
    assert encoder.settings["weights"] == "unknown"


def test_torchscript(tmp_path):
    path = tmp_path / "mean.pt"
    torch.jit.script(Mean()).save(path)
    batch = images(3, 9)
    encoder = features.load(str(path))
    assert torch.equal(encoder(batch)["features"], Mean()(batch))
    assert encoder.settings["weights"] == weight_files.sha256_of(path)


def test_transformers_models(monkeypatch):
    """What is asked of the transformers package, and which of its outputs are the features."""
    asked = []

    class Output:
        image_embeds = torch.full((2, 5), 3.0)
        last_hidden_state = torch.arange(2 * 4 * 6.0).view(2, 4, 6)

    class Tower(nn.Module):
        config = types.SimpleNamespace(_commit_hash="abc")

        @classmethod
        def from_pretrained(cls, repository, **options):
            asked.append((repository, options["local_files_only"]))
            return cls()

        def forward(self, pixel_values):
            asked.append(pixel_values)
            return Output

    fake = types.SimpleNamespace(Dinov2Model=Tower, CLIPVisionModelWithProjection=Tower)
    monkeypatch.setitem(sys.modules, "transformers", fake)
    batch = torch.stack([torch.full((3, 30, 30), v, dtype=torch.uint8) for v in (0, 255)])
    dino = features.load("dinov2_vitl14")(batch)["features"]
    assert torch.equal(dino, Output.last_hidden_state[:, 0])
    assert asked[0] == ("facebook/dinov2-large", True)
    # Black and white, normalised by the statistics of ImageNet.
    assert asked[1].shape == (2, 3, 224, 224)
    assert asked[1][:, 0, 0, 0].tolist() == pytest.approx([-0.485 / 0.229, (1 - 0.485) / 0.229])
    clip = features.load("clip_vitl14_336", download=True)(batch)["features"]
    assert torch.equal(clip, Output.image_embeds)
    assert asked[2] == ("openai/clip-vit-large-patch14-336", False)
    assert asked[3].shape == (2, 3, 336, 336)


def test_open_clip(monkeypatch, tmp_path):
    """A small CLIP with random weights, written to disk, through the real package."""
    package = pytest.importorskip("open_clip", reason="open_clip_torch is not installed")
    from safetensors.torch import save_file

    monkeypatch.setitem(sys.modules, "transformers", None)
    config = {
        "embed_dim": 12,
        "quick_gelu": True,
        "vision_cfg": {"image_size": 224, "layers": 2, "width": 64, "patch_size": 32},
        "text_cfg": {"context_length": 8, "vocab_size": 50, "width": 64, "heads": 1, "layers": 1},
    }
    (tmp_path / "small.json").write_text(json.dumps(config))
    package.add_model_config(tmp_path)
    net = package.create_model("small").eval()
    save_file(net.state_dict(), tmp_path / "weights.safetensors")
    monkeypatch.setitem(open_clip.MODELS, "clip_vitb32", ("small", "nobody/small"))
    monkeypatch.setattr(open_clip, "weights", lambda *_: tmp_path / "weights.safetensors")
    batch = images(3, 224, 3)
    encoder = features.load("clip_vitb32", resize="none")
    mean, deviation = (torch.tensor(values).view(3, 1, 1) for values in transformer._CLIP)
    with torch.no_grad():
        want = net.encode_image((batch / 255 - mean) / deviation)
    torch.testing.assert_close(encoder(batch)["features"], want, rtol=1e-4, atol=1e-5)
    assert encoder.settings["weights"] == f"open_clip {tmp_path.name}"


def test_open_clip_without_weights(monkeypatch, tmp_path):
    pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"timm/vit_base.* is not in the cache"):
        open_clip.weights("timm/vit_base_patch32_clip_224.openai", download=False)


def test_missing_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    monkeypatch.setitem(sys.modules, "open_clip", None)
    with pytest.raises(ModuleNotFoundError, match=r"or 'ganfast.open_clip.'"):
        features.load("clip_vitb32")
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'ganfast\[transformers\]'"):
        features.load("dinov2_vits14")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("vgg",), "features must be one of inception, digits"),
        (("nowhere:at_all",), "No module named .nowhere"),
        (("torch:pi",), "must be callable, got float"),
        (("digits", {"dims": 64}), "dims must be one of"),
        (("digits", {"dtype": "int8"}), "dtype must be one of"),
        (("digits", {"resize": "lanczos"}), "resize must be one of"),
        (("digits", {"weights": "x.pth"}), "weights must be None unless"),
    ],
)
def test_bad_names_and_options(arguments, words):
    name, options = (*arguments, {})[:2]
    with pytest.raises(ValueError, match=words):
        features.load(name, **options)


@pytest.mark.parametrize(
    ("batch", "words"),
    [
        (images(2, 28, 3), "must have 1 channels"),
        (images(2, 28, 1)[:0], "at least 1 image, got 0"),
        ([], "at least 1 image, got 0"),
        (images(2, 28, 1)[..., :0], "at least 1 pixel"),
    ],
)
def test_bad_images(batch, words):
    with pytest.raises(ValueError, match=words):
        features.load("digits")(batch)
    with pytest.raises(TypeError, match="must be uint8"):
        features.load("digits")(images(1, 28, 1).float())


@pytest.mark.parametrize("supported", [True, False])
def test_a_dtype_without_instructions_is_said_to_be_slow(monkeypatch, recwarn, supported):
    ops = types.SimpleNamespace(_is_mkldnn_bf16_supported=lambda: supported)
    monkeypatch.setattr(torch.ops, "mkldnn", ops)
    features.load("digits", dtype="bf16")
    features.load("digits")
    said = [str(w.message) for w in recwarn if "no instructions" in str(w.message)]
    assert len(said) == (0 if supported else 1)


def test_floats_that_are_not_finite_are_refused():
    encoder = features.load("digits")
    x = torch.zeros(2, 1, 28, 28)
    assert encoder.of_floats(x).isfinite().all()
    x[1, 0, 3, 3] = torch.nan
    with pytest.raises(ValueError, match="images must be finite"):
        encoder.of_floats(x)
