import json
import platform

import pytest
import torch
from typer.testing import CliRunner

import gradmeter
from gradmeter import kernels
from gradmeter.cli.main import app


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
    shown = CliRunner().invoke(app, ["info"])
    assert shown.exit_code == 0
    assert shown.output.splitlines() == [f"{name:<11}{value}" for name, value in facts.items()]


def test_json(facts: dict[str, object]) -> None:
    shown = CliRunner().invoke(app, ["info", "--json"])
    assert shown.exit_code == 0
    assert json.loads(shown.output) == facts
