from pathlib import Path

import pytest

from apps.cli.commands import gradmeter

pytestmark = pytest.mark.slow


def test_help(tmp_path: Path) -> None:
    process = gradmeter("label-study", "--help", cwd=tmp_path)
    assert process.returncode == 0
    for option in ("--data", "--networks", "--out", "--group", "--share", "--workers", "--fresh"):
        assert option in process.stdout


def test_wrong_names_and_folders_are_one_line(tmp_path: Path) -> None:
    for arguments, named in (
        (("--data", tmp_path, "--group", "digit"), "'digit'"),
        (("--data", tmp_path, "--group", "resnet-44-56"), "cifar10_test.npz"),
        (("--data", "nowhere"), "--data nowhere"),
        (("--data", tmp_path, "--share", "0"), "share=0"),
    ):
        process = gradmeter("label-study", *arguments, cwd=tmp_path)
        assert process.returncode == 2
        assert process.stderr.startswith("gradmeter: ")
        assert named in process.stderr
        assert process.stderr.count("\n") == 1
        assert list(tmp_path.iterdir()) == []
