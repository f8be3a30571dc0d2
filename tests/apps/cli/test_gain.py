from pathlib import Path
from typing import Any

import pytest

from apps.cli.commands import gradmeter, in_this_process
from gradmeter.research.gradient_gain import experiment
from gradmeter.research.gradient_gain.experiment import GainExperiment
from research.ood_benchmark.archives import write_archives

pytestmark = pytest.mark.slow


def test_help(tmp_path: Path) -> None:
    process = gradmeter("gain", "--help", cwd=tmp_path)
    assert process.returncode == 0
    for option in ("--data", "--networks", "--out", "--subject", "--share", "--workers", "--fresh"):
        assert option in process.stdout


def test_wrong_names_and_folders_are_one_line(tmp_path: Path) -> None:
    for arguments, named in (
        (("--data", tmp_path, "--subject", "resnet21"), "'resnet21'"),
        (("--data", tmp_path, "--subject", "resnet20"), "cifar10_test.npz"),
        (("--data", tmp_path, "--subject", "paper"), "emnist_digits.npz"),
        (("--data", "nowhere"), "--data nowhere"),
        (("--data", tmp_path, "--share", "0"), "share=0"),
    ):
        process = gradmeter("gain", *arguments, cwd=tmp_path)
        assert process.returncode == 2
        assert process.stderr.startswith("gradmeter: ")
        assert named in process.stderr
        assert process.stderr.count("\n") == 1
        assert list(tmp_path.iterdir()) == []


def test_the_experiment_of_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """tests/research/gradient_gain/test_experiment.py runs such an experiment."""
    (tmp_path / "data").mkdir()
    write_archives(tmp_path / "data")
    calls = []

    def run(given: GainExperiment, folder: Path, **options: Any) -> Path:
        assert options.pop("console").stderr
        calls.append((given, folder, options))
        return folder / "gradients.md"

    monkeypatch.setattr(experiment, "run_experiment", run)
    options = ("--subject", "perceptron", "--share", "0.04")
    process = in_this_process("gain", "--data", "data", "--out", "out", *options, "--workers", 2, cwd=tmp_path)
    assert process.returncode == 0, process.stderr
    assert process.stdout.endswith(" out/gradients.md\n")
    monkeypatch.chdir(tmp_path)
    command = "gradmeter gain --data data --out out --subject perceptron --share 0.04 --workers 2"
    expected = GainExperiment(command, Path("data"), None, ("perceptron",), 0.04)
    assert calls == [(expected, Path("out"), {"workers": 2, "fresh": False})]
