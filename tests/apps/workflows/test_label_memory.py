"""The memory of a check of labels grows by little more than the table that it writes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the memory of a process is read from /proc"),
]

# What has a fixed limit is made small, so that few labels reach it.
PROGRAM = """
import sys
from pathlib import Path
from apps.workflows.label_memory import peak
from gradmeter.trust.labels import corruption, judge, neighbours

neighbours._REFERENCES, neighbours._TILE, judge._MOST_ROWS, corruption._MOST = 1000, 2**18, 2000, 1000
print(peak(int(sys.argv[1]), Path(sys.argv[2]), 8))
"""
# Bytes for each label: its id and verdict.
LARGEST = 1000


def peak(labels: int, folder: Path) -> int:
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(labels), str(folder)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    return int(done.stdout)


def test_five_times_the_labels(tmp_path: Path) -> None:
    few, many = (peak(count, tmp_path / str(count)) for count in (5_000, 25_000))
    assert many - few < 20_000 * LARGEST
