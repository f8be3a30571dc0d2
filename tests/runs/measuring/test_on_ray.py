"""A Ray cluster writes the same rows as one process, even if workers are killed."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gradmeter import GradientMeter
from gradmeter.errors import DataError, GradmeterError, InputError
from gradmeter.reading.readings import Readings
from gradmeter.runs.engines import ray as engine
from gradmeter.runs.engines.processes import WorkerError
from gradmeter.runs.measuring import MeasuredSet, Skipped, Work, measure, on_ray
from gradmeter.runs.measuring.loading import Batch
from gradmeter.runs.measuring.on_ray import part_size
from gradmeter.runs.measuring.reader import Reader
from gradmeter.runs.measuring.streaming import stream
from gradmeter.sources.samples import Source, open_source
from gradmeter.sources.samples.opening import MANIFEST
from runs.measuring import small
from runs.measuring.small import KIND, classifier
from sources.samples.pictures import save

ray = pytest.importorskip("ray", reason="the extra ray is not installed")

COUNT, DAMAGED = 60, ("cat/04.png", "dog/11.png")
# Ray leaves files open, and forks while threads run.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    """Two cores on this machine; classes of the tests are pickled by value, because workers cannot import them."""
    from ray import cloudpickle

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    for module in (sys.modules[__name__], small):
        cloudpickle.register_pickle_by_value(module)
    yield
    ray.shutdown()


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_ray, "PART", 8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(COUNT):
        save(tmp_path / f"data/{'dog' if number % 2 else 'cat'}/{number:02}.png", 4 * number)
    (tmp_path / "data/cat/04.png").write_bytes(b"no image")
    (tmp_path / "data/dog/11.png").write_bytes((tmp_path / "data/dog/11.png").read_bytes()[:45])
    return tmp_path / "data"


def opened(folder: Path) -> Source:
    return open_source(str(folder), KIND)


def assert_same_rows(folder: Path, expected_folder: Path) -> None:
    """Ids and labels must be equal, and numbers close: rounding depends on the number of threads."""
    table, expected = pq.read_table(folder), pq.read_table(expected_folder)
    assert table.schema.equals(expected.schema)
    for name in table.column_names:
        if pa.types.is_floating(table[name].type):
            # A kurtosis near 0 is a difference of numbers near 3.
            np.testing.assert_allclose(
                table[name].to_numpy(), expected[name].to_numpy(), rtol=1e-5, atol=1e-5, err_msg=name
            )
        elif not pa.types.is_nested(table[name].type):
            assert table[name].equals(expected[name]), name


def test_the_same_rows_as_in_one_process(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read by two Ray data sets, as for millions of parts."""
    monkeypatch.setattr(engine, "_MOST_TASKS", 5)
    counts, skipped = [], []
    work = Work(engine="ray", workers=1, on_progress=counts.append, on_skip=skipped.append)
    result = measure(classifier(), opened(folder), tmp_path / "ray", work)
    expected = measure(classifier(), opened(folder), tmp_path / "local")
    assert (result.rows, sum(counts)) == (expected.rows, COUNT) == (COUNT - 2, COUNT)
    assert {*result.skipped} == {*skipped} == {*expected.skipped}
    assert {sample.id for sample in skipped} == {*DAMAGED}
    assert len(list((tmp_path / "ray").glob("part-*.parquet"))) == 8
    assert_same_rows(tmp_path / "ray", tmp_path / "local")


def test_either_engine_continues_a_run_of_the_other(folder: Path, tmp_path: Path) -> None:
    measure(classifier(), opened(folder), tmp_path / "r", Work(engine="ray", workers=1))
    kept = (tmp_path / "r/part-00002.parquet").stat().st_mtime_ns
    for part in (1, 5):
        (tmp_path / f"r/_part-{part:05}.json").unlink()
    notes: list[str] = []
    result = measure(classifier(), opened(folder), tmp_path / "r", Work(on_note=notes.append))
    assert "44 of 60 samples" in notes[0]
    (tmp_path / "r/_part-00003.json").unlink()
    assert measure(classifier(), opened(folder), tmp_path / "r", Work(engine="ray", workers=1)) == result
    assert (tmp_path / "r/part-00002.parquet").stat().st_mtime_ns == kept
    measure(classifier(), opened(folder), tmp_path / "local")
    assert_same_rows(tmp_path / "r", tmp_path / "local")


def test_parts_in_an_object_store(folder: Path, bucket: str, tmp_path: Path) -> None:
    """The actors write there themselves, with the credentials in the address."""
    place = bucket.format("deep/r").replace("s3://", "s3://one:two@")
    result = measure(classifier(), opened(folder), place, Work(engine="ray", workers=1))
    assert result == measure(classifier(), opened(folder), tmp_path / "local")
    measured = MeasuredSet(place)
    assert len(measured.complete()) == 8
    assert pa.concat_tables(measured.tables(["id"])).equals(pq.read_table(tmp_path / "local", columns=["id"]))
    assert ":two@" not in measured.name + json.dumps(measured.storage.json(MANIFEST))


class Rows:
    """Makes rows of ids, and kills the first process that gets a certain sample.

    Args:
        killed: a file that is created before the process is killed.
        at: id of the sample.
    """

    def __init__(self, killed: Path, at: str) -> None:
        self.killed, self.at = killed, at

    def __call__(self, batch: Batch, readings: Readings) -> pa.Table:
        if self.at in batch.ids and not self.killed.exists():
            self.killed.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return pa.table({"id": batch.ids, "log_scale": readings.log_scale.numpy()})


def test_a_worker_that_is_killed_in_the_middle_loses_nothing(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The task of the killed worker had several parts, and one of them was written."""
    monkeypatch.setattr(on_ray, "_SHARES", 1)
    source, small = opened(folder), classifier()
    reader = Reader(GradientMeter(small.network), small, Rows(tmp_path / "killed", source.id(30)))
    result = stream(reader, source, tmp_path / "r", {}, Work(engine="ray", workers=2))
    assert (tmp_path / "killed").exists()
    assert result.rows == COUNT - 2
    ids = pq.read_table(tmp_path / "r")["id"].to_pylist()
    assert ids == [source.id(index) for index in range(COUNT) if source.id(index) not in DAMAGED]


def test_samples_that_vanish_are_skipped(folder: Path, tmp_path: Path) -> None:
    source = opened(folder)
    (folder / "cat/20.png").unlink()
    result = measure(classifier(), source, tmp_path / "r", Work(engine="ray", workers=1))
    assert result.rows == COUNT - 3
    assert Skipped("cat/20.png", "No such file or directory") in result.skipped


PROGRAM = """
import sys
from pathlib import Path
import gradmeter.runs.measuring.on_ray as on_ray
from gradmeter.apps.cli import main
on_ray.PART = 8
main()
"""
MODEL = """
import time, torch
from torch import nn
class Slow(nn.Flatten):
    def forward(self, x):
        time.sleep(0.2)
        return super().forward(x)
def make():
    torch.manual_seed(0)
    return nn.Sequential(Slow(), nn.Linear(64, 3))
"""


def test_a_run_whose_driver_is_killed_can_be_continued(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(MODEL)
    options = ("measure", "mine:make", "data", "--image-size", "8", "--grey", "--no-labels", "--device", "cpu")
    command = [sys.executable, "-c", PROGRAM, *options, "--out", "r", "--engine", "ray", "--workers", "1"]
    address = ray.get_runtime_context().gcs_address
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "RAY_ADDRESS": address}
    driver = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)
    measured = MeasuredSet(tmp_path / "r")
    until = time.monotonic() + 120
    while not (measured.note(0) or measured.note(1)):
        assert time.monotonic() < until, driver.stderr
        assert driver.poll() is None, driver.stderr.read() if driver.stderr else ""
        time.sleep(0.05)
    driver.kill()
    driver.communicate()
    assert measured.progress()[0] < COUNT
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert f" of {COUNT} samples" in done.stderr
    assert str(COUNT - 2) in done.stdout
    ids = pq.read_table(tmp_path / "r")["id"].to_pylist()
    assert ids == sorted({*ids})
    assert len(ids) == COUNT - 2


def test_parts_of_large_samples_are_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_ray, "PART", 1024)
    monkeypatch.setattr(on_ray, "_PART_BYTES", 10_000)
    for name, size in (("a", 900), ("b", 2000)):
        (tmp_path / f"{name}.png").write_bytes(bytes(size))
    assert part_size(opened(tmp_path)) == 5
    (tmp_path / "b.png").write_bytes(bytes(10**6))
    assert part_size(opened(tmp_path)) == 1
    monkeypatch.setattr(on_ray, "_PART_BYTES", 10**9)
    assert part_size(opened(tmp_path)) == 1000


def test_options_that_cannot_be_used(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"'spark'.*local.*ray"):
        measure(classifier(), opened(folder), tmp_path / "r", Work(engine="spark"))
    with pytest.raises(GradmeterError, match=r"GPU.*--device cpu"):
        measure(classifier(), opened(folder), tmp_path / "r", Work(engine="ray", device="cuda"))
    with pytest.raises(InputError, match=r"--device foo"):
        measure(classifier(), opened(folder), tmp_path / "r", Work(engine="ray", workers=1, device="foo"))
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(GradmeterError, match=r"gradmeter\[ray\]"):
        measure(classifier(), opened(folder), tmp_path / "s", Work(engine="ray"))
    assert not (tmp_path / "s").exists()


class Refusal:
    """Raises an error for every batch."""

    def __call__(self, batch: Batch, readings: Readings) -> pa.Table:
        raise self.error

    def __init__(self, error: Exception) -> None:
        self.error = error


def test_an_error_in_an_actor_keeps_its_message(folder: Path, tmp_path: Path) -> None:
    small = classifier()
    reader = Reader(GradientMeter(small.network), small, Refusal(DataError("label 7; expected 0 to 2")))
    with pytest.raises(DataError, match=r"^label 7; expected 0 to 2$"):
        stream(reader, opened(folder), tmp_path / "r", {}, Work(engine="ray", workers=1))
    reader = replace(reader, tabulate=Refusal(ZeroDivisionError("by nothing")))
    with pytest.raises(WorkerError, match="ZeroDivisionError: by nothing"):
        stream(reader, opened(folder), tmp_path / "s", {}, Work(engine="ray", workers=1))
