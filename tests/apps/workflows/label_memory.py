"""Print the peak of the memory of a check of labels, in bytes: python label_memory.py COUNT FOLDER [SIDE].

Only anonymous memory counts: the system may drop pages of mapped files at any time. The images are dark or light, and
one of 20 has a wrong label.
"""

import sys
import threading
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
from gradmeter.trust.labels import corruption, judge, neighbours

CLASSES = ("dark", "light")


class Made(Source):
    """Images that are made when they are read.

    Args:
        count: their number.
        side: their height and width.
    """

    name, classes, labelled = "made", CLASSES, True

    def __init__(self, count: int, side: int) -> None:
        self._count, self._side = count, side
        self.decoder = self._decoded

    def __len__(self) -> int:
        return self._count

    def id(self, index: int) -> str:
        return f"{index:07}"

    def fetch(self, index: int) -> Encoded:
        is_wrong = index % 20 == index // 20 % 20
        return Encoded(self.id(index), str(index).encode(), (index + is_wrong) % 2)

    def fingerprint(self) -> str:
        return f"{self._count} {self._side}"

    def _decoded(self, content: bytes) -> Image.Image:
        random = np.random.default_rng(int(content))
        pixels = random.integers(0, 60, (self._side, self._side)) + random.integers(0, 100) + 90 * (int(content) % 2)
        return Image.fromarray(pixels.astype(np.uint8))


def classifier(side: int) -> Classifier:
    """A network that tells light images from dark ones, most of the time."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(side**2, 2)).eval()
    with torch.no_grad():
        network[1].weight.copy_(torch.tensor([[-1.0], [1.0]]).expand(2, side**2) * 8 / side**2)
        network[1].bias.copy_(torch.tensor([4.0, -4.0]))
    return Classifier(
        "threshold", network, CLASSES, ImageKind("L", side), Stacked(ResizeAndNormalise(side, (0.0,), (1.0,)))
    )


def peak(count: int, folder: Path, side: int) -> int:
    """Check labels, write all files, and return the peak of the memory."""
    most, done = 0, threading.Event()

    def watch() -> None:
        nonlocal most
        while not done.wait(0.02):
            status = Path("/proc/self/status").read_text()
            most = max(most, int(status.partition("RssAnon:")[2].split()[0]) * 1024)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        checked = check_labels(classifier(side), Made(count, side), folder / "labels.parquet", Work())
        write_lists(checked)
        write_report(checked, "label_memory.py")
        print(f"{checked.rate.value:.4f} wrong, {sum(checked.reasons.values()):,} doubtful", file=sys.stderr)
    finally:
        done.set()
        thread.join()
    return most


def print_small_peak() -> None:
    """Print the peak of the memory of the given number of labels, where what has a fixed limit is small."""
    neighbours._REFERENCES, neighbours._TILE, judge._MOST_ROWS, corruption._MOST = 1000, 2**18, 2000, 1000
    print(peak(int(sys.argv[1]), Path(sys.argv[2]), 8))


if __name__ == "__main__":
    print(peak(int(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 28))
