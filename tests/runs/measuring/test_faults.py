"""Failures during a measurement: no sample is lost or measured twice, and the user is told."""

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import gradmeter.runs.measuring.filling as filling
import gradmeter.runs.measuring.streaming as streaming
from apps.cli.commands import COMMAND, ENVIRONMENT, gradmeter
from gradmeter.errors import OutputError
from gradmeter.runs.measuring import MeasuredSet, Work, measure
from gradmeter.sources.samples import open_source
from gradmeter.sources.samples.opening import MANIFEST
from runs.measuring.small import KIND, classifier
from sources.samples.pictures import save

pytestmark = pytest.mark.slow

COUNT = 23
# A network that takes a while for each batch.
SLOW = """
import time, torch
from torch import nn
class Slow(nn.Flatten):
    def forward(self, x):
        time.sleep(0.4)
        return super().forward(x)
def make():
    torch.manual_seed(0)
    return nn.Sequential(Slow(), nn.Linear(64, 3))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(COUNT):
        save(tmp_path / f"data/{'dog' if number % 2 else 'cat'}/{number:02}.png", 10 * number)
    return tmp_path / "data"


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "PART", 6)
    monkeypatch.setattr(filling, "BATCH", 3)


class Killed(BaseException):
    pass


def start(folder: Path, out: Path, *, until: int) -> None:
    """Measure, and interrupt that after `until` samples."""
    seen = 0

    def count(samples: int) -> None:
        nonlocal seen
        seen += samples
        if seen >= until:
            raise Killed

    with pytest.raises(Killed):
        measure(classifier(), open_source(str(folder), KIND), out, Work(on_progress=count))


def finish(folder: Path, out: Path, work: Work | None = None) -> list[str]:
    """Measure to the end; return the ids of the rows."""
    source = open_source(str(folder), KIND)
    measure(classifier(), source, out, work)
    return ids(out)


def ids(out: Path) -> list[str]:
    column: list[str] = pq.read_table(out)["id"].to_pylist()
    return column


def file_names(folder: Path) -> list[str]:
    """Ids of all samples of a folder, in order."""
    return sorted(str(path.relative_to(folder)) for path in folder.glob("*/*.png"))


def manifest(out: Path) -> dict[str, object]:
    content: dict[str, object] = json.loads((out / MANIFEST).read_text())
    return content


def test_a_loading_process_that_is_killed(folder: Path, tmp_path: Path) -> None:
    """The command exits with an error of one line, and the same command finishes the measurement."""
    (tmp_path / "mine.py").write_text(SLOW)
    options = ("mine:make", "data", "--image-size", "8", "--grey", "--no-labels", "--device", "cpu", "--out", "r")
    command = [*COMMAND, "measure", *options, "--workers", "1"]
    command_process = subprocess.Popen(command, cwd=tmp_path, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)
    process, until = psutil.Process(command_process.pid), time.monotonic() + 60
    while not (loaders := [child for child in process.children() if child.num_threads() > 1]):
        assert time.monotonic() < until
        time.sleep(0.05)
    for loader in loaders:
        loader.kill()
    _, stderr = command_process.communicate(timeout=60)
    assert command_process.returncode == 2
    last = stderr.splitlines()[-1]
    assert last.startswith("gradmeter: ")
    assert "DataLoader worker " in last
    assert "run the same command again" in last
    (tmp_path / "mine.py").write_text(SLOW.replace("sleep(0.4)", "sleep(0)"))
    done = gradmeter("measure", *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert ids(tmp_path / "r") == file_names(folder)


@pytest.mark.parametrize("until", [3, 7, 14, 20])
def test_samples_are_added_and_removed_between_start_and_resume(until: int, folder: Path, tmp_path: Path) -> None:
    """Before and after those that were done; one was skipped earlier, and a new one is damaged."""
    (folder / "cat/02.png").write_bytes(b"no image")
    start(folder, tmp_path / "r", until=until)
    done = MeasuredSet(tmp_path / "r").ids()
    for number in (0, 3, 8, 13, 22):
        next(folder.glob(f"*/{number:02}.png")).unlink()
    for name in ("cat/00a.png", "cat/99.png", "dog/05a.png", "dog/99.png"):
        save(folder / name, 77)
    (folder / "dog/00.png").write_bytes(b"neither")
    notes: list[str] = []
    rows = finish(folder, tmp_path / "r", Work(on_note=notes.append))
    damaged = {"cat/02.png", "dog/00.png"}
    gone = done - {*file_names(folder)}
    assert len(rows) == len({*rows})
    assert {*rows} == {*file_names(folder)} - damaged | gone
    content = manifest(tmp_path / "r")
    assert content["rows"] == len(rows)
    assert {sample["id"] for sample in content["skipped"]} == damaged  # type: ignore[attr-defined]
    assert all(sample["reason"] for sample in content["skipped"])  # type: ignore[attr-defined]
    assert content["gone"] == sorted(gone)
    assert content["samples"] == len(file_names(folder))
    assert any(f": {len(gone)} earlier sample" in note for note in notes) == bool(gone)
    assert finish(folder, tmp_path / "r") == rows


def test_killed_twice_and_changed_each_time(folder: Path, tmp_path: Path) -> None:
    start(folder, tmp_path / "r", until=8)
    save(folder / "cat/00a.png", 7)
    start(folder, tmp_path / "r", until=13)
    # A part without a note: its samples may no longer exist.
    shutil.copy(tmp_path / "r/part-00000.parquet", tmp_path / "r/part-00077.parquet")
    for path in folder.glob("dog/1*.png"):
        path.unlink()
    start(folder, tmp_path / "r", until=15)
    save(folder / "dog/00a.png", 9)
    done = MeasuredSet(tmp_path / "r").ids()
    rows = finish(folder, tmp_path / "r")
    assert sorted(rows) == sorted({*file_names(folder)} | done)
    save(folder / "dog/00b.png", 9)
    assert sorted(finish(folder, tmp_path / "r")) == sorted([*rows, "dog/00b.png"])


def test_a_finished_run_continues_with_new_samples(folder: Path, tmp_path: Path) -> None:
    first = finish(folder, tmp_path / "r")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "r").glob("part-*")}
    save(folder / "cat/05.png", 7)
    notes: list[str] = []
    assert finish(folder, tmp_path / "r", Work(on_note=notes.append)) == [*first, "cat/05.png"]
    assert len(notes) == 1
    assert notes[0].startswith(f"{folder}: 23 of 24 ")
    assert all(path.stat().st_mtime_ns == when for path, when in before.items())


def table(path: Path, first: int, count: int) -> None:
    """Write a table of `count` images."""
    path.parent.mkdir(exist_ok=True)
    contents = []
    for number in range(first, first + count):
        save(path.parent / "one.png", number)
        contents.append((path.parent / "one.png").read_bytes())
    (path.parent / "one.png").unlink()
    pq.write_table(pa.table({"image": contents}), path)


def test_files_are_added_and_removed_in_a_folder_of_tables(tmp_path: Path) -> None:
    for name, first in (("b", 0), ("d", 10)):
        table(tmp_path / f"data/{name}.parquet", first, 10)
    start(tmp_path / "data", tmp_path / "r", until=14)
    done = MeasuredSet(tmp_path / "r").ids()
    table(tmp_path / "data/a.parquet", 30, 5)
    (tmp_path / "data/b.parquet").unlink()
    rows = finish(tmp_path / "data", tmp_path / "r")
    expected = {f"{name}.parquet:{row}" for name, count in (("a", 5), ("d", 10)) for row in range(count)} | done
    assert sorted(rows) == sorted(expected)
    table(tmp_path / "data/a.parquet", 30, 6)  # its rows may have changed
    with pytest.raises(OutputError, match=r"modified since \(a\.parquet\)"):
        finish(tmp_path / "data", tmp_path / "r")


def test_an_archive_has_no_names(tmp_path: Path) -> None:
    """Rows have no names: row 3 may have been row 2 before."""
    np.savez(tmp_path / "a.npz", images=np.zeros((20, 8, 8), np.uint8))
    start(tmp_path / "a.npz", tmp_path / "r", until=14)
    np.savez(tmp_path / "a.npz", images=np.zeros((21, 8, 8), np.uint8))
    with pytest.raises(OutputError, match=r"\b20\b.*\b21\b"):
        finish(tmp_path / "a.npz", tmp_path / "r")


def test_damaged_parts_are_measured_again(folder: Path, tmp_path: Path) -> None:
    """Damaged by a power failure, or by a user."""
    start(folder, tmp_path / "r", until=20)
    half = (tmp_path / "r/part-00000.parquet").read_bytes()
    (tmp_path / "r/part-00000.parquet").write_bytes(half[: len(half) // 2])
    (tmp_path / "r/part-00001.parquet").unlink()
    (tmp_path / "r/_part-00002.json").write_text('{"rows": 6, "by')
    assert finish(folder, tmp_path / "r") == file_names(folder)
    (tmp_path / "r/part-00003.parquet").write_bytes(half[:100])
    assert finish(folder, tmp_path / "r") == file_names(folder)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 200 KiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200k", "none", place], capture_output=True)
    if mounted.returncode:
        pytest.skip("only root can mount a small disk")
    yield place
    subprocess.run(["umount", place], check=True)


def test_a_full_disk(folder: Path, small_disk: Path, tmp_path: Path) -> None:
    (small_disk / "other").write_bytes(bytes(140_000))
    with pytest.raises(OutputError, match=r"part-0000\d.*No space left on device"):
        finish(folder, small_disk / "r")
    kept = sorted(MeasuredSet(small_disk / "r").ids())
    assert kept == file_names(folder)[: len(kept)]
    assert 0 < len(kept) < COUNT
    assert not list((small_disk / "r").glob(".*"))
    (small_disk / "other").unlink()
    notes: list[str] = []
    assert finish(folder, small_disk / "r", Work(on_note=notes.append)) == file_names(folder)
    assert len(notes) == 1
    assert notes[0].startswith(f"{folder}: {len(kept)} of {COUNT} ")
