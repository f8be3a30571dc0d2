"""The memory of a measurement does not grow with the number of images."""

from pathlib import Path

import pytest

import forked
from apps.cli.commands import ENVIRONMENT
from runs.measuring.memory import print_peak

pytestmark = pytest.mark.slow

MIB = 2**20


def peak(images: int, folder: Path) -> int:
    done = forked.run(print_peak, [str(images), str(folder)], cwd=None, env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@pytest.mark.exhaustive
def test_ten_times_the_images(tmp_path: Path) -> None:
    few, many = (peak(count, tmp_path / str(count)) for count in (2_000, 22_000))
    # The readings of 20,000 more images, as float64: 14 MiB; their pixels as float32: 20 MiB.
    assert many - few < 8 * MIB
