"""gradmeter bench: its options, its errors, and a small run in a process of its own."""

import json
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from apps.cli.commands import ENVIRONMENT
from forked import Forked
from gradmeter.apps.cli import main
from research.speed_benchmark.tiny import main_with_tiny

pytestmark = pytest.mark.slow

SMALL = ("--models", "tiny", "--methods", "gradmeter,loop", "--threads", "1", "--repeats", "2")


def refused(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: object) -> str:
    monkeypatch.setattr(sys, "argv", ["gradmeter", "bench", *map(str, arguments)])
    with pytest.raises(SystemExit) as caught:
        main()
    output = capsys.readouterr()
    assert caught.value.code == 2
    assert output.out == ""
    assert output.err.startswith("gradmeter: ")
    assert output.err.count("\n") == 1
    return output.err


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--models", "alexnet"), "'alexnet'"),
        (("--models", ","), "paper-cnn"),
        (("--models", "paper-cnn", "--methods", "magic"), "'magic'"),
        (("--methods", ","), "no method ''"),
        (("--models", "paper-cnn", "--methods", "plain", "--repeats", 0), "repeats=0"),
        (("--models", "paper-cnn", "--methods", "plain", "--threads", "1,0"), "threads"),
        (("--threads", "two"), "--threads two"),
        (("--repeats", "many"), "--repeats"),
    ],
)
def test_wrong_options(
    arguments: tuple[object, ...],
    named: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert named in refused(capsys, monkeypatch, *arguments)
    assert list(tmp_path.iterdir()) == []


def test_without_the_extra_the_package_and_the_way_out_are_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in [name for name in sys.modules if name.startswith(("gradmeter.research.speed_benchmark", "matplotlib"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    error = refused(capsys, monkeypatch, "--out", tmp_path / "out")
    assert "package matplotlib" in error
    assert 'pip install "gradmeter[bench]"' in error
    assert not (tmp_path / "out").exists()


def start(*arguments: object) -> Forked:
    words = ["bench", *map(str, arguments)]
    return Forked(main_with_tiny, words, cwd=None, env=ENVIRONMENT, own_group=True)


def finish(process: Forked) -> tuple[int | None, str, str]:
    with process:
        out, err = process.communicate(timeout=120)
        return process.returncode, out, err


@pytest.mark.exhaustive
def test_killed_stopped_finished_and_asked_again(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    command, page = (*SMALL, "--out", folder), folder / "performance.md"
    for how in (signal.SIGKILL, signal.SIGINT):
        (folder / "results.json").unlink(missing_ok=True)
        process = start(*command)
        end = time.monotonic() + 60
        while not (folder / "results.json").exists() and time.monotonic() < end:
            time.sleep(0.01)
        os.killpg(process.pid, how)
        code, out, err = finish(process)
    assert (code, err) == (130, "")
    assert out.count("\n") == 1
    first = finish(start(*command))
    assert (first[0], first[2]) == (0, "")
    assert first[1].endswith(f" {page}\n")
    assert json.loads((folder / "results.json").read_text())["probes"]["tiny"]["gradmeter"]["disagreement"] < 1e-5
    assert "gradmeter bench --models tiny" in page.read_text()
    assert not list(folder.glob(".*.partial"))
    again = finish(start(*command))
    assert (again[0], again[2]) == (0, "")
    assert again[1].endswith(f" {page}\n")
    assert again[1] != first[1]  # says that there was nothing to do
