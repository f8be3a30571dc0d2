from pathlib import Path

import pytest

from apps.cli.commands import gradmeter
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
        (("--data", tmp_path, "--subject", "resnet20"), "--networks"),
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


def test_the_page_from_the_command(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    write_archives(tmp_path / "data")
    options = ("--subject", "perceptron", "--share", "0.04")
    process = gradmeter("gain", "--data", "data", "--out", "out", *options, cwd=tmp_path)
    assert process.returncode == 0, process.stderr
    assert process.stdout.endswith(" out/gradients.md\n")
    assert "--subject perceptron --share 0.04" in (tmp_path / "out" / "gradients.md").read_text(encoding="utf-8")
