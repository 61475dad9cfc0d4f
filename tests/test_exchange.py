"""Rows and devices that the processes of a group exchange."""

from unittest import mock

import processes
import pytest
import torch
import torch.distributed as dist

from ganfast.distributed import collective_device, gather_rows


def _in_groups_of_backends(rank, folder):
    """Groups as torch makes them, of which one takes no tensor of the CPU."""
    cpu, gpu = torch.device("cpu"), torch.device("cuda", 3)
    assert collective_device(cpu) == cpu
    group = dist.new_group(backend="cuda:gloo")
    with mock.patch("torch.cuda.current_device", return_value=3):
        assert collective_device(cpu, group) == gpu
        assert collective_device(torch.device("cuda", 1), group) == torch.device("cuda", 1)
    # Everything that is exchanged goes there: on a machine without a GPU that fails.
    if not torch.cuda.is_available():
        with pytest.raises((RuntimeError, AssertionError), match="CUDA"):
            gather_rows(torch.ones(2, 2), group)


def test_groups_without_the_cpu(tmp_path):
    processes.run(2, tmp_path, _in_groups_of_backends, tmp_path)


def _rows_of(rank):
    draw = torch.Generator().manual_seed(rank)
    dtype = [torch.float32, torch.float64, torch.float16, torch.float32][rank]
    return torch.rand([3, 1, 0, 7][rank], 5, generator=draw, dtype=torch.float64).to(dtype)


def _gather(rank, folder):
    nothing = torch.empty(0, 0, dtype=torch.float16)
    expected = torch.cat([_rows_of(other).double() for other in range(4)])
    own = _rows_of(rank)
    found = gather_rows(own if len(own) else nothing)
    assert torch.equal(found, expected)
    assert found.dtype == torch.float64
    assert gather_rows(nothing).shape == (0, 0)
    with pytest.raises(ValueError, match="rows must have one length in all processes"):
        gather_rows(torch.ones(1, 1 + rank))


def test_rows_of_uneven_processes(tmp_path):
    processes.run(4, tmp_path, _gather, tmp_path)
