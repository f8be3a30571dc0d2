from pathlib import Path
from typing import Any

import pytest

from apps.cli.commands import gradmeter, in_this_process
from gradmeter.research.ood_benchmark import benchmark
from gradmeter.research.ood_benchmark.benchmark import DetectionBenchmark
from research.ood_benchmark.archives import write_archives

pytestmark = pytest.mark.slow


def test_help(tmp_path: Path) -> None:
    process = gradmeter("compare", "--help", cwd=tmp_path)
    assert process.returncode == 0
    for option in (
        "--data",
        "--out",
        "--task",
        "--networks",
        "--detector",
        "--runs",
        "--share",
        "--controls",
        "--workers",
        "--fresh",
    ):
        assert option in process.stdout


def test_wrong_names_and_folders_are_one_line(tmp_path: Path) -> None:
    for arguments, named in (
        (("--data", tmp_path, "--task", "digit"), "'digit'"),
        (("--data", tmp_path, "--detector", "msp"), "'msp'"),
        (("--data", "nowhere"), "--data nowhere"),
        (("--data", tmp_path, "--share", "0"), "share=0"),
        (("--data", tmp_path, "--task", "cifar10"), "--networks"),
        (("--data", tmp_path, "--networks", tmp_path), "--task cifar10"),
        (("--data", tmp_path, "--networks", tmp_path, "--task", "cifar10"), "cifar10_test.npz"),
    ):
        process = gradmeter("compare", *arguments, cwd=tmp_path)
        assert process.returncode == 2
        assert process.stderr.startswith("gradmeter: ")
        assert named in process.stderr
        assert process.stderr.count("\n") == 1
        assert list(tmp_path.iterdir()) == []


def test_the_benchmark_of_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """tests/research/ood_benchmark/test_benchmark.py runs such a benchmark, test_own_detector.py one by a command."""
    (tmp_path / "data").mkdir()
    write_archives(tmp_path / "data")
    calls = []

    def run(given: DetectionBenchmark, folder: Path, **options: Any) -> list[Path]:
        assert options.pop("console").stderr
        calls.append((given, folder, options))
        return [folder / "benchmark.md"]

    monkeypatch.setattr(benchmark, "compare", run)
    options = ("--task", "digits", "--detector", "MSP", "--runs", "1", "--share", "0.6", "--no-controls", "--fresh")
    process = in_this_process("compare", "--data", "data", "--out", "out", *options, cwd=tmp_path)
    assert process.returncode == 0, process.stderr
    assert process.stdout.endswith(" out/benchmark.md\n")
    monkeypatch.chdir(tmp_path)
    command = "gradmeter compare --data data --out out --task digits --detector MSP --runs 1 --share 0.6"
    expected = DetectionBenchmark(
        f"{command} --no-controls --fresh", Path("data"), ("digits",), ("MSP",), 1, 0.6, controls=False
    )
    assert calls == [(expected, Path("out"), {"workers": 1, "fresh": True})]
