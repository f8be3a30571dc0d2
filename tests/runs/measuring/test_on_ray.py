"""A Ray cluster writes the same rows as one process, even if workers are killed."""

import json
import os
import pickle
import signal
import sys
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gradmeter import GradientMeter
from gradmeter.errors import GradmeterError, InputError
from gradmeter.reading.readings import Readings
from gradmeter.runs.engines import ray as engine
from gradmeter.runs.engines.processes import WorkerError
from gradmeter.runs.measuring import MeasuredSet, Skipped, Work, measure, on_ray, streaming
from gradmeter.runs.measuring.loading import Batch
from gradmeter.runs.measuring.on_ray import part_size
from gradmeter.runs.measuring.reader import Reader
from gradmeter.runs.measuring.streaming import stream
from gradmeter.sources.samples import Source, open_source
from gradmeter.sources.samples.opening import MANIFEST
from runs.measuring.small import KIND, classifier, routed
from sources.samples.pictures import save

COUNT, DAMAGED = 60, ("cat/04.png", "dog/11.png")
# Ray leaves files open, and forks while threads run.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]


@pytest.fixture(autouse=True)
def classes(cluster: object) -> None:
    """Classes of this file are pickled by value, because workers cannot import it."""
    from ray import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])


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


def assert_same_rows(measured: MeasuredSet, expected_set: MeasuredSet) -> None:
    """Ids and labels must be equal, and numbers close: rounding depends on the number of threads."""
    table, expected = (pa.concat_tables(each.tables()) for each in (measured, expected_set))
    assert table.schema.equals(expected.schema)
    for name in table.column_names:
        if pa.types.is_floating(table[name].type):
            # A kurtosis near 0 is a difference of numbers near 3.
            np.testing.assert_allclose(
                table[name].to_numpy(), expected[name].to_numpy(), rtol=1e-5, atol=1e-5, err_msg=name
            )
        elif not pa.types.is_nested(table[name].type):
            assert table[name].equals(expected[name]), name


def test_the_same_rows_as_in_one_process(
    folder: Path, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read by two Ray data sets, as for millions of parts; the actors themselves write to an object store."""
    monkeypatch.setattr(engine, "_MOST_TASKS", 5)
    source = opened(folder)
    (folder / "cat/20.png").unlink()
    place = bucket.format("deep/r").replace("s3://", "s3://one:two@")
    counts, skipped = [], []
    work = Work(engine="ray", workers=1, on_progress=counts.append, on_skip=skipped.append)
    result = measure(classifier(), source, place, work)
    expected = measure(classifier(), source, tmp_path / "local")
    assert result == expected
    assert (result.rows, sum(counts)) == (COUNT - 3, COUNT)
    assert {*result.skipped} == {*skipped}
    assert {sample.id for sample in skipped} == {*DAMAGED, "cat/20.png"}
    assert Skipped("cat/20.png", "No such file or directory") in skipped
    measured = MeasuredSet(place)
    assert len(measured.complete()) == 8
    assert_same_rows(measured, MeasuredSet(tmp_path / "local"))
    assert ":two@" not in measured.name + json.dumps(measured.storage.json(MANIFEST))


def test_the_actors_are_told_which_layers_to_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each sees other samples first."""
    for number in range(16):
        save(tmp_path / f"data/{number:02}.png", 20 if number < 8 else 230)

    def measure_parts(reader: Reader, *args: object) -> None:
        raise GradmeterError(" ".join(pickle.loads(pickle.dumps(reader)).meter.output_layers))

    monkeypatch.setattr(streaming, "ray_parts", measure_parts)
    with pytest.raises(GradmeterError, match=r"^conv experts\.0 head$"):
        measure(routed(), opened(tmp_path / "data"), tmp_path / "r", Work(engine="ray"))


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


@pytest.mark.exhaustive
def test_a_worker_that_is_killed_in_the_middle_loses_nothing(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a run that one process began. The worker's task had several parts, and one of them was written."""
    monkeypatch.setattr(on_ray, "_SHARES", 1)
    monkeypatch.setattr(streaming, "PART", 8)
    source, small = opened(folder), classifier()
    reader = Reader(GradientMeter(small.network), small, Rows(tmp_path / "killed", source.id(30)))
    stream(replace(reader, tabulate=Rows(tmp_path, "")), source, tmp_path / "r", {}, Work())
    for part in range(2, 8):
        (tmp_path / f"r/_part-{part:05}.json").unlink()
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "r").glob("part-*.parquet")}
    notes: list[str] = []
    result = stream(reader, source, tmp_path / "r", {}, Work(engine="ray", workers=1, on_note=notes.append))
    assert "16 of 60 samples" in notes[0]
    assert (tmp_path / "killed").exists()
    assert result.rows == COUNT - 2
    assert [path.stat().st_mtime_ns == when for path, when in sorted(before.items())] == [True] * 2 + [False] * 6
    ids = pq.read_table(tmp_path / "r")["id"].to_pylist()
    assert ids == [source.id(index) for index in range(COUNT) if source.id(index) not in DAMAGED]
    # One process continues it, too.
    (tmp_path / "r/_part-00003.json").unlink()
    kept = (tmp_path / "r/part-00004.parquet").stat().st_mtime_ns
    assert stream(reader, source, tmp_path / "r", {}, Work(on_note=notes.append)) == result
    assert "52 of 60 samples" in notes[1]
    assert (tmp_path / "r/part-00004.parquet").stat().st_mtime_ns == kept
    assert pq.read_table(tmp_path / "r")["id"].to_pylist() == ids


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
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(GradmeterError, match=r"gradmeter\[ray\]"):
        measure(classifier(), opened(folder), tmp_path / "s", Work(engine="ray"))
    assert not (tmp_path / "s").exists()


@pytest.mark.exhaustive
def test_a_module_that_the_workers_lack_is_named(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray itself repeats the task again and again."""
    (tmp_path / "only_here.py").write_text("class Rows: ...")
    monkeypatch.syspath_prepend(tmp_path)
    small = classifier()
    reader = Reader(GradientMeter(small.network), small, import_module("only_here").Rows())
    with pytest.raises(GradmeterError, match=r"only_here.*PYTHONPATH") as caught:
        stream(reader, opened(folder), tmp_path / "r", {}, Work(engine="ray", workers=1))
    assert "\n" not in str(caught.value)


@pytest.mark.exhaustive
def test_an_option_that_only_an_actor_finds_wrong(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--device foo"):
        measure(classifier(), opened(folder), tmp_path / "r", Work(engine="ray", workers=1, device="foo"))


class Refusal:
    """Raises an error for every batch."""

    def __call__(self, batch: Batch, readings: Readings) -> pa.Table:
        raise ZeroDivisionError("by nothing")


@pytest.mark.exhaustive
def test_an_unexpected_error_in_an_actor_keeps_its_type_and_message(folder: Path, tmp_path: Path) -> None:
    small = classifier()
    reader = Reader(GradientMeter(small.network), small, Refusal())
    with pytest.raises(WorkerError, match="ZeroDivisionError: by nothing"):
        stream(reader, opened(folder), tmp_path / "r", {}, Work(engine="ray", workers=1))
