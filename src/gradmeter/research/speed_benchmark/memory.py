"""Peak memory of a piece of work."""

from __future__ import annotations

import ctypes
import gc
import resource
import sys
from collections.abc import Callable
from pathlib import Path

_STATUS = Path("/proc/self/status")
_CLEAR_REFS = Path("/proc/self/clear_refs")
_RESET_PEAK = "5"  # proc_pid_clear_refs(5): sets the peak to the current resident memory


def peak_growth(work: Callable[[], object]) -> int:
    """Return by how many bytes the peak resident memory during the work exceeds the resident memory before it.

    On Linux this is the kernel's high-water mark. Other systems cannot reset the mark, so memory that the process used
    earlier counts as resident before the work, and the result can be too small.
    """
    return_freed_memory()
    before = _reset_peak()
    work()
    return max(0, _peak() - before)


def return_freed_memory() -> None:
    """Return freed blocks to the system, so that memory counts again when it is reused."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc only
    if trim is not None:
        trim(0)


def _reset_peak() -> int:
    """Reset the high-water mark where the system allows it, and return it."""
    if _CLEAR_REFS.exists():
        _CLEAR_REFS.write_text(_RESET_PEAK)
    return _peak()


def _peak() -> int:
    if _STATUS.exists():
        line = next(line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
