import json
import platform
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import gradmeter
from apps.cli.commands import gradmeter as gradmeter_command
from gradmeter.apps.cli.commands import app
from gradmeter.reading import kernels

pytestmark = pytest.mark.slow


@pytest.fixture
def facts(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    monkeypatch.setattr(kernels, "description", lambda: "x86-64-v4 kernel: built")
    return {
        "gradmeter": gradmeter.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "kernel": "x86-64-v4 kernel: built",
        "threads": torch.get_num_threads(),
    }


def test_an_aligned_list(facts: dict[str, object]) -> None:
    process = CliRunner().invoke(app, ["info"])
    assert process.exit_code == 0
    assert process.output.splitlines() == [f"{name:<11}{value}" for name, value in facts.items()]


def test_json(facts: dict[str, object]) -> None:
    process = CliRunner().invoke(app, ["info", "--json"])
    assert process.exit_code == 0
    assert json.loads(process.output) == facts


LAYERS = """
import torch
from torch import nn


class Prototypes(nn.Module):
    def __init__(self):
        super().__init__()
        self.add_module("a\\x1b[31m[red]:x:", nn.Linear(75, 4))
        self.w = nn.Parameter(torch.randn(5, 4))

    def forward(self, x):
        return -torch.cdist(next(self.children())(x.flatten(1)), self.w)


def make():
    return Prototypes()


def broken():
    return nn.Sequential(nn.Flatten(), nn.Linear(3, 4))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "layers.py").write_text(LAYERS)
    return tmp_path


def test_the_ways_of_a_network(folder: Path) -> None:
    process = gradmeter_command("info", "layers:make", "--image-size", 5, cwd=folder)
    assert (process.returncode, process.stderr) == (0, "")
    lines = [line.split() for line in process.stdout.splitlines()]
    assert ["root", "sample", "by", "sample"] in [[*words[:1], *words[3:6]] for words in lines]
    # Control characters in a name of the user are escaped.
    (row,) = [words for words in lines if words and words[0].startswith("a")]
    assert row[0] == r"a\x1b[31m[red]:x:"
    assert row[1:5] == ["AddmmBackward0", "1", "rule", "304"]
    assert "\x1b" not in process.stdout


def test_the_ways_of_a_network_as_json(folder: Path) -> None:
    process = gradmeter_command("info", "layers:make", "--image-size", 5, "--json", cwd=folder)
    model = json.loads(process.stdout)["model"]
    assert model["name"] == "layers:make"
    assert model["samples"] == 8
    assert {(row["way"], row["calls"], row["parameters"]) for row in model["layers"]} == {
        ("sample by sample", 1, 20),
        ("rule", 1, 304),
    }
    assert model["layers"][1]["layer"] == "a\x1b[31m[red]:x:"
    assert model["seconds"] >= model["rest"] > 0
    assert model["plain_seconds"] > 0


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["layers:broken", "--image-size", 5], "layers:broken"),
        (["layers:make", "--image-size", 6], "layers:make"),
        (["layers:none"], "none"),
        (["--grey"], "MODEL"),
        (["--image-size", 5], "MODEL"),
    ],
)
def test_bad_input_is_one_line(arguments: list[object], named: str, folder: Path) -> None:
    process = gradmeter_command("info", *arguments, cwd=folder)
    assert (process.returncode, process.stdout) == (2, "")
    (line,) = process.stderr.splitlines()
    assert named in line


def test_a_slow_layer_is_named_in_one_line(folder: Path) -> None:
    process = gradmeter_command("measure", "layers:make", "noise:uniform:20", "--image-size", 5, cwd=folder)
    assert process.returncode == 0
    (line,) = [line for line in process.stderr.splitlines() if "Backward0" in line]
    assert line.startswith("gradmeter: layer 'root'")
    assert "SlowLayerWarning" not in process.stderr
