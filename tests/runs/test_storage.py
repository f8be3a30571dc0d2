"""Files are written whole or not at all, on this machine and in an object store."""

import pickle
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from pyarrow import fs

import gradmeter.runs.measuring.streaming as streaming
from gradmeter.errors import DataError, OutputError
from gradmeter.runs.measuring import MeasuredSet, Work, measure
from gradmeter.runs.storage import Storage
from gradmeter.sources.samples import open_source
from gradmeter.sources.samples.opening import MANIFEST
from runs.measuring.small import KIND, classifier
from sources.samples.pictures import save

# The server of the object store leaves sockets open.
pytestmark = pytest.mark.filterwarnings("default")
COUNT = 23


@pytest.fixture(params=["path", "address", "store"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A folder that does not exist yet."""
    if request.param == "store":
        return str(request.getfixturevalue("bucket")).format("deep/r")
    return f"{'file://' if request.param == 'address' else ''}{tmp_path}/deep/r"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for number in range(COUNT):
        save(tmp_path / f"data/{'dog' if number % 2 else 'cat'}/{number:02}.png", 10 * number)
    (tmp_path / "data/cat/04.png").write_bytes(b"no image")
    return tmp_path / "data"


def test_files(place: str) -> None:
    storage = Storage(place)
    assert (storage.sizes(), storage.size("a"), storage.json("a")) == ({}, None, None)
    storage.remove("a")
    storage.write("a", b"")
    storage.write("b", b"first")
    storage.write("b", b"the second")
    storage.write_json("c.json", {"é": [1]})
    assert storage.sizes() == {"a": 0, "b": 10, "c.json": 12}
    assert (storage.size("b"), storage.size("absent")) == (10, None)
    again: Storage = pickle.loads(pickle.dumps(storage))  # as it is sent to an actor
    assert again.open("b").read() == b"the second"
    assert list(again.each(again.json, ["c.json", "b", "absent", "c.json"])) == [{"é": [1]}, None, None, {"é": [1]}]
    storage.remove("b")
    assert set(storage.sizes()) == {"a", "c.json"}
    assert list(storage.each(storage.remove, ["a", "c.json", "absent"])) == [None] * 3
    assert storage.sizes() == {}


def test_a_run_is_continued_and_lists_what_it_skipped(data: Path, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "PART", 6)
    source = open_source(str(data), KIND)
    first = measure(classifier(), source, place)
    measured = MeasuredSet(place)
    assert (first.rows, first.skipped[0].id) == (COUNT - 1, "cat/04.png")
    assert len(measured.complete()) == 4
    manifest = measured.storage.json(MANIFEST)
    measured.storage.remove("_part-00002.json")
    measured.storage.write("part-00001.parquet", b"torn")
    notes: list[str] = []
    assert measure(classifier(), source, place, Work(on_note=notes.append)) == first
    assert "11 of 23 samples" in notes[0]
    assert measured.finished
    assert measured.storage.json(MANIFEST) == manifest
    ids = [name for table in measured.tables(["id"]) for name in table["id"].to_pylist()]
    assert ids == [source.id(index) for index in range(COUNT) if source.id(index) != "cat/04.png"]


def test_samples_are_added_and_removed(data: Path, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "PART", 6)
    measure(classifier(), open_source(str(data), KIND), place)
    MeasuredSet(place).storage.remove("_part-00003.json")
    (data / "cat/02.png").unlink()
    save(data / "cat/99.png", 7)
    done = measure(classifier(), open_source(str(data), KIND), place)
    ids = [name for table in MeasuredSet(place).tables(["id"]) for name in table["id"].to_pylist()]
    there = {str(path.relative_to(data)) for path in data.glob("*/*.png")} - {"cat/04.png"} | {"cat/02.png"}
    assert (done.rows, {*ids}, len(ids)) == (len(there), there, len(there))
    assert MeasuredSet(place).finished


def test_fresh_removes_only_a_measurement(data: Path, place: str) -> None:
    storage, source = Storage(place), open_source(str(data), KIND)
    storage.write("mine", b"mine")
    with pytest.raises(OutputError, match=r"\bmine\b"):
        measure(classifier(), source, place, Work(fresh=True))
    assert storage.sizes() == {"mine": 4}
    storage.remove("mine")
    measure(classifier(), source, place)
    with pytest.raises(OutputError, match="classes"):
        measure(classifier(("cat", "dog", "fox")), source, place)
    measure(classifier(("cat", "dog", "fox")), source, place, Work(fresh=True))
    assert MeasuredSet(place).finished


def test_other_programs_read_from_a_store(data: Path, bucket: str, tmp_path: Path) -> None:
    measure(classifier(), open_source(str(data), KIND), bucket.format("r"))
    measure(classifier(), open_source(str(data), KIND), tmp_path / "r")
    storage = Storage(bucket.format("r"))
    assert pq.read_table(storage.location.path(), filesystem=storage.location.system).equals(
        pq.read_table(tmp_path / "r")
    )


@pytest.mark.parametrize("workers", [0, 1])
def test_samples_in_a_store(workers: int, data: Path, bucket: str, tmp_path: Path) -> None:
    """In this process, and in a forked loading process."""
    store, path = fs.FileSystem.from_uri(bucket.format("data"))
    fs.copy_files(
        str(data), path, source_filesystem=fs.LocalFileSystem(), destination_filesystem=store, use_threads=False
    )
    result = measure(classifier(), open_source(bucket.format("data"), KIND), tmp_path / "r", Work(workers=workers))
    assert result == measure(classifier(), open_source(str(data), KIND), tmp_path / "local")


def test_an_error_of_the_store_hides_the_password(data: Path, bucket: str) -> None:
    absent = bucket.replace("allow_bucket_creation=true", "allow_bucket_creation=false").replace("bucket-", "bucket-x")
    with pytest.raises((DataError, OutputError), match=r"^[^\n]*s3://bucket-x[^\n]*$") as raised:
        measure(classifier(), open_source(str(data), KIND), absent.format("r").replace("s3://", "s3://one:two@"))
    assert "two" not in str(raised.value)


def test_a_store_that_fails_for_a_moment_loses_nothing(
    data: Path, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A note that cannot be read now must not count as missing: its part would be overwritten."""
    monkeypatch.setattr(streaming, "PART", 6)
    place = bucket.format("r")
    measure(classifier(), open_source(str(data), KIND), place)
    save(data / "cat/99.png", 7)
    opened = Storage.open

    def away(storage: Storage, file: str) -> Any:
        if file == "_part-00000.json":
            raise OSError("AWS Error NETWORK_CONNECTION")
        return opened(storage, file)

    with monkeypatch.context() as patched:
        patched.setattr(Storage, "open", away)
        with pytest.raises(DataError, match=r"_part-00000\.json.*NETWORK_CONNECTION"):
            measure(classifier(), open_source(str(data), KIND), place)
    assert measure(classifier(), open_source(str(data), KIND), place).rows == COUNT


def test_a_killed_fresh_start_can_be_repeated(data: Path, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    source = open_source(str(data), KIND)
    measure(classifier(), source, place)

    removed, remove = list[str](), Storage.remove

    def killed(storage: Storage, file: str) -> None:
        removed.append(file)
        if len(removed) > 1:
            raise KeyboardInterrupt
        remove(storage, file)

    with monkeypatch.context() as patched:
        patched.setattr(Storage, "remove", killed)
        with pytest.raises(KeyboardInterrupt):
            measure(classifier(), source, place, Work(fresh=True))
    measure(classifier(), source, place, Work(fresh=True))
    assert MeasuredSet(place).finished
