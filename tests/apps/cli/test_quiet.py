"""Progress of commands if standard error is not a terminal."""

import json
import re
import subprocess
from pathlib import Path

import pytest

import forked
from apps.cli.commands import ENVIRONMENT, eager_main, gradmeter
from runs.measuring.test_faults import SLOW
from sources.samples.pictures import save

pytestmark = pytest.mark.slow

SLOWLY = ("measure", "mine:make", "data", "--image-size", "8", "--grey", "--no-labels", "--device", "cpu")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A network that needs a while per batch, and images, one of them damaged."""
    (tmp_path / "mine.py").write_text(SLOW.replace("sleep(0.4)", "sleep(0.25)"))
    for number in range(3):
        save(tmp_path / f"data/{number}.png", 40 * number)
    (tmp_path / "data/bad.png").write_bytes(b"no image")
    return tmp_path


def often(*arguments: str, cwd: Path) -> "subprocess.CompletedProcess[str]":
    return forked.run(eager_main, arguments, cwd=cwd, env=ENVIRONMENT)


def test_plain_lines_and_json_of_its_own(place: Path) -> None:
    process = often(*SLOWLY, "--json", cwd=place)
    assert process.returncode == 0, process.stderr
    assert json.loads(process.stdout)["measured"] == 3
    lines = process.stderr.splitlines()
    assert any(line.startswith("skipped bad.png: ") for line in lines)
    assert any(re.fullmatch(r"measuring data: 0 % \(0 of 4\), \d:\d\d:\d\d so far", line) for line in lines), lines
    assert "\x1b" not in process.stderr


def test_quiet_says_what_is_wrong_and_nothing_else(place: Path) -> None:
    process = often(*SLOWLY, "--quiet", cwd=place)
    assert process.returncode == 0
    assert process.stderr.startswith("skipped bad.png: ")
    assert process.stderr.count("\n") == 1
    assert process.stdout.startswith("Measured 3 samples, skipped 1.")
    wrong = often(*SLOWLY, "-q", "--out", "data", cwd=place)
    assert wrong.returncode == 2
    assert wrong.stderr.count("\n") == 1
    assert wrong.stderr.startswith("gradmeter: data ")


@pytest.mark.parametrize(
    "command", ["measure", "fit", "evaluate", "judge", "demo", "reproduce", "compare", "gain", "label-study", "bench"]
)
def test_every_command_that_shows_progress_can_be_quiet(command: str, tmp_path: Path) -> None:
    assert "--quiet" in gradmeter(command, "--help", cwd=tmp_path).stdout
