"""Every command and every Python block of the guide runs, in order, in one folder, on fewer images.

A network with fewer layers takes the place of ResNet-18, with which tests/docs/test_commands.py runs the README.
"""

import re
import shlex
import subprocess
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import forked
from apps.cli.commands import ENVIRONMENT
from apps.cli.quick import quick_main
from docs.code import ROOT, blocks, run_script
from gradmeter.research.study.data.embedded import load_embedded
from trust.quick import fit_quickly

pytestmark = pytest.mark.slow

NETWORKS = "resnet18", "test_resnet"
"""The guide's network, and the one in its place."""


def run(line: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    """Run a command line, with the Python and the gradmeter of this environment."""
    program, *arguments = shlex.split(smaller(line))
    if program == "python":
        return forked.run(run_script, [str(ROOT / arguments[0]), *arguments[1:]], cwd=folder, env=ENVIRONMENT)
    assert program == "gradmeter"
    return forked.run(quick_main, arguments, cwd=folder, env=ENVIRONMENT)


def smaller(line: str) -> str:
    """A line of the guide with fewer layers, images and repetitions, and a risk that so few images can guarantee."""
    line = line.replace(*NETWORKS)
    if "examples/digits.py" in line:
        line += f" --model {NETWORKS[1]} --images 1200 300 40"
    if line.startswith(("gradmeter fit", "gradmeter evaluate")):
        line += " --repetitions 100"
    if line.startswith("gradmeter fit") and "--classifier" not in line:
        line += " --reads forward"  # `fit` of the page's Python compares it with gradients
    return re.sub(r"noise:\w+", r"\g<0>:30", line).replace("--risk 0.02", "--risk 0.3")


def digits() -> tuple[torch.Tensor, torch.Tensor]:
    """300 digits as the example's network reads them, with labels."""
    concept = load_embedded().digits.take(slice(300))
    assert concept.labels is not None
    images = torch.from_numpy(concept.images)[:, None].float() / 127.5 - 1
    return torch.nn.functional.interpolate(images, (32, 32)), torch.from_numpy(concept.labels)


def test_the_guide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    fit_quickly(monkeypatch)
    images, labels = digits()
    variables = {
        "validation_loader": DataLoader(TensorDataset(images[:150], labels[:150]), batch_size=100),
        "calibration_loader": DataLoader(TensorDataset(images[150:], labels[150:]), batch_size=100),
        "noise_loader": [torch.rand(50, 1, 32, 32)],
        "images": images[:50],
        "labels": torch.cat([labels[:25], torch.full((25,), -1)]),
    }
    for language, content in blocks("docs/guide.md"):
        if language == "python":
            # So few images guarantee no small risk.
            strict = "set_risk(0.05, calibration_loader"
            content = content.replace(strict, "set_risk(0.99, calibration_loader, least_probability=0")
            exec(content.replace(*NETWORKS), variables)
            continue
        for line in content.splitlines() if language == "sh" else ():
            if line.startswith("pip install"):
                continue  # .ci/run installs everything
            finished = run(line, tmp_path)
            assert finished.returncode == 0, f"{line}\n{finished.stdout}\n{finished.stderr}"
            print(f"$ {line}\n{finished.stdout}")
    assert (tmp_path / "evaluation/report.html").stat().st_size > 100_000
    assert (tmp_path / "verdicts.parquet").is_dir()
