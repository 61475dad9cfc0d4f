"""Each process has its GPU, and shards are opened one ahead."""

from functools import partial

import pytest
import torch

from ganfast.commands.options import UsageError, prepare
from ganfast.data.image_source import Arrays, Shard
from ganfast.distributed import own_device
from ganfast.evaluation import Settings
from ganfast.evaluation.collect import Work, map_shards
from ganfast.features import load


@pytest.fixture
def eight_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 8)


@pytest.mark.usefixtures("eight_gpus")
def test_each_process_takes_the_gpu_of_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    assert own_device("cuda") == "cuda"
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert own_device("cuda") == "cuda:3"
    assert own_device("cuda:5") == "cuda:5"
    assert own_device("cpu") == "cpu"
    monkeypatch.setenv("LOCAL_RANK", "8")
    with pytest.raises(ValueError, match="must be at most 8 on a machine of 8 GPUs, got"):
        own_device("cuda")


@pytest.mark.usefixtures("eight_gpus", "restored_threads")
def test_devices_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    assert prepare(None, None) == "cuda"
    assert prepare("cuda:7", None) == "cuda:7"
    for wrong in ("cuda:8", "mps", "gpu"):
        with pytest.raises(UsageError, match=f"got '{wrong}'"):
            prepare(wrong, None)
    with pytest.raises(ValueError, match="device must be below cuda:8 here, got 'cuda:8'"):
        Settings(features="digits", device="cuda:8").encoder()
    with pytest.raises(ValueError, match="device must be cpu, cuda, cuda:1 or mps, got 'gpu'"):
        Settings(features="digits", device="gpu").encoder()
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert prepare("mps", None) == "mps"
    assert prepare(None, None) == "cpu"


def test_shards_are_opened_one_ahead() -> None:
    opened: list[int] = []
    images = torch.zeros(4, 1, 28, 28, dtype=torch.uint8)

    def open_one(i: int) -> Arrays:
        opened.append(i)
        return Arrays(images, str(i), 1)

    shards = [Shard(str(i), range(4), partial(open_one, i), lambda: None) for i in range(6)]
    states = map_shards(shards, Work(load("digits"), batch_size=2))
    next(states)
    assert opened in ([0, 1], [0, 1, 2])  # the second one is read while the first one is used
    assert len(list(states)) == 5
    assert opened == [*range(6)]
