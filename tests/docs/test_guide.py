"""Every command and every Python block of the guide runs, in order, in one folder."""

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
    """Run a command line, with the Python and the gradmeter of this environment."""
    program, *arguments = shlex.split(line)
    if program == "python":
        command = [sys.executable, str(ROOT / arguments[0]), *arguments[1:]]
    else:
        assert program == "gradmeter"
        command = [sys.executable, "-c", "from gradmeter.apps.cli import main; main()", *arguments]
    return subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, timeout=1200)


def test_the_guide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    labels = torch.arange(1080) % 10
    images = torch.rand(1080, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    variables = {
        # Random images in place of the reader's: one prediction in ten is right, which is enough to fit.
        "validation_loader": DataLoader(TensorDataset(images[:540], labels[:540]), batch_size=100),
        "calibration_loader": DataLoader(TensorDataset(images[540:], labels[540:]), batch_size=100),
        "noise_loader": [torch.rand(50, 1, 32, 32)],
        "images": images[:50],
        "labels": torch.cat([labels[:25], torch.full((25,), -1)]),
    }
    for language, content in blocks("docs/guide.md"):
        if language == "python":
            # Nearly all predictions for random images are wrong.
            strict = "set_risk(0.05, calibration_loader"
            exec(content.replace(strict, "set_risk(0.99, calibration_loader, least_probability=0"), variables)
            continue
        for line in content.splitlines() if language == "sh" else ():
            if line.startswith("pip install"):
                continue  # .ci/run installs everything
            if "examples/digits.py" in line:
                line += " --images 2000 1500 300"  # fewer test images take half the time
            finished = run(line, tmp_path)
            assert finished.returncode == 0, f"{line}\n{finished.stdout}\n{finished.stderr}"
            print(f"$ {line}\n{finished.stdout}")
    assert (tmp_path / "evaluation/report.html").stat().st_size > 100_000
    assert (tmp_path / "verdicts.parquet").is_dir()
