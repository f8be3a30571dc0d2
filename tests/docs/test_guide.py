"""Every command and every line of Python in the guide, in its order, in one folder."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from docs.code import ROOT, blocks

pytestmark = pytest.mark.slow

ENVIRONMENT = {**os.environ, "COLUMNS": "120", "NO_COLOR": "1", "OMP_NUM_THREADS": "1"}


def run(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """A line of shell; Python and gradmeter are those of this environment."""
    words = shlex.split(line)
    if words[0] == "python":
        words = [sys.executable, str(ROOT / words[1]), *words[2:]]
    else:
        assert words[0] == "gradmeter"
        words = [sys.executable, "-c", "from gradmeter.apps.cli import main; main()", *words[1:]]
    return subprocess.run(words, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, timeout=1200)


def test_the_guide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    labels = torch.arange(1080) % 10
    images = torch.rand(1080, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    given = {
        # Random images stand for the reader's: right one time in ten, which is enough to be fitted.
        "validation_loader": DataLoader(TensorDataset(images[:540], labels[:540]), batch_size=100),
        "calibration_loader": DataLoader(TensorDataset(images[540:], labels[540:]), batch_size=100),
        "noise_loader": [torch.rand(50, 1, 32, 32)],
        "images": images[:50],
        "labels": torch.cat([labels[:25], torch.full((25,), -1)]),
    }
    for language, content in blocks("docs/guide.md"):
        if language == "python":
            # Random images are nearly all wrong.
            certain = "set_risk(0.05, calibration_loader"
            exec(content.replace(certain, "set_risk(0.99, calibration_loader, least_probability=0"), given)
            continue
        for line in content.splitlines() if language == "sh" else ():
            if line.startswith("pip install"):
                continue  # by .ci/run
            if "examples/digits.py" in line:
                line += " --images 2000 1500 300"  # fewer to judge, for half the time
            done = run(line, tmp_path)
            assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
            print(f"$ {line}\n{done.stdout}")
    assert (tmp_path / "evaluation/report.html").stat().st_size > 100_000
    assert (tmp_path / "verdicts.parquet").is_dir()
