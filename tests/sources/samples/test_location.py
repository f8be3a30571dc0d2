"""Samples on this machine and in remote stores: here a folder by its file:// address, and an S3 server."""

import io
import pickle
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from pyarrow import fs

from gradmeter.errors import DataError
from gradmeter.files import LOCK
from gradmeter.sources.samples import ImageKind, Source, Unreadable, location, open_source
from gradmeter.sources.samples.left_out import Kind, LeftOut
from gradmeter.sources.samples.location import Location
from gradmeter.sources.samples.npz import read_arrays
from gradmeter.sources.samples.rows import Rows
from sources.samples.pictures import encoded, save

KIND = ImageKind("L", 8)


def png(shade: int) -> bytes:
    return encoded(Image.new("L", (8, 8), shade), "PNG").getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Images in class folders, an archive, a table, and a folder without labels."""
    for name in ("cat/b", "cat/a", "dog/deep/c", "dog/.hidden", ".trash/d"):
        save(tmp_path / f"photos/{name}.png", len(name))
    (tmp_path / "photos/dog/broken.png").write_bytes(b"no image")
    (tmp_path / "photos/cat/notes.txt").write_text("none")
    save(tmp_path / "inbox/one.png", 9)
    np.savez(tmp_path / "digits.npz", images=np.arange(128, dtype=np.uint8).reshape(2, 8, 8), labels=[1, 0])
    (tmp_path / "tables").mkdir()
    for name in ("b", "a"):
        rows = {"image": [png(10), png(20)], "label": [3, 4]}
        pq.write_table(pa.table(rows), tmp_path / f"tables/{name}.parquet")
    return tmp_path


def contents(source: Source) -> list[tuple[str, object, int | None]]:
    """Id, content and label of each sample; of an unreadable one, its id and the reason."""
    samples: list[tuple[str, object, int | None]] = []
    for index in range(len(source)):
        try:
            sample = source.read(index)
        except Unreadable as error:
            samples.append((source.id(index), str(error), None))
        else:
            samples.append((sample.id, np.asarray(sample.content).tolist(), sample.label))
    return samples


NAMES = ("photos", "inbox", "digits.npz", "tables", "tables/a.parquet", "inbox/one.png")


@pytest.mark.parametrize("name", NAMES)
def test_an_address_is_read_as_the_path_is(name: str, folder: Path) -> None:
    path, address = open_source(str(folder / name), KIND), open_source(f"file://{folder / name}", KIND)
    assert contents(address) == contents(path)
    assert address.fingerprint() == path.fingerprint()
    assert (address.classes, address.labelled) == (path.classes, path.labelled)


@pytest.fixture
def filled(folder: Path, bucket: str) -> str:
    """The address of an object store with the same files."""
    store, path = fs.FileSystem.from_uri(bucket.format(""))
    fs.copy_files(
        str(folder), path, source_filesystem=fs.LocalFileSystem(), destination_filesystem=store, use_threads=False
    )
    return bucket


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.filterwarnings("default")
def test_an_object_store(name: str, folder: Path, filled: str) -> None:
    path, remote = open_source(str(folder / name), KIND), open_source(filled.format(name), KIND)
    assert contents(remote) == contents(path)
    assert remote.fingerprint() == path.fingerprint()
    # Sources are pickled for worker processes.
    assert contents(pickle.loads(pickle.dumps(remote))) == contents(path)


@pytest.mark.filterwarnings("default")
def test_a_file_that_is_replaced_in_the_store(folder: Path, filled: str) -> None:
    earlier = open_source(filled.format("photos"), KIND).file_versions()
    assert earlier.table["id"].to_pylist() == ["cat/a.png", "cat/b.png", "dog/broken.png", "dog/deep/c.png"]
    assert earlier.table["size"].to_pylist() == [
        (folder / "photos" / id_).stat().st_size for id_ in earlier.table["id"].to_pylist()
    ]
    assert min(earlier.table["modified"].to_pylist()) > 0
    assert open_source(filled.format("photos"), KIND).file_versions().differing_from(earlier) == []
    store, path = fs.FileSystem.from_uri(filled.format("photos/dog/deep/c.png"))
    with store.open_output_stream(path) as stream:
        stream.write(png(99) + b"longer")
    source = open_source(filled.format("photos"), KIND)
    assert source.file_versions().differing_from(earlier) == ["dog/deep/c.png"]
    store.delete_file(path)
    assert source.file_versions().differing_from(earlier) == ["dog/deep/c.png"]


@pytest.mark.parametrize("name", ["tables", "tables/a.parquet"])
@pytest.mark.filterwarnings("default")
def test_a_table_that_is_replaced_in_the_store(name: str, folder: Path, filled: str) -> None:
    earlier = open_source(filled.format(name), KIND).file_versions()
    sizes = dict(zip(earlier.table["id"].to_pylist(), earlier.table["size"].to_pylist(), strict=True))
    assert sizes["a.parquet"] == (folder / "tables/a.parquet").stat().st_size
    assert open_source(filled.format(name), KIND).file_versions().differing_from(earlier) == []
    store, path = fs.FileSystem.from_uri(filled.format("tables/a.parquet"))
    with store.open_output_stream(path) as stream:
        pq.write_table(pa.table({"image": [png(10)], "label": [3]}), stream)
    assert open_source(filled.format(name), KIND).file_versions().differing_from(earlier) == ["a.parquet"]


@pytest.mark.filterwarnings("default")
def test_what_is_not_in_the_store(filled: str) -> None:
    with pytest.raises(DataError, match="absent"):
        open_source(filled.format("absent"), KIND)


@pytest.mark.filterwarnings("default")
def test_passwords_are_not_written_down(filled: str) -> None:
    source = open_source(filled.format("photos").replace("s3://", "s3://name:secret@"), KIND)
    assert source.name == filled.format("photos")
    assert "secret" not in repr(vars(source))
    assert len(source) == 4
    assert Location("a@b/c.png").name == "a@b/c.png"
    with pytest.raises(DataError, match="absent") as caught:
        open_source(filled.format("absent").replace("s3://", "s3://name:secret@"), KIND)
    assert "secret" not in str(caught.value)


def test_passwords_are_not_shown_where_an_address_is_none() -> None:
    with pytest.raises(DataError, match=r"^nowhere://host/x ") as caught:
        Location("nowhere://name:secret@host/x")
    assert "secret" not in str(caught.value)


def test_links_that_go_in_circles_and_hidden_files(folder: Path) -> None:
    (folder / "photos/dog/again").symlink_to(folder / "photos", target_is_directory=True)
    (folder / f"photos/dog/{LOCK}").touch()  # of a command that writes into its data
    photos = Location(folder / "photos")
    assert photos.entries() == [(".trash", Kind.FOLDER), ("cat", Kind.FOLDER), ("dog", Kind.FOLDER)]
    left_out = LeftOut()
    assert photos.files_below("dog", left_out) == ["dog/broken.png", "dog/deep/c.png"]
    assert str(left_out) == "left out 1 link to a folder (dog/again), 1 hidden file (dog/.hidden.png)"
    assert photos.files_below("cat", LeftOut()) == ["cat/a.png", "cat/b.png", "cat/notes.txt"]


@pytest.mark.parametrize("address", ["hf://datasets/name", "hf://datasets/owner/name/test.parquet", "hf://"])
def test_the_hub_is_not_read_directly(address: str) -> None:
    with pytest.raises(DataError, match=rf"^{address}: .* hf download"):
        Location(address)


@pytest.mark.parametrize(
    ("address", "seconds"),
    [("gs://bucket/x", 30), ("gs://bucket/x?scheme=http", 30), ("gs://bucket/x?retry_limit_seconds=5", 5)],
)
def test_google_s_library_does_not_try_again_for_long(address: str, seconds: int) -> None:
    location = Location(address)
    assert location.path() == "bucket/x"
    _, (options,) = location.system.__reduce__()
    assert options["retry_time_limit"] == timedelta(seconds=seconds)


@pytest.mark.parametrize("address", ["nowhere://x/y", "file://relative/path", "s3://bucket/x?colour=red"])
def test_no_address(address: str) -> None:
    with pytest.raises(DataError, match=rf"^{address.partition('?')[0]} "):
        Location(address).is_folder()


@pytest.mark.parametrize("name", ["a b", "\u00fc", "a#b", "100%", "a[1]{2}", "a+b", 'a"b^c|d', "a\\b"])
def test_names_in_addresses_need_not_be_encoded(name: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name.partition("#")[0]).mkdir(exist_ok=True)
    address = Location(f"file://{tmp_path}/{name}")
    assert address.path() == str(tmp_path / name)
    assert address.name == f"file://{tmp_path}/{name}"
    assert address.is_folder()
    assert Location(f"file://{tmp_path}/{quote(name)}").path() == address.path()


def test_an_endpoint_of_ipv6() -> None:
    address = "s3://bucket/photos?endpoint_override=[::1]:9000&scheme=http&region=us-east-1"
    assert (Location(address).path(), Location(address).name) == ("bucket/photos", address)


def test_what_is_too_large_for_one_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(location, "LARGEST_FILE", 100)
    (tmp_path / "a.png").write_bytes(bytes(100))
    assert len(Location(tmp_path).read("a.png")) == 100
    (tmp_path / "a.png").write_bytes(bytes(101))
    with pytest.raises(Unreadable, match="100 bytes"):
        Location(tmp_path).read("a.png")


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("s3://key:secret@bucket/a@b.png", "s3://bucket/a@b.png"),
        ("s3://bucket/x?region=r&session=secret&scheme=http", "s3://bucket/x?region=r&scheme=http"),
        ("abfss://train:secret@account.host/x?sig=secret", "abfss://train@account.host/x"),
        ("s3://key:with/slash@bucket/x", "s3://bucket/x"),
        ("hdfs://host:8020/x", "hdfs://host:8020/x"),
        ("s3://bucket/x/?region=r", "s3://bucket/x?region=r"),
        ("s3://bucket/", "s3://bucket"),
        ("file:///", "file:///"),
    ],
)
def test_names_of_addresses(address: str, name: str) -> None:
    """Names contain no secrets, but everything that distinguishes addresses."""
    assert location._without_secrets(address) == name


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("images/", "images"),
        ("./images", "images"),
        ("a//b/./c/", "a/b/c"),
        ("/a/b//", "/a/b"),
        ("/", "/"),
        ("./", "."),
        ("../a", "../a"),
        ("a/../b", "a/../b"),  # another folder than b, if a is a link
        ("./noise:uniform/", "./noise:uniform"),
        ("./a://b", "./a:/b"),
        ("a:b/", "a:b"),
        (" ", " "),
    ],
)
def test_slashes_and_dots_that_do_not_matter_are_not_in_the_name(path: str, name: str) -> None:
    """By the name, a run that goes on and the kinds of inputs of a guarantee are recognised."""
    assert Location(path).name == name
    assert Location(name).path() == Location(path).path()


def test_the_root_of_the_machine_is_a_folder() -> None:
    root = Location("file:///")
    assert (root.path(), root.is_folder()) == ("/", True)
    assert root.holds(Location("/tmp"))


CONNECTION_ERROR = OSError("AWS Error NETWORK_CONNECTION")


@pytest.mark.filterwarnings("default")
def test_a_store_that_fails_once_is_read_again(filled: str, monkeypatch: pytest.MonkeyPatch) -> None:
    image, table = open_source(filled.format("inbox"), KIND), open_source(filled.format("tables/a.parquet"), KIND)
    read, open_group, failures = Location._read, Rows._open, [1, 1]

    def read_after_a_failure(location: Location, path: str) -> bytes:
        if failures[0]:
            failures[0] = 0
            raise CONNECTION_ERROR
        return read(location, path)

    def open_after_a_failure(rows: Rows, file: str, group: int) -> None:
        open_group(rows, file, group)
        if failures[1]:
            failures[1] = 0
            rows._batches = failing()

    def failing() -> Iterator[pa.RecordBatch]:
        raise CONNECTION_ERROR
        yield

    monkeypatch.setattr(Location, "_read", read_after_a_failure)
    monkeypatch.setattr(Rows, "_open", open_after_a_failure)
    assert image.read(0).id == "one.png"
    assert table.read(1).label == 4
    assert failures == [0, 0]


@pytest.mark.filterwarnings("default")
def test_a_store_that_is_down_is_not_a_damaged_sample(filled: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise all remaining samples would be recorded as skipped."""
    image, table = open_source(filled.format("inbox"), KIND), open_source(filled.format("tables/a.parquet"), KIND)
    for source in (image, table):
        monkeypatch.setattr(location_of(source), "system", failing_file_system())
        with pytest.raises(DataError, match=r"^s3://.* AWS Error NETWORK_CONNECTION$"):
            source.read(0)


TEMPORARY = (
    "AWS Error SLOW_DOWN during GetObject operation: reduce your request rate",
    "AWS Error NETWORK_CONNECTION during GetObject operation: curlCode: 18, Transferred a partial file",
    "AWS Error UNKNOWN (HTTP status 429) during GetObject operation",
    "google::cloud::Status(UNAVAILABLE: backend error)",
)
OF_ONE_FILE = (
    "AWS Error ACCESS_DENIED during GetObject operation: not yours",
    "AWS Error UNKNOWN (HTTP status 403) during GetObject operation: Unable to parse ExceptionName: InvalidObjectState",
    "Corrupt snappy compressed data.",
)


@pytest.mark.parametrize("reason", TEMPORARY + OF_ONE_FILE)
@pytest.mark.filterwarnings("default")
def test_a_store_that_lists_a_file_and_does_not_deliver_it(
    reason: str, filled: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    image, table = open_source(filled.format("inbox"), KIND), open_source(filled.format("tables/a.parquet"), KIND)

    def fail(*_: object) -> None:
        raise OSError(reason)

    monkeypatch.setattr(Location, "_read", fail)
    monkeypatch.setattr(Location, "open_for_arrow", fail)
    for source, name in ((image, "one.png in s3://"), (table, "s3://")):
        expected, start = (DataError, name) if reason in TEMPORARY else (Unreadable, "")
        with pytest.raises(expected, match=rf"^{start}.*{re.escape(reason)}"):
            source.read(0)


@pytest.mark.parametrize("reads", range(12))
def test_a_store_that_fails_is_not_a_damaged_archive(reads: int, tmp_path: Path) -> None:
    path = tmp_path / "digits.npz"
    np.savez(path, images=np.zeros((3, 8, 8), np.uint8), labels=np.zeros(3, np.int64))

    class Failing(io.FileIO):
        left = reads

        def read(self, size: int | None = -1, /) -> bytes:
            if not self.left:
                raise CONNECTION_ERROR
            self.left -= 1
            return super().read(-1 if size is None else size)

    with Failing(path) as file, pytest.raises(DataError) as caught:
        read_arrays("s3://bucket/digits.npz", ["images", "labels"], file)
    assert str(caught.value).startswith("s3://bucket/digits.npz cannot be read (AWS Error NETWORK_CONNECTION)")


def failing_file_system() -> fs.FileSystem:
    """A file system whose every method fails."""

    def fail(*_: object, **__: object) -> None:
        raise CONNECTION_ERROR

    handler = type("Down", (fs.FileSystemHandler,), dict.fromkeys(fs.FileSystemHandler.__abstractmethods__, fail))
    return fs.PyFileSystem(handler())


def location_of(source: Source) -> Location:
    place: Location = vars(source)["_location"]
    return place
