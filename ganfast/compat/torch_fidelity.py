"""Drop-in for ``calculate_metrics`` of toshas/torch-fidelity 0.4.

Change ``import torch_fidelity`` to::

    from ganfast.compat import torch_fidelity

Names, arguments, the rule which files count and the keys of the result are the project's. Features
are not cached on disk: ``cache``, ``cache_root`` and the cache names have no effect, nor have
``save_cpu_ram``, ``prc_batch_size`` and ``samples_ext_lossy``. Registered data sets, VGG16, CLIP,
DINOv2 and path lengths are refused with a sentence that says what to use instead.
"""

import copy
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from ganfast import metrics
from ganfast._names import check_name
from ganfast.compat._image_files import Images, features_of, inception
from ganfast.evaluation.progress import progress_bar
from ganfast.features import Encoder

__all__ = ["GenerativeModelBase", "GenerativeModelModuleWrapper", "calculate_metrics"]

_LAYERS = {"64": "64", "192": "192", "768": "768", "2048": "2048", "logits_unbiased": "logits"}
_NOISE: dict[str, Callable[..., Tensor]] = {
    "normal": lambda draw, *shape: torch.from_numpy(draw.randn(*shape)).float(),
    "unit": lambda draw, *shape: nn.functional.normalize(
        torch.from_numpy(draw.rand(*shape)).float(), dim=-1
    ),
    "uniform_0_1": lambda draw, *shape: torch.from_numpy(draw.rand(*shape)).float(),
}


class GenerativeModelBase(nn.Module):
    """A generator: a module from noise (N, z_size), and labels (N,) if it has classes, to images.

    The images are uint8 (N, 3, H, W). A subclass has the attributes ``z_size``, ``z_type`` and
    ``num_classes``.
    """

    z_size: int
    z_type: str
    num_classes: int


class GenerativeModelModuleWrapper(GenerativeModelBase):
    """A module as a generator.

    Args:
        module: the generator.
        z_size: of its noise.
        z_type: ``"normal"``, ``"unit"`` or ``"uniform_0_1"``.
        num_classes: 0 for none.
        make_copy: copy the module.
        make_eval: put it into evaluation mode.
        cuda: move it to a GPU (True) or to the CPU (False).

    Raises:
        TypeError: ``module`` is no module.
        ValueError: another value does not fit.
    """

    def __init__(
        self, module: nn.Module, z_size: int, z_type: str, num_classes: int,
        make_copy: bool = False, make_eval: bool = True, cuda: bool | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if not isinstance(module, nn.Module):
            raise TypeError(f"module must be an nn.Module, got {type(module).__name__}")
        check_name("z_type", z_type, _NOISE)
        if z_size < 1 or num_classes < 0:
            raise ValueError(
                f"z_size must be at least 1 and num_classes 0, got {z_size} and {num_classes}"
            )
        self.module = copy.deepcopy(module) if make_copy else module
        if make_eval:
            self.module.eval()
        if cuda is not None:
            self.module.to("cuda" if cuda else "cpu")
        self.z_size, self.z_type, self.num_classes = z_size, z_type, num_classes

    def forward(self, noise: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return the module's images."""
        images: Tensor = self.module(noise) if labels is None else self.module(noise, labels)
        return images


def calculate_metrics(
    *, input1: Any = None, input2: Any = None, cuda: bool = True, batch_size: int = 64,
    isc: bool = False, fid: bool = False, kid: bool = False, prc: bool = False, ppl: bool = False,
    feature_extractor: str | None = None, feature_layer_isc: str | None = None,
    feature_layer_fid: str | None = None, feature_layer_kid: str | None = None,
    feature_layer_prc: str | None = None, feature_extractor_weights_path: str | None = None,
    feature_extractor_internal_dtype: str | None = None, feature_extractor_compile: bool = False,
    isc_splits: int = 10, kid_subsets: int = 100, kid_subset_size: int = 1000,
    kid_kernel: Literal["poly", "rbf"] = "poly", kid_kernel_poly_degree: int = 3,
    kid_kernel_poly_gamma: float | None = None, kid_kernel_poly_coef0: float = 1.0,
    kid_kernel_rbf_sigma: float = 10.0, prc_neighborhood: int = 3, prc_batch_size: int = 10000,
    samples_shuffle: bool = True, samples_find_deep: bool = False,
    samples_find_ext: str = "png,jpg,jpeg", samples_ext_lossy: str | None = "jpg,jpeg",
    samples_resize_and_crop: int = 0, cache: bool = True, cache_root: str | None = None,
    input1_cache_name: str | None = None, input1_model_z_type: str = "normal",
    input1_model_z_size: int | None = None, input1_model_num_classes: int = 0,
    input1_model_num_samples: int | None = None, input2_cache_name: str | None = None,
    input2_model_z_type: str = "normal", input2_model_z_size: int | None = None,
    input2_model_num_classes: int = 0, input2_model_num_samples: int | None = None,
    rng_seed: int = 2020, save_cpu_ram: bool = False, verbose: bool = True,
) -> dict[str, float]:  # fmt: skip
    """Return the wanted scores of ``input1``, the generated images, against ``input2``, the real.

    Args:
        input1, input2: a folder of images, a data set of uint8 tensors (3, H, W), a generator like
            `GenerativeModelBase`, or the .pth file of one in TorchScript.
        cuda: run on a GPU.
        batch_size: images that go through the network at once, and that a generator makes.
        isc, fid, kid, prc: which scores.
        ppl: is not supported.
        feature_extractor: ``"inception-v3-compat"``; `prc` needs it said, since its default is
            VGG16 there.
        feature_layer_isc, feature_layer_fid, feature_layer_kid, feature_layer_prc: ``"64"``,
            ``"192"``, ``"768"``, ``"2048"`` or ``"logits_unbiased"``.
        feature_extractor_weights_path: a file, in place of the public weights.
        feature_extractor_internal_dtype: ``"float32"``.
        feature_extractor_compile: is not supported.
        isc_splits: of the Inception score.
        kid_subsets, kid_subset_size, kid_kernel, kid_kernel_poly_degree, kid_kernel_poly_gamma,
            kid_kernel_poly_coef0, kid_kernel_rbf_sigma: as of `ganfast.metrics.kid`.
        prc_neighborhood: neighbours of precision and recall.
        samples_shuffle: shuffle before the splits of the Inception score.
        samples_find_deep: look into sub-folders.
        samples_find_ext: endings, separated by commas.
        samples_resize_and_crop: is not supported.
        input1_model_z_type, input1_model_z_size, input1_model_num_classes, input2_model_z_type,
            input2_model_z_size, input2_model_num_classes: of a generator in a .pth file.
        input1_model_num_samples, input2_model_num_samples: images that a generator makes.
        rng_seed: of noise, shuffles and subsets.
        verbose: show progress.
        prc_batch_size, samples_ext_lossy, cache, cache_root, input1_cache_name, input2_cache_name,
            save_cpu_ram: have no effect.

    Raises:
        FileNotFoundError: an input or the weights are not there.
        TypeError, ValueError: the arguments do not fit together, or one is not supported.
    """
    _refuse(ppl, feature_extractor, feature_extractor_internal_dtype)
    if samples_resize_and_crop or feature_extractor_compile:
        raise ValueError(
            "samples_resize_and_crop and feature_extractor_compile must be 0 and False, got "
            f"{samples_resize_and_crop} and {feature_extractor_compile}"
        )
    if not (isc or fid or kid or prc):
        raise ValueError("isc, fid, kid or prc must be True, got none")
    if prc and feature_extractor is None:
        raise ValueError(
            "feature_extractor must be 'inception-v3-compat' for prc, got None, which is VGG16 in "
            "torch-fidelity"
        )
    if cuda and not torch.cuda.is_available():
        raise ValueError("cuda must be False, as there is no CUDA device here, got True")
    wanted = {
        "isc": _layer(feature_layer_isc or "logits_unbiased") if isc else None,
        "fid": _layer(feature_layer_fid or "2048") if fid else None,
        "kid": _layer(feature_layer_kid or "2048") if kid else None,
        "prc": _layer(feature_layer_prc or "2048") if prc else None,
    }
    layers = tuple(dict.fromkeys(layer for layer in wanted.values() if layer))
    sides = [(1, input1)] + ([(2, input2)] if fid or kid or prc else [])
    for number, side in sides:
        if side is None:
            raise ValueError(f"input{number} must be given, got None")
    encoder = inception("tf1", "cuda" if cuda else "cpu", feature_extractor_weights_path)
    encoder = replace(encoder, layers=(*encoder.layers, *_LAYERS.values()))
    models = {
        1: (input1_model_z_type, input1_model_z_size, input1_model_num_classes),
        2: (input2_model_z_type, input2_model_z_size, input2_model_num_classes),
    }
    samples = {1: input1_model_num_samples, 2: input2_model_num_samples}
    opened = {
        number: _opened(side, models[number], samples_find_deep, samples_find_ext)
        for number, side in sides
    }
    found = {}
    for number, side in opened.items():
        name = f"input{number}"
        if isinstance(side, nn.Module):
            n = samples[number]
            if n is None:
                raise ValueError(f"{name}_model_num_samples must be given for a generator")
            found[number] = _generated(
                side, n, batch_size, rng_seed, encoder, layers, name, not verbose
            )
        else:
            found[number] = features_of(side, name, encoder, layers, batch_size, not verbose)
    result: dict[str, float] = {}
    one, two = found[1], found.get(2, {})
    if wanted["isc"]:
        seed = rng_seed if samples_shuffle else None
        score = metrics.inception_score(one[wanted["isc"]], splits=isc_splits, seed=seed)
        result |= {"inception_score_mean": score.mean, "inception_score_std": score.std}
    if wanted["fid"]:
        x, y = (side[wanted["fid"]] for side in (one, two))
        result["frechet_inception_distance"] = float(metrics.frechet_distance_from_features(x, y))
    if wanted["kid"]:
        x, y = (side[wanted["kid"]] for side in (one, two))
        spread = metrics.kid(
            x, y, subsets=kid_subsets, subset_size=kid_subset_size, kernel=kid_kernel,
            degree=kid_kernel_poly_degree, gamma=kid_kernel_poly_gamma,
            coef0=kid_kernel_poly_coef0, sigma=kid_kernel_rbf_sigma, seed=rng_seed,
        )  # fmt: skip
        result |= {
            "kernel_inception_distance_mean": spread.mean,
            "kernel_inception_distance_std": spread.std,
        }
    if wanted["prc"]:
        x, y = (side[wanted["prc"]] for side in (one, two))
        both = metrics.prdc(y, x, k=prc_neighborhood, inclusive=True)
        result |= {"precision": both.precision, "recall": both.recall, "f_score": both.f_score}
    return result


def _refuse(ppl: bool, extractor: str | None, dtype: str | None) -> None:
    if ppl:
        raise ValueError(
            "ppl must be False, got True: ganfast.metrics.perceptual_path_length takes a generator "
            "and any distance"
        )
    if extractor not in (None, "inception-v3-compat"):
        raise ValueError(
            f"feature_extractor must be 'inception-v3-compat', got {extractor!r}; ganfast.evaluate "
            "has CLIP and DINOv2 under features"
        )
    if dtype not in (None, "float32"):
        raise ValueError(f"feature_extractor_internal_dtype must be 'float32', got {dtype!r}")


def _layer(name: str) -> str:
    if name not in _LAYERS:
        raise ValueError(f"feature layers must be of {', '.join(_LAYERS)}, got {name!r}")
    return _LAYERS[name]


def _opened(side: Any, model: tuple[str, int | None, int], deep: bool, endings: str) -> Any:
    """Return a generator or a sequence of images."""
    if isinstance(side, nn.Module):
        for attribute in ("z_size", "z_type", "num_classes"):
            if not hasattr(side, attribute):
                raise TypeError(
                    f"a generator must have {attribute}: wrap it in GenerativeModelModuleWrapper"
                )
        return side
    if isinstance(side, str | Path):
        path = Path(side)
        if path.is_dir():
            wanted = {ending.strip() for ending in endings.split(",")}
            files = [
                os.path.realpath(os.path.join(folder, name))
                for folder, _, names in os.walk(path)
                for name in names
                if (deep or os.path.samefile(folder, path))
                and os.path.splitext(name)[1].lower()[1:] in wanted
            ]
            return Images(str(side), sorted(files))
        if path.suffix == ".pth" and path.is_file():
            z_type, z_size, classes = model
            if z_size is None:
                raise ValueError(f"the model_z_size of {side} must be given, got None")
            net = torch.jit.load(str(path), map_location="cpu")  # type: ignore[no-untyped-call]
            return GenerativeModelModuleWrapper(net, z_size, z_type, classes)
        raise FileNotFoundError(
            f"{side} must be a folder of images or a .pth file; pass a data set of torchvision as "
            "a Dataset of uint8 tensors"
        )
    if hasattr(side, "__len__") and hasattr(side, "__getitem__"):
        return side
    raise TypeError(f"inputs must be a folder, a Dataset or a generator, got {type(side).__name__}")


def _generated(
    model: Any, n: int, batch_size: int, seed: int, encoder: Encoder, layers: tuple[str, ...],
    name: str, quiet: bool,
) -> dict[str, Tensor]:  # fmt: skip
    """Features of ``n`` images from the noise that the project draws."""
    draw = np.random.RandomState(seed)
    parts: dict[str, list[Tensor]] = {layer: [] for layer in layers}
    model.to(encoder.device)
    with torch.no_grad(), progress_bar(name, n, quiet) as bar:
        for start in range(0, n, batch_size):
            size = min(batch_size, n - start)
            inputs = [_NOISE[model.z_type](draw, size, model.z_size)]
            if model.num_classes:
                inputs.append(torch.from_numpy(draw.randint(0, model.num_classes, size)))
            images = model(*(x.to(encoder.device) for x in inputs))
            for layer, x in encoder(images, layers).items():
                parts[layer].append(x.cpu())
            bar.update(size)
    return {layer: torch.cat(rows) for layer, rows in parts.items()}
