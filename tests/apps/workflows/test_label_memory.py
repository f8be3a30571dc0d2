"""The memory of a check of labels grows by little more than the table that it writes."""

from pathlib import Path

import pytest

import forked
from apps.cli.commands import ENVIRONMENT
from apps.workflows.label_memory import print_small_peak

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the memory of a process is read from /proc"),
]

# Bytes for each label: its id and verdict.
LARGEST = 1000


def peak(labels: int, folder: Path) -> int:
    folder.mkdir()
    done = forked.run(print_small_peak, [str(labels), str(folder)], cwd=None, env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@pytest.mark.exhaustive
def test_five_times_the_labels(tmp_path: Path) -> None:
    few, many = (peak(count, tmp_path / str(count)) for count in (5_000, 25_000))
    assert many - few < 20_000 * LARGEST
