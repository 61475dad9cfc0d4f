"""The evaluation against prdc, torch-fidelity and pytorch-fid, where they are installed.

The Inception has random weights, the same for all; a package that is missing has no time. End to
end the reference is pytorch-fid, whose resizing is used; torch-fidelity has its own.
"""

import contextlib
import importlib
import io
import tempfile
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench import memory
from bench.kit import SUBJECT, Case, Provider
from ganfast._precision import is_fast
from ganfast.evaluation import Settings, score
from ganfast.features import fused, weight_files
from ganfast.features.fused import Fused
from ganfast.features.inception import Inception
from ganfast.features.registry import FEW
from ganfast.metrics import kid, prdc

_IMAGES = 250  # of each side, end to end
_SIDE = 256
_BATCH = 24  # images of the net alone


def cases() -> list[Case]:
    """Neighbours, kernels, the net, and all of it from files to a number."""
    return [
        _case("prdc, 5,000 x 5,000 x 2,048", partial(_features, 5000), _PRDC, _by_cdist, ("prdc",)),
        _case(
            "KID, 100 x 1,000 of 5,000",
            partial(_features, 5000),
            _KID,
            _ganfast_kid,
            ("torch-fidelity",),
        ),
        _case(
            "KID, 100 x 1,000 of 20,000",
            partial(_features, 20_000),
            _KID,
            _ganfast_kid,
            tuple(_KID),
        ),
        _case(f"Inception, {_BATCH} images", _batch, _NETS, _exact_net),
        _case(
            f"FID of 2 x {_IMAGES} files of {_SIDE} x {_SIDE}",
            _no_input,
            _TOOLS,
            lambda _: _pytorch_fid_once(),
            tuple(_TOOLS),
            peak=lambda _: None,  # it would run all of them once more
        ),
    ]


def _case(
    name: str,
    make: Callable[[], list[Tensor]],
    providers: dict[str, Provider],
    reference: Provider,
    once: tuple[str, ...] = (),
    peak: Callable[[Callable[[], object]], int | None] = memory.process_peak,
) -> Case:
    return Case("eval", name, make, providers, ("forward",), reference, once, ("cpu",), peak)


def _need(name: str) -> Any:
    """A package, or what the kit takes for a provider that is not available."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise RuntimeError(f"{name} is not installed") from error


def _features(n: int) -> list[Tensor]:
    """Two sets (n, 2048) of positive features of about the size of Inception's."""
    draw = torch.Generator().manual_seed(0)
    mix = torch.randn(64, 2048, generator=draw) / 8
    return [
        (torch.randn(n, 64, generator=draw) @ mix + 0.3 * torch.randn(n, 2048, generator=draw))
        .add_(shift)
        .relu_()
        for shift in (0.2, 0.25)
    ]


def _batch() -> list[Tensor]:
    return [torch.rand(_BATCH, 3, 299, 299, generator=torch.Generator().manual_seed(0)) * 2 - 1]


def _no_input() -> list[Tensor]:
    _folders()
    return [torch.zeros(1)]


def _ganfast_prdc(x: list[Tensor]) -> float:
    return sum(prdc(x[0], x[1], k=5))


def _peer_prdc(x: list[Tensor]) -> float:
    with contextlib.redirect_stdout(io.StringIO()):
        found = _need("prdc").compute_prdc(x[0].numpy(), x[1].numpy(), nearest_k=5)
    return float(sum(found.values()))


def _by_cdist(x: list[Tensor]) -> float:
    """The definition, by full float64 matrices."""
    real, fake = (x_i.double() for x_i in x)
    radii = [torch.cdist(a, a).kthvalue(6).values for a in (real, fake)]
    distances = torch.cdist(real, fake)
    inside = distances < radii[0].unsqueeze(1)
    recall = (distances < radii[1]).any(1).double().mean()
    precision, coverage = inside.any(0).double().mean(), inside.any(1).double().mean()
    return float(precision + recall + inside.sum() / (5 * len(fake)) + coverage)


def _ganfast_kid(x: list[Tensor]) -> float:
    return kid(x[0], x[1]).mean


def _peer_kid(x: list[Tensor]) -> float:
    found = _need("torch_fidelity.metric_kid").kid_features_to_metric(
        x[0], x[1], kid_subsets=100, kid_subset_size=1000, kid_degree=3, kid_gamma=None,
        kid_coef0=1, rng_seed=2020, verbose=False,
    )  # fmt: skip
    return float(found["kernel_inception_distance_mean"])


_PRDC: dict[str, Provider] = {"prdc": _peer_prdc, SUBJECT: _ganfast_prdc}
_KID: dict[str, Provider] = {"torch-fidelity": _peer_kid, SUBJECT: _ganfast_kid}


@lru_cache(maxsize=1)
def random_weights() -> Path:
    """A file of random weights in the public key layout."""
    draw = torch.Generator().manual_seed(0)
    state: dict[str, Tensor] = {}
    for prefix, layer in Inception().convolutions():
        for name, out in layer.out.items():
            key = f"{prefix}.{name}" if name else prefix
            size = (out, *layer.weight.shape[1:])
            fan_in = layer.weight[0].numel()
            state[f"{key}.conv.weight"] = torch.randn(size, generator=draw) * (2 / fan_in) ** 0.5
            for part, value in (("weight", 1), ("bias", 0), ("running_mean", 0)):
                state[f"{key}.bn.{part}"] = torch.full((out,), float(value))
            state[f"{key}.bn.running_var"] = torch.ones(out)
    state["fc.weight"] = torch.randn(1008, 2048, generator=draw)
    state["fc.bias"] = torch.zeros(1008)
    path = Path(tempfile.mkdtemp()) / "random.pth"
    torch.save(state, path)
    return path


@lru_cache(maxsize=5)
def _net(dtype: torch.dtype, convolutions: str) -> Inception:
    net = Inception()
    net.load_public(weight_files.read(random_weights()))
    net.to(dtype).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if convolutions == "best":
        net.pack()
    elif convolutions == "oneDNN":
        if not fused.serves(dtype):
            raise RuntimeError(f"this torch has no oneDNN for {dtype}")
        for _, layer in net.convolutions():
            layer.pack(Fused)
    return net


def _ganfast_net(
    x: list[Tensor], dtype: torch.dtype = torch.float32, convolutions: str = "best"
) -> Tensor:
    net = _net(dtype, convolutions)
    with torch.inference_mode():
        batch = x[0].to(dtype).contiguous(memory_format=torch.channels_last)
        return torch.cat([net(part)["2048"] for part in torch.split(batch, FEW)])


def _exact_net(x: list[Tensor]) -> Tensor:
    return _ganfast_net(x, torch.float64)


@lru_cache(maxsize=1)
def _peer_net() -> Any:
    module = _need("pytorch_fid.inception")
    module.load_state_dict_from_url = lambda *_, **__: weight_files.read(random_weights())
    return module.InceptionV3([3], resize_input=False, normalize_input=False).eval()


def _pytorch_fid_net(x: list[Tensor]) -> Tensor:
    with torch.no_grad():
        net = _peer_net()
        features: Tensor = net.to(x[0].dtype)(x[0])[0].flatten(1)
        return features


# What the kernel gains over oneDNN's fused convolutions, and those over the unfused.
_NETS: dict[str, Provider] = {
    "pytorch-fid": _pytorch_fid_net,
    "unfused": partial(_ganfast_net, convolutions="unfused"),
    "oneDNN": partial(_ganfast_net, convolutions="oneDNN"),
    "ganfast bf16": partial(_ganfast_net, dtype=torch.bfloat16),
    SUBJECT: _ganfast_net,
}


@lru_cache(maxsize=1)
def _folders() -> tuple[str, str]:
    """Two folders of smooth pictures with noise, as PNG files."""
    from PIL import Image

    root = Path(tempfile.mkdtemp())
    draw = np.random.default_rng(0)
    for name, contrast in (("real", 50), ("fake", 60)):
        (root / name).mkdir()
        for i in range(_IMAGES):
            coarse = 128 + contrast * draw.standard_normal((8, 8, 3))
            picture = Image.fromarray(coarse.clip(0, 255).astype(np.uint8))
            smooth = np.asarray(picture.resize((_SIDE, _SIDE), Image.Resampling.BICUBIC), float)
            noisy = smooth + 6 * draw.standard_normal(smooth.shape)
            image = Image.fromarray(noisy.clip(0, 255).astype(np.uint8))
            image.save(root / name / f"{i:04d}.png", compress_level=1)
    return str(root / "real"), str(root / "fake")


def _ganfast_tool(_: list[Tensor], dtype: str = "float32") -> float:
    if dtype == "bf16" and not is_fast(dtype, torch.device("cpu")):
        raise RuntimeError("this CPU has no instructions for it")
    weights = str(random_weights())
    settings = Settings(
        resize="torch", weights=weights, sha256=weight_files.sha256_of(Path(weights)), dtype=dtype
    )
    return score(*_folders(), ["fid"], settings, quiet=True).rows[0].value


@lru_cache(maxsize=1)
def _pytorch_fid_once() -> float:
    """Its number, as a reference: where it is not installed, ours."""
    try:
        return _pytorch_fid_tool([])
    except RuntimeError:
        return _ganfast_tool([])


def _pytorch_fid_tool(_: list[Tensor]) -> float:
    _peer_net()  # puts the weights in
    score = _need("pytorch_fid.fid_score")
    with contextlib.redirect_stderr(io.StringIO()):
        return float(score.calculate_fid_given_paths(_folders(), 50, "cpu", 2048, 1))


def _torch_fidelity_tool(_: list[Tensor]) -> float:
    found = _need("torch_fidelity").calculate_metrics(
        input1=_folders()[1], input2=_folders()[0], cuda=False, fid=True, verbose=False,
        cache=False, feature_extractor_weights_path=str(random_weights()),
    )  # fmt: skip
    return float(found["frechet_inception_distance"])


_TOOLS: dict[str, Provider] = {
    "pytorch-fid": _pytorch_fid_tool,
    "torch-fidelity": _torch_fidelity_tool,
    "ganfast bf16": partial(_ganfast_tool, dtype="bf16"),
    SUBJECT: _ganfast_tool,
}
