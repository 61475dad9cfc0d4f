"""These tests need a GPU and kernels compiled for it."""

import pytest
import torch

import ganfast
from ganfast import _ext


@pytest.fixture(scope="session")
def device() -> str:
    return "cuda"


@pytest.fixture(autouse=True)
def _gpu() -> None:
    if "cuda" not in _ext.DEVICES:
        pytest.skip(f"no CUDA kernels: {ganfast.build_info()['reason']}")
    if not torch.cuda.is_available():
        pytest.skip("no GPU")
