"""pytorch-fid's command with random weights: python -m bench.report.peer_fid WEIGHTS ARGUMENT...

Its weights are a download; those of the file stand in for them.
"""

import importlib
import inspect
import sys

import scipy.linalg
import torch


def main() -> None:
    weights = sys.argv.pop(1)
    module = importlib.import_module("pytorch_fid.inception")
    module.load_state_dict_from_url = lambda *_, **__: torch.load(weights, weights_only=True)  # type: ignore[attr-defined]
    root = scipy.linalg.sqrtm
    if "disp" not in inspect.signature(root).parameters:  # SciPy 1.18 and later
        scipy.linalg.sqrtm = lambda product, disp: (root(product), 0.0)
    importlib.import_module("pytorch_fid.fid_score").main()


if __name__ == "__main__":
    main()
