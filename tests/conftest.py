"""What all tests share: hypothesis without timing, and the tests of what was compiled."""

from collections.abc import Iterator

import pytest
import torch
from hypothesis import settings

import ganfast
from ganfast import _ext

# Without a deadline, since times say nothing on a shared machine. The same examples on every run;
# `pytest --hypothesis-profile=explore` draws new ones, and more of them.
settings.register_profile("ganfast", deadline=None, derandomize=True)
settings.register_profile("explore", deadline=None, max_examples=500)
settings.load_profile("ganfast")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "compiled: needs the compiled kernels")


@pytest.fixture(autouse=True)
def _compiled(request: pytest.FixtureRequest) -> None:
    if request.node.get_closest_marker("compiled") and not _ext.DEVICES:
        pytest.skip(f"no compiled kernels: {ganfast.build_info()['reason']}")


@pytest.fixture(params=[pytest.param("compiled", marks=pytest.mark.compiled), "reference"])
def route(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run the test on the compiled kernels, and again as where nothing is compiled."""
    if request.param == "reference":
        monkeypatch.setattr(_ext, "DEVICES", frozenset())
    return request.param


@pytest.fixture(scope="session")
def device() -> str:
    """Where a test makes its tensors. Tests that tests/cuda imports are run on a GPU, too."""
    return "cpu"


@pytest.fixture
def restored_threads() -> Iterator[None]:
    """Let the test set the number of torch's threads."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
