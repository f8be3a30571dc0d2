"""gradmeter pixels in processes of its own."""

import json
from pathlib import Path
from unittest import mock

import pytest

from apps.cli.commands import gradmeter, in_this_process
from apps.workflows.test_anomalies import write_folder
from research.street.archive import write_street

pytestmark = pytest.mark.slow

NETWORK = """
import torch
from torch import nn

def make():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(4, 3, 1))
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with a network, and a folder in the form of SegmentMeIfYouCan."""
    write_folder(tmp_path / "road")
    (tmp_path / "network.py").write_text(NETWORK)
    return tmp_path


def test_help_of_the_group_and_of_its_commands(tmp_path: Path) -> None:
    group = in_this_process("pixels", "--help", cwd=tmp_path)
    assert group.returncode == 0
    for name, options in (
        ("study", ("--data", "--out", "--networks", "--workers", "--fresh", "--quiet")),
        ("anomalies", ("--out", "--weights", "--layer", "--image-size", "--device", "--fresh", "--json")),
    ):
        assert name in group.stdout
        process = in_this_process("pixels", name, "--help", cwd=tmp_path)
        assert process.returncode == 0
        assert all(option in process.stdout for option in options)


def test_anomalies_of_a_folder(place: Path) -> None:
    arguments = ("pixels", "anomalies", "network:make", "road", "--out", "out", "--layer", "0")
    process = gradmeter(*arguments, cwd=place)
    assert process.returncode == 0, process.stderr
    assert process.stdout == "Scored 3 images, skipped 1: out/anomalies.md\n"
    assert "skipped unlabelled.png: " in process.stderr
    assert "l2, uniform, 0" in (place / "out/anomalies.md").read_text(encoding="utf-8")
    again = json.loads(in_this_process(*arguments, "--json", cwd=place).stdout)
    assert (again["images"], again["skipped"][0]["id"]) == (3, "unlabelled.png")
    assert 0 < again["scores"]["entropy"]["aupr"]["value"] < 1


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("anomalies", "network:make", "nowhere"), "nowhere"),
        (("anomalies", "network:make", "road/images"), "no folder images"),
        (("anomalies", "network:make", "road", "--layer", "nonsense"), "'nonsense'"),
        (("anomalies", "network:make", "road", "--out", "road/images/out"), "road"),
        (("anomalies", "resnet18", "road"), "resnet18"),
        (("study", "--data", "nowhere"), "nowhere"),
        (("study", "--data", "road"), "camvid.npz"),
        (("study", "--data", "road", "--networks", "0"), "--networks"),
        (("stduy", "--data", "road"), "stduy"),
    ],
)
def test_wrong_arguments_are_one_line(place: Path, arguments: tuple[str, ...], named: str) -> None:
    process = in_this_process("pixels", *arguments, cwd=place)
    assert process.returncode == 2
    assert named in process.stderr
    assert len(process.stderr.strip().splitlines()) == 1


def test_the_study_from_the_command(tmp_path: Path) -> None:
    """What the command passes on; tests/research/street/test_study.py runs the study."""
    write_street(tmp_path / "data")
    with mock.patch("gradmeter.research.street.study.run_study", return_value=Path("out/street.md")) as run:
        arguments = (
            "pixels",
            "study",
            "--data",
            "data",
            "--out",
            "out",
            "--networks",
            "2",
            "--workers",
            "3",
            "--fresh",
        )
        process = in_this_process(*arguments, cwd=tmp_path)
    assert process.returncode == 0, process.stderr
    assert process.stdout == "The study is finished. Results: out/street.md\n"
    (study, out), options = run.call_args
    assert (study.command, study.data, study.networks) == (f"gradmeter {' '.join(arguments)}", Path("data"), 2)
    assert (out, options["workers"], options["fresh"]) == (Path("out"), 3, True)
