import sys

import pytest
import torch

from gradmeter.research.speed_benchmark.memory import peak_growth

MIB = 2**20
linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux can reset its high-water mark")


@linux
def test_freed_memory_counts_for_the_peak() -> None:
    def work() -> None:
        for _ in range(3):
            torch.ones(64 * MIB // 4)

    torch.ones(256 * MIB // 4)  # an earlier and higher peak
    assert 60 * MIB < peak_growth(work) < 90 * MIB


@linux
def test_memory_from_before_does_not_count() -> None:
    torch.ones(64 * MIB // 4)
    held = torch.ones(16 * MIB // 4)
    assert peak_growth(lambda: held.sum()) < 8 * MIB
