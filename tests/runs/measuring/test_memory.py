"""The memory of a measurement does not grow with the number of images."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

MIB = 2**20
# Print the peak memory of a process that measures images of noise.
PROGRAM = """
import resource, sys
from pathlib import Path
from torch import nn
from gradmeter.runs.measuring import measure
from gradmeter.sources.models import Classifier
from gradmeter.sources.models.preprocessing import ResizeAndNormalise, Stacked
from gradmeter.sources.samples import ImageKind, open_source

network = nn.Sequential(nn.Flatten(), nn.Linear(256, 8), nn.ReLU(), nn.Linear(8, 4)).eval()
kind = ImageKind("L", 16)
classifier = Classifier("small", network, None, kind, Stacked(ResizeAndNormalise(16, (0.0,), (1.0,))))
measure(classifier, open_source(f"noise:uniform:{sys.argv[1]}", kind), Path(sys.argv[2]))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


def peak(images: int, folder: Path) -> int:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(images), str(folder)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    return int(done.stdout)


def test_ten_times_the_images(tmp_path: Path) -> None:
    few, many = (peak(count, tmp_path / str(count)) for count in (2_000, 22_000))
    # The readings of 20,000 more images, as float64: 14 MiB; their pixels as float32: 20 MiB.
    assert many - few < 8 * MIB
