"""Every command and every Python block of the guide runs, in order, in one folder, on fewer images.

A network with fewer layers takes the place of ResNet-18, with which tests/docs/test_commands.py runs the README.
"""

import json
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import timm
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
    if is_default_fit(line):
        line += " --json --reads forward"  # `fit` of the page's Python compares it with gradients
    return re.sub(r"noise:\w+", r"\g<0>:30", line).replace("--risk 0.02", "--risk 0.3")


def is_default_fit(line: str) -> bool:
    return line.startswith("gradmeter fit") and "--classifier" not in line


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
    printed = dict[str, str]()
    for language, content in blocks("docs/guide.md"):
        if language == "python":
            # So few images guarantee no small risk.
            strict = "set_risk(0.05, calibration_loader"
            content = content.replace(strict, "set_risk(0.99, calibration_loader, least_probability=0")
            exec(content.replace(*NETWORKS), variables)
            continue
        if language == "text":
            check_lines(content, printed["gradmeter judge trust digits/test/7"])
        for line in content.splitlines() if language == "sh" else ():
            if line.startswith("pip install"):
                continue  # .ci/run installs everything
            finished = run(line, tmp_path)
            assert finished.returncode == 0, f"{line}\n{finished.stdout}\n{finished.stderr}"
            printed[line] = finished.stdout
            print(f"$ {line}\n{finished.stdout}")
    assert (tmp_path / "evaluation/report.html").stat().st_size > 100_000
    assert (tmp_path / "verdicts.parquet").is_dir()
    (fitted,) = [json.loads(text) for line, text in printed.items() if is_default_fit(line)]
    assert fitted["known"]["accuracy"] > 0.5, "the network was trained with another preprocessing"
    check_names(variables, fitted)
    check_columns({*variables["frame"].columns})


def check_lines(quoted: str, printed: str) -> None:
    """Check that quoted lines of `judge` have the form of printed ones, and name layers of the guide's network."""

    def form(line: str) -> str:
        numbers = re.split("accept|abstain", line)[0]
        return re.sub("[<>]", "=", re.sub(r"\d", "0", numbers))  # small and large ones are bounds

    layers = dict(timm.create_model(NETWORKS[0]).named_modules())
    (expected,) = {form(line) for line in printed.splitlines()}
    for line in quoted.splitlines():
        assert form(line) == expected
        decision = re.fullmatch(r".*  (accept|abstain \(doubtful\)|abstain \(unfamiliar: (.+)\))", line)
        assert decision is not None, line
        assert decision[2] is None or decision[2] in layers


def check_names(variables: dict[str, Any], fitted: dict[str, Any]) -> None:
    """Check that the attributes of `trust` and the keys of `fit --json` that the guide names exist."""
    guide = " ".join((ROOT / "docs/guide.md").read_text().split())
    attributes = {*re.findall(r"`(trust\.[\w.]+)", guide)}
    assert len(attributes) > 2
    for attribute in attributes:
        eval(attribute, variables)
    keys = {*re.findall(r"`(\w+)`[^`()]{0,40}with `--json`", guide)}
    assert len(keys) > 2
    assert keys <= {*fitted}


def check_columns(columns: set[str]) -> None:
    """Check the columns of readings that the guide names; there are more of each kind, for other layers."""
    table = (ROOT / "docs/guide.md").read_text().partition("| column | what it holds |")[2].partition("\n\n")[0]
    named = [name for line in table.splitlines()[2:] for name in re.findall(r"`([^`]+)`", line.split("|")[1])]
    assert len(named) > 10
    assert {*named} <= columns | {"label"}
    kinds = {re.sub(r"[^:/]+/.*", "", column) for column in columns}
    assert kinds == {re.sub(r"[^:/]+/.*", "", name) for name in named}
