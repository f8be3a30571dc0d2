"""A detector that is added from outside the package, by an entry in DETECTORS, takes part in the comparison."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from apps.cli.commands import ENVIRONMENT
from gradmeter.research.ood_benchmark.scores import KNOWN, Scores, score_path

pytestmark = pytest.mark.slow

# Worker processes import the script, so the entry is at its top level.
_SCRIPT = """
from functools import partial

from gradmeter.apps.cli import main
from gradmeter.research.ood_benchmark import run, tasks
from gradmeter.research.ood_benchmark.detectors import DETECTORS, DetectorEntry
from gradmeter.trust.model import TrustModel
from gradmeter.trust.synthetic import KINDS


class Brightness:
    requires_fit = True

    def fit(self, loader):
        self.mean = sum(float(images.mean()) for images, labels in loader) / len(loader)
        return self

    def predict(self, images):
        return (images.mean(dim=(1, 2, 3)) - self.mean).abs()


DETECTORS["Brightness"] = DetectorEntry(lambda library, parts: Brightness())
# A short training, and judges that are fitted quickly.
tasks.StudyOptions = partial(tasks.StudyOptions, max_epochs=5)
run.TrustModel = partial(TrustModel, reads="forward")
run.FEW = ()
for kind in KINDS.keys() - {"blend"}:
    del KINDS[kind]

if __name__ == "__main__":
    main()
"""


@pytest.mark.exhaustive
def test_a_detector_from_outside_the_package(small_data: Path, tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(_SCRIPT)
    options = ("--task", "digits", "--detector", "Brightness", "--runs", "1", "--share", "0.6", "--no-controls")
    command = (sys.executable, "script.py", "compare", "--data", str(small_data), "--out", "out", *options, "--quiet")
    done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, cwd=tmp_path, timeout=300)
    assert done.returncode == 0, done.stderr
    scores = Scores.read(score_path(tmp_path / "out", "digits", 0, "Brightness"))
    assert len(scores.values[KNOWN]) > 100
    assert all((values >= 0).all() and np.isfinite(values).all() for values in scores.values.values())
    page = (tmp_path / "out/benchmark.md").read_text(encoding="utf-8")
    rows = {line.split("|")[1].strip() for line in page.splitlines() if line.startswith("|")}
    assert {"gradmeter", "MSP", "Brightness"} <= rows
