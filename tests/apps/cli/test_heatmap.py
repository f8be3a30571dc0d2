"""gradmeter heatmap in processes of its own."""

import json
from pathlib import Path

import pytest

from apps.cli.commands import gradmeter
from sources.samples.pictures import save

pytestmark = pytest.mark.slow

NETWORK = """
from torch import nn

def make():
    return nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.ReLU(), nn.Conv2d(4, 3, 1))
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with images, one of them damaged, and a module with a network."""
    for number in range(3):
        save(tmp_path / f"images/{number}.png", 40 * number, 40)
    (tmp_path / "images/2.png").write_bytes(b"no image")
    (tmp_path / "images/3.png").symlink_to("absent.png")
    (tmp_path / "network.py").write_text(NETWORK)
    return tmp_path


def test_maps_of_a_folder(place: Path) -> None:
    arguments = ("heatmap", "network:make", "images", "--out", "maps", "--layer", "0", "--npz", "--image-size", "32")
    process = gradmeter(*arguments, cwd=place)
    # The network's weights are random in every run.
    assert process.returncode == 0, process.stderr
    assert process.stdout == "2 maps, skipped 1: maps\n"
    assert "skipped 2.png: " in process.stderr
    assert "left out 1 dangling link (3.png)" in process.stderr
    assert {path.name for path in (place / "maps").glob("*.p*")} >= {"0.png.png", "1.png.png"}
    again = gradmeter(*arguments, "--fresh", "--json", cwd=place)
    record = json.loads(again.stdout)
    assert record["maps"] == 2
    assert record["skipped"][0]["id"] == "2.png"


@pytest.mark.parametrize(
    "options", [("--low", "1"), ("--layer", "nonsense"), ("--statistic", "median"), ("--low", "2", "--high", "1")]
)
def test_invalid_options_in_one_line(place: Path, options: tuple[str, ...]) -> None:
    process = gradmeter("heatmap", "network:make", "images", *options, cwd=place)
    assert process.returncode == 2
    assert len([line for line in process.stderr.strip().splitlines() if "left out 1 dangling link" not in line]) == 1


def test_a_classifier_is_refused(place: Path) -> None:
    process = gradmeter("heatmap", "torchvision:resnet18", "images", cwd=place)
    assert process.returncode == 2
    assert "deeplabv3_mobilenet_v3_large" in process.stderr
