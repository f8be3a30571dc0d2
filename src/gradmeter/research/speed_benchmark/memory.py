"""By how much a process grows while it works."""

from __future__ import annotations

import ctypes
import gc
import resource
import sys
from collections.abc import Callable
from pathlib import Path

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")
_FORGET_PEAK = "5"  # proc_pid_clear_refs(5): sets the peak to what is resident now


def peak_growth(work: Callable[[], object]) -> int:
    """Bytes between what is resident before the work and the most that is resident during it.

    On Linux from the kernel's own high-water mark. Elsewhere the mark cannot be set back, so what the process needed
    before counts as there from the start, and the result is too small rather than too large.
    """
    return_freed_memory()
    before = _peak_from_here()
    work()
    return max(0, _peak() - before)


def return_freed_memory() -> None:
    """Give freed blocks back to the system, so that using them again counts."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's
    if trim is not None:
        trim(0)


def _peak_from_here() -> int:
    """Set the high-water mark back where that is possible, and return it."""
    if _CLEAR.exists():
        _CLEAR.write_text(_FORGET_PEAK)
    return _peak()


def _peak() -> int:
    if _STATUS.exists():
        line = next(line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
