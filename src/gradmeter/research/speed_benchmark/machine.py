"""Description of the machine that a benchmark runs on."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from typing import Any

from gradmeter.reading import kernels
from gradmeter.report.markdown import counted
from gradmeter.runs.machine import available_cores, processor_name


def describe_machine() -> dict[str, Any]:
    """Return the processor, the cores available to this process, memory in GiB, the system and the meter's kernel."""
    return {
        "processor": processor_name(),
        "cores": available_cores(),
        "memory": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "kernel": kernels.description(),
    }


def counted_cores(machine: Mapping[str, Any]) -> str:
    """Return the number of cores of a described machine in words."""
    return counted(machine["cores"], "core")
