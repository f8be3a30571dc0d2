"""What may go wrong in the middle: nothing is lost, nothing is there twice, and it is said."""

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
# A network that takes its time.
SLOW = """
import time, torch
from torch import nn
class Slow(nn.Flatten):
    def forward(self, x):
        time.sleep(1)
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
    monkeypatch.setattr(streaming, "BATCH", 3)


class Killed(BaseException):
    pass


def begin(folder: Path, out: Path, *, until: int) -> None:
    """Measure, and be killed after so many samples."""
    seen = 0

    def count(samples: int) -> None:
        nonlocal seen
        seen += samples
        if seen >= until:
            raise Killed

    with pytest.raises(Killed):
        measure(classifier(), open_source(str(folder), KIND), out, Work(on_progress=count))


def end(folder: Path, out: Path, work: Work | None = None) -> list[str]:
    """Measure to the end; the ids of the rows."""
    source = open_source(str(folder), KIND)
    measure(classifier(), source, out, work)
    return ids(out)


def ids(out: Path) -> list[str]:
    found: list[str] = pq.read_table(out)["id"].to_pylist()
    return found


def of_folder(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.glob("*/*.png"))


def manifest(out: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads((out / MANIFEST).read_text())
    return found


def test_a_loading_process_that_is_killed(folder: Path, tmp_path: Path) -> None:
    """On the command line; it is said in a line, and the same command ends what was begun."""
    (tmp_path / "mine.py").write_text(SLOW)
    options = ("mine:make", "data", "--image-size", "8", "--grey", "--no-labels", "--device", "cpu", "--out", "r")
    command = [*COMMAND, "measure", *options, "--workers", "1"]
    begun = subprocess.Popen(command, cwd=tmp_path, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)
    process, until = psutil.Process(begun.pid), time.monotonic() + 60
    while not (readers := [one for one in process.children() if one.num_threads() > 1]):
        assert time.monotonic() < until
        time.sleep(0.05)
    for one in readers:
        one.kill()
    _, said = begun.communicate(timeout=60)
    assert begun.returncode == 2
    assert said.splitlines()[-1].startswith("gradmeter: a process that reads samples ended (DataLoader worker ")
    done = gradmeter("measure", *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert ids(tmp_path / "r") == of_folder(folder)


@pytest.mark.parametrize("until", [3, 7, 14, 20])
def test_samples_that_come_and_go_between_start_and_resume(until: int, folder: Path, tmp_path: Path) -> None:
    """Some before, some after what was done; one of them was skipped, one is damaged."""
    (folder / "cat/02.png").write_bytes(b"no image")
    begin(folder, tmp_path / "r", until=until)
    done = MeasuredSet(tmp_path / "r").ids()
    for number in (0, 3, 8, 13, 22):
        next(folder.glob(f"*/{number:02}.png")).unlink()
    for name in ("cat/00a.png", "cat/99.png", "dog/05a.png", "dog/99.png"):
        save(folder / name, 77)
    (folder / "dog/00.png").write_bytes(b"neither")
    said: list[str] = []
    found = end(folder, tmp_path / "r", Work(on_note=said.append))
    damaged = {"cat/02.png", "dog/00.png"}
    gone = done - {*of_folder(folder)}
    assert len(found) == len({*found})
    assert {*found} == {*of_folder(folder)} - damaged | gone
    told = manifest(tmp_path / "r")
    assert told["rows"] == len(found)
    assert {one["id"] for one in told["skipped"]} == damaged  # type: ignore[attr-defined]
    assert {one["reason"] for one in told["skipped"]} == {"not an image in a supported format"}  # type: ignore[attr-defined]
    assert told["gone"] == sorted(gone)
    assert told["samples"] == len(of_folder(folder))
    assert any("gone since; what was read of" in note for note in said) == bool(gone)
    assert end(folder, tmp_path / "r") == found


def test_killed_twice_and_changed_each_time(folder: Path, tmp_path: Path) -> None:
    begin(folder, tmp_path / "r", until=8)
    save(folder / "cat/00a.png", 7)
    begin(folder, tmp_path / "r", until=13)
    # A part without its note, which may be of samples that are gone.
    shutil.copy(tmp_path / "r/part-00000.parquet", tmp_path / "r/part-00077.parquet")
    for path in folder.glob("dog/1*.png"):
        path.unlink()
    begin(folder, tmp_path / "r", until=15)
    save(folder / "dog/00a.png", 9)
    done = MeasuredSet(tmp_path / "r").ids()
    found = end(folder, tmp_path / "r")
    assert sorted(found) == sorted({*of_folder(folder)} | done)
    save(folder / "dog/00b.png", 9)
    assert sorted(end(folder, tmp_path / "r")) == sorted([*found, "dog/00b.png"])


def test_a_finished_run_goes_on_with_what_came(folder: Path, tmp_path: Path) -> None:
    first = end(folder, tmp_path / "r")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "r").glob("part-*")}
    save(folder / "cat/05.png", 7)
    said: list[str] = []
    assert end(folder, tmp_path / "r", Work(on_note=said.append)) == [*first, "cat/05.png"]
    assert said == [f"{folder}: 23 of 24 samples were done before"]
    assert all(path.stat().st_mtime_ns == when for path, when in before.items())


def table(path: Path, first: int, count: int) -> None:
    path.parent.mkdir(exist_ok=True)
    contents = []
    for number in range(first, first + count):
        save(path.parent / "one.png", number)
        contents.append((path.parent / "one.png").read_bytes())
    (path.parent / "one.png").unlink()
    pq.write_table(pa.table({"image": contents}), path)


def test_files_that_come_and_go_in_a_folder_of_tables(tmp_path: Path) -> None:
    for name, first in (("b", 0), ("d", 10)):
        table(tmp_path / f"data/{name}.parquet", first, 10)
    begin(tmp_path / "data", tmp_path / "r", until=14)
    done = MeasuredSet(tmp_path / "r").ids()
    table(tmp_path / "data/a.parquet", 30, 5)
    (tmp_path / "data/b.parquet").unlink()
    found = end(tmp_path / "data", tmp_path / "r")
    expected = {f"{name}.parquet:{row}" for name, rows in (("a", 5), ("d", 10)) for row in range(rows)} | done
    assert sorted(found) == sorted(expected)
    table(tmp_path / "data/a.parquet", 30, 6)  # its rows may be others now
    with pytest.raises(OutputError, match="the data changed since: samples came, went or were renamed"):
        end(tmp_path / "data", tmp_path / "r")


def test_an_archive_has_no_names(tmp_path: Path) -> None:
    """What is number 3 now may have been number 2."""
    np.savez(tmp_path / "a.npz", images=np.zeros((20, 8, 8), np.uint8))
    begin(tmp_path / "a.npz", tmp_path / "r", until=14)
    np.savez(tmp_path / "a.npz", images=np.zeros((21, 8, 8), np.uint8))
    with pytest.raises(OutputError, match=r"the data changed since: .* was 20, is 21; in a table .*\); choose"):
        end(tmp_path / "a.npz", tmp_path / "r")


def test_a_part_that_is_not_as_it_was_written(folder: Path, tmp_path: Path) -> None:
    """As after a power failure, or by somebody's hand."""
    begin(folder, tmp_path / "r", until=20)
    half = (tmp_path / "r/part-00000.parquet").read_bytes()
    (tmp_path / "r/part-00000.parquet").write_bytes(half[: len(half) // 2])
    (tmp_path / "r/part-00001.parquet").unlink()
    (tmp_path / "r/_part-00002.json").write_text('{"rows": 6, "by')
    assert end(folder, tmp_path / "r") == of_folder(folder)
    (tmp_path / "r/part-00003.parquet").write_bytes(half[:100])
    assert end(folder, tmp_path / "r") == of_folder(folder)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """150 KiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=150k", "none", place], capture_output=True)
    if mounted.returncode:
        pytest.skip("only root can mount a small disk")
    yield place
    subprocess.run(["umount", place], check=True)


def test_a_full_disk(folder: Path, small_disk: Path, tmp_path: Path) -> None:
    (small_disk / "other").write_bytes(bytes(90_000))
    with pytest.raises(OutputError, match=r"cannot write .*part-0000\d.* \(No space left on device\); make room"):
        end(folder, small_disk / "r")
    kept = sorted(MeasuredSet(small_disk / "r").ids())
    assert kept == of_folder(folder)[: len(kept)]
    assert 0 < len(kept) < COUNT
    assert not list((small_disk / "r").glob(".*"))
    (small_disk / "other").unlink()
    said: list[str] = []
    assert end(folder, small_disk / "r", Work(on_note=said.append)) == of_folder(folder)
    assert said == [f"{folder}: {len(kept)} of {COUNT} samples were done before"]
