"""The memory of a check of labels grows by little more than the table that it writes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

# Print the peak of the anonymous memory of a process that checks labels of grey images: mapped files, which the system
# may drop at any time, do not count. What has a fixed limit is made small.
PROGRAM = """
import sys, threading
from pathlib import Path
import numpy as np
import torch
from PIL import Image
from torch import nn
from gradmeter.apps.workflows.label_lists import write_lists
from gradmeter.apps.workflows.label_report import write_report
from gradmeter.apps.workflows.labels import check_labels
from gradmeter.runs.measuring import Work
from gradmeter.sources.models import Classifier
from gradmeter.sources.models.preprocessing import ResizeAndNormalise, Stacked
from gradmeter.sources.samples import Encoded, ImageKind, Source
from gradmeter.trust.labels import check, corruption, neighbours

neighbours._REFERENCES, check._MOST_ROWS, corruption._MOST = 1000, 1000, 500
COUNT = int(sys.argv[1])

def decoded(content):
    number = int(content)
    noise = np.random.default_rng(number).integers(0, 80, (8, 8))
    return Image.fromarray((noise + 160 * (number % 2)).astype(np.uint8))

class Made(Source):
    name, classes, labelled, decoder = "made", ("dark", "light"), True, staticmethod(decoded)
    def __len__(self):
        return COUNT
    def id(self, index):
        return f"{index:07}"
    def fetch(self, index):
        label = (index if index % 10 else index // 10) % 2
        return Encoded(self.id(index), str(index).encode(), label)
    def fingerprint(self):
        return str(COUNT)

network = nn.Sequential(nn.Flatten(), nn.Linear(64, 2)).eval()
with torch.no_grad():
    network[1].weight.copy_(torch.tensor([[-1.0], [1.0]]).expand(2, 64) / 8)
    network[1].bias.copy_(torch.tensor([3.6, -3.6]))
preprocessing = Stacked(ResizeAndNormalise(8, (0.0,), (1.0,)))
classifier = Classifier("n", network, ("dark", "light"), ImageKind("L", 8), preprocessing)

peak, done = 0, threading.Event()
def watch():
    global peak
    while not done.wait(0.02):
        status = Path("/proc/self/status").read_text()
        peak = max(peak, int(status.partition("RssAnon:")[2].split()[0]) * 1024)

thread = threading.Thread(target=watch)
thread.start()
out = Path(sys.argv[2]) / "labels.parquet"
checked = check_labels(classifier, Made(), out, Work())
write_lists(checked)
write_report(checked, "gradmeter labels")
done.set()
thread.join()
print(peak, sum(checked.reasons.values()))
"""


def peak(images: int, folder: Path) -> int:
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(images), str(folder)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    return int(done.stdout.split()[0])


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the memory of a process is read from /proc")
def test_four_times_the_labels(tmp_path: Path) -> None:
    few, many = (peak(count, tmp_path / str(count)) for count in (8_000, 32_000))
    assert (many - few) / 24_000 < 700
