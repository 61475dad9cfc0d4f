"""Peak memory of one call, and the size of the cache it must not be served from."""

import ctypes
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

_USUAL_CACHE = 32 * 2**20
_NOISE = 2**20  # of the resident size: pages of stacks, of the allocator, of lazy tables


def torch_peak(call: Callable[[], object]) -> int:
    """Peak bytes on the CPU by torch's allocator: exact, blind to what others allocate."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as trace:
        kept = call()
    del kept
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        trace.export_chrome_trace(str(path))
        events = json.loads(path.read_text())["traceEvents"]
    changes = [e for e in events if e.get("name") == "[memory]" and e["args"]["Device Type"] == 0]
    held = peak = 0
    for event in sorted(changes, key=lambda event: event["ts"]):
        held += event["args"]["Bytes"]
        peak = max(peak, held)
    return peak


def process_peak(call: Callable[[], object]) -> int | None:
    """Peak growth of the process' resident bytes, whoever allocates: LAPACK's work space, too.

    None where the system (not Linux with glibc) does not tell, or below 1 MiB, which is noise.
    """
    try:
        ctypes.CDLL(None).malloc_trim(0)  # else freed pages are used again unseen
        Path("/proc/self/clear_refs").write_text("5")  # resets the high-water mark
    except (AttributeError, OSError, TypeError):
        return None
    before = _status("VmRSS")
    kept = call()
    peak = _status("VmHWM") - before
    del kept
    return peak if peak >= _NOISE else None


def cuda_peak(call: Callable[[], object]) -> int:
    """Peak bytes on the current CUDA device by torch's allocator."""
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    kept = call()
    torch.cuda.synchronize()
    del kept
    return torch.cuda.max_memory_allocated() - before


def last_cache_bytes(device: str) -> int:
    """Size of the last cache before memory: L2 of a GPU, L3 of most CPUs."""
    if device == "cuda":
        return int(torch.cuda.get_device_properties(0).L2_cache_size)
    for level in (4, 3, 2):
        try:
            size = os.sysconf(f"SC_LEVEL{level}_CACHE_SIZE")
        except (AttributeError, OSError, ValueError):
            continue
        if size > 0:
            return size
    return _USUAL_CACHE


def _status(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status: expected a line {name}, got none")
