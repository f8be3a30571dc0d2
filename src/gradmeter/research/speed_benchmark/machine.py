"""Description of the machine that a benchmark runs on."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gradmeter.reading import kernels
from gradmeter.report.markdown import counted


def describe_machine() -> dict[str, Any]:
    """Return the processor, the cores available to this process, memory in GiB, the system and the meter's kernel."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "kernel": kernels.description(),
    }


def counted_cores(machine: Mapping[str, Any]) -> str:
    """Return the number of cores of a described machine in words."""
    return counted(machine["cores"], "core")


def _processor() -> str:
    """Return the processor's name, or its architecture if the system does not give the name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
