from collections.abc import Callable
from pathlib import Path

import pytest

from gradmeter.report.figures.saving import save
from gradmeter.research.speed_benchmark import page as module
from gradmeter.research.speed_benchmark.page import write_page
from gradmeter.research.speed_benchmark.results import SpeedResults

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("undrawn")]

Made = Callable[..., SpeedResults]


@pytest.fixture
def page(made: Made, tmp_path: Path) -> str:
    return write_page(made(), tmp_path).read_text(encoding="utf-8")


def cells(page: str, first: str) -> list[list[str]]:
    lines = [line for line in page.splitlines() if line.startswith(f"| {first} |")]
    return [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in lines]


def test_the_summary_marks_reached_targets(page: str) -> None:
    summary = next(line for line in page.splitlines() if line.startswith("| Paper CNN"))
    assert summary == "| Paper CNN, 28x28 | 1,000 | **0.40** | **0.40** | 0.5 | 0.33 | **0.50** | 2e-07 |"


def test_a_missed_target_is_not_bold(made: Made, tmp_path: Path) -> None:
    results = made()
    results.timings["paper-cnn"]["1"]["gradmeter"]["seconds"] = [0.6, 1.2, 2.4]
    results.probes["paper-cnn"]["gradmeter"]["memory"] = 130 * 2**20
    page = write_page(results, tmp_path).read_text(encoding="utf-8")
    assert "| Paper CNN, 28x28 | 1,000 | 0.60 | 0.60 | 0.5 | 0.33 | 1.30 |" in page


def test_every_method_has_a_row(page: str) -> None:
    expected = ["**gradmeter**", "8 statistics per layer", "1", "0.40", "0.35 to 0.45", "50 MiB", "0.50", "2e-07", "3"]
    assert cells(page, r"**gradmeter**") == [expected] * 4, "two networks, two numbers of threads"
    loop = ["batch-1 loop", "8 statistics per layer", "7", "7.00", "-", "5 MiB", "0.05", "3e-06", "1"]
    assert cells(page, "batch-1 loop") == [loop] * 4
    assert cells(page, "refusing") == [["refusing", "nothing", "fails", "-", "-", "-", "-", "-", "-"]] * 4


def test_errors_and_notes_follow_the_table(page: str) -> None:
    assert "\nrefusing fails: NotImplementedError: no \\| such layers\n" in page
    assert "\nbest T0: the same, tiled: tiles of 3.\n" in page
    assert "gradmeter / best T0: 0.80 (quartiles 0.70 to 0.90); target: 1.2." in page


def test_the_page_names_the_command_the_versions_and_the_machine(page: str) -> None:
    assert "```sh\ngradmeter bench\n```" in page
    assert "Measured on 2024-02-29 with gradmeter 1.2.3; torch 9.9." in page
    assert "P-1, 2 cores, 8.0 GiB of memory, Linux. Kernel: fast kernel." in page
    assert "## How it was measured" in page


def test_the_stream_of_images(page: str) -> None:
    assert "| 1,000 | 0.25 | 250.0 | 3 MiB |\n| 10,000 | 2.5 | 250.0 | 4 MiB |" in page


def test_an_error_in_the_stream_is_shown(made: Made, tmp_path: Path) -> None:
    results = made()
    results.stream["10000"] = {"error": "stopped"}
    assert "| 10,000 | stopped | - | - |" in write_page(results, tmp_path).read_text(encoding="utf-8")


def test_every_figure_of_the_page_is_written(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "save", save)
    page = write_page(made(), tmp_path).read_text(encoding="utf-8")
    names = [part.partition(")")[0] for part in page.split("](")[1:]]
    assert names == [f"figures/performance-{stem}.svg" for stem in ("paper-cnn", "tiny", "stream")]
    expected = {
        f"performance-{stem}.{end}" for stem in ("paper-cnn", "tiny", "stream", "overview") for end in ("svg", "png")
    }
    assert {path.name for path in (tmp_path / "figures").iterdir()} == expected
    assert all(line.endswith("|") for line in page.splitlines() if line.startswith("|"))
