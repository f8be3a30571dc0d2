"""The memory of a process that measures images."""

import resource
import sys
from pathlib import Path

from torch import nn

from gradmeter.runs.measuring import measure
from gradmeter.sources.models import Classifier
from gradmeter.sources.models.preprocessing import ResizeAndNormalise, Stacked
from gradmeter.sources.samples import ImageKind, open_source


def print_peak() -> None:
    """Measure the given number of images of noise, and print the peak memory of this process in bytes."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(256, 8), nn.ReLU(), nn.Linear(8, 4)).eval()
    kind = ImageKind("L", 16)
    classifier = Classifier("small", network, None, kind, Stacked(ResizeAndNormalise(16, (0.0,), (1.0,))))
    measure(classifier, open_source(f"noise:uniform:{sys.argv[1]}", kind), Path(sys.argv[2]))
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
