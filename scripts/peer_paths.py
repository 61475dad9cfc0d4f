"""Write what pytorch-fid, clean-fid and torch-fidelity say of folders of images, on random weights.

Set up as scripts/peer_numbers.py says, then:

    PEERS/bin/python scripts/peer_paths.py [pytorch-fid] [clean-fid] [torch-fidelity]

tests/compat/test_path_metrics.py makes the same calls with the import changed.
"""

import json
import os
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

TESTS = Path(__file__).parents[1] / "tests"
sys.path[:0] = [str(TESTS / "features"), str(TESTS / "compat")]

import public_inception  # noqa: E402
from path_images import Generator, blocks, folders  # noqa: E402


def pytorch_fid(real: str, fake: str, few: list[str]) -> dict[str, float]:
    from pytorch_fid.fid_score import calculate_fid_given_paths

    return {
        "64": calculate_fid_given_paths([real, fake], 50, "cpu", 64, 0),
        "768": calculate_fid_given_paths(few, 50, "cpu", 768, 0),
    }


def clean_fid(real: str, fake: str, few: list[str], mixed: list[str]) -> dict[str, float]:
    import cleanfid.fid
    from pytorch_fid.inception import InceptionV3
    from torch_fidelity.interpolate_compat_tensorflow import (
        interpolate_bilinear_2d_like_tensorflow1x,
    )

    fid, cpu = cleanfid.fid, torch.device("cpu")
    settings: dict[str, Any] = {"device": cpu, "num_workers": 0, "verbose": False}
    own = settings | {"custom_feat_extractor": blocks}
    net = InceptionV3([3], resize_input=False, normalize_input=False).eval()
    build = fid.build_feature_extractor

    def inception(mode: str, device: torch.device, use_dataparallel: bool = True) -> Any:
        """The modes of the TorchScript file, which is no random network."""
        if mode == "legacy_pytorch":
            return build(mode, device, use_dataparallel=False)

        def features(x: torch.Tensor) -> torch.Tensor:
            if mode == "legacy_tensorflow":
                x = interpolate_bilinear_2d_like_tensorflow1x(x, (299, 299), align_corners=False)
            return net((x - 128) / 128)[0].squeeze(3).squeeze(2)

        return features

    fid.build_feature_extractor = inception
    found: dict[str, float] = {
        f"custom {mode}": fid.compute_fid(*mixed, mode=mode, **own)
        for mode in ("clean", "legacy_pytorch")
    }
    torch.manual_seed(3)
    found["gen"] = fid.compute_fid(
        gen=Generator(byte=False), fdir2=real, z_dim=6, num_gen=90, batch_size=40, **own
    )
    for mode in ("clean", "legacy_pytorch", "legacy_tensorflow"):
        np.random.seed(4)  # noqa: NPY002
        found[f"kid {mode}"] = fid.compute_kid(*few, mode=mode, **settings)
    fid.make_custom_stats("ganfast-peer", few[0], **settings)
    found["custom stats"] = fid.compute_fid(
        few[1], dataset_name="ganfast-peer", dataset_split="custom", **settings
    )
    fid.remove_custom_stats("ganfast-peer")
    return found


def torch_fidelity(weights: str, real: str, fake: str, few: list[str]) -> dict[str, Any]:
    from torch_fidelity import GenerativeModelModuleWrapper, calculate_metrics

    settings: dict[str, Any] = {
        "cuda": False, "verbose": False, "cache": False, "save_cpu_ram": True,
        "feature_extractor": "inception-v3-compat", "feature_extractor_weights_path": weights,
    }  # fmt: skip
    low: dict[str, Any] = {f"feature_layer_{name}": "64" for name in ("isc", "fid", "kid", "prc")}
    subsets = {"kid_subsets": 10, "kid_subset_size": 30}
    wanted: dict[str, Any] = dict.fromkeys(("isc", "fid", "kid", "prc"), True)
    return {
        "64": calculate_metrics(input1=fake, input2=real, **wanted, **low, **subsets, **settings),
        "deep": calculate_metrics(
            input1=fake, input2=real, fid=True, samples_find_deep=True, **low, **settings
        ),
        "generator": calculate_metrics(
            input1=GenerativeModelModuleWrapper(Generator(byte=True), 6, "normal", 0),
            input1_model_num_samples=70,
            input2=real,
            fid=True,
            batch_size=32,
            **low,
            **settings,
        ),
        "all": calculate_metrics(
            input1=few[1], input2=few[0], **wanted, **subsets | {"kid_subset_size": 10}, **settings
        ),
    }


def main() -> None:
    root = Path(tempfile.mkdtemp())
    os.environ["TORCH_HOME"] = str(root)
    weights = root / "hub" / "checkpoints" / "pt_inception-2015-12-05-6726825d.pth"
    weights.parent.mkdir(parents=True)
    torch.save(public_inception.random_state(), weights)
    real, fake = folders(root / "many")
    few = folders(root / "few", 20)
    mixed = folders(root / "mixed", 60, ((40, 48), (310, 400), (299, 299)))
    calls = {
        "pytorch-fid": lambda: pytorch_fid(real, fake, few),
        "clean-fid": lambda: clean_fid(real, fake, few, mixed),
        "torch-fidelity": lambda: torch_fidelity(str(weights), real, fake, few),
    }
    out = TESTS / "compat" / "path_numbers.json"
    found = json.loads(out.read_text()) if out.exists() else {"versions": {}}
    for name in sys.argv[1:] or calls:
        found[name] = calls[name]()
        found["versions"] |= {package: version(package) for package in (name, "torch")}
        out.write_text(json.dumps(found, indent=1, default=float) + "\n")


if __name__ == "__main__":
    main()
