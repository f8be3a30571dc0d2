"""The store: which folders it accepts, and which work it continues."""

import json
import os
from pathlib import Path

import pytest

from gradmeter import DataError, OutputError
from gradmeter.files import LOCK
from gradmeter.runs.store import Store, StoreKind, differences

KIND = StoreKind("manifest.json", "a study", "gradmeter reproduce", {"gradmeter": str, "options": dict})
IDENTITY = {"gradmeter": "0.1.0", "options": {"runs": 1, "padding": "valid"}}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "study", KIND)


@pytest.fixture
def folder(store: Store) -> Path:
    return Path(store.storage.location.path())


def test_a_manifest_is_read_as_it_was_written(store: Store) -> None:
    assert store.read() is None
    store.write(IDENTITY | {"name": "ä"})
    assert store.read() == IDENTITY | {"name": "ä"}


def test_an_equal_manifest_is_not_written_again(store: Store, folder: Path) -> None:
    store.write(IDENTITY)
    os.utime(folder / KIND.manifest, (1, 1))
    store.write(json.loads(json.dumps(IDENTITY)))
    assert (folder / KIND.manifest).stat().st_mtime == 1


@pytest.mark.parametrize(
    "content", [b"{", b"[1]", b"{}", b'{"gradmeter": "1", "options": 3}', b'{"gradmeter": "1"}', b"\xff\xfe\x00"]
)
@pytest.mark.parametrize("fresh", [False, True])
def test_a_damaged_or_foreign_manifest_is_refused(content: bytes, fresh: bool, store: Store, folder: Path) -> None:
    folder.mkdir()
    (folder / KIND.manifest).write_bytes(content)
    with pytest.raises(DataError, match=r"study/manifest\.json .*gradmeter reproduce"):
        store.begin(IDENTITY, fresh=fresh)
    assert (folder / KIND.manifest).read_bytes() == content


def test_new_and_empty_folders_begin_new_work(store: Store, folder: Path) -> None:
    assert store.begin(IDENTITY) == {}
    assert not folder.exists(), "nothing is written before the work begins"
    folder.mkdir()
    assert store.begin(IDENTITY) == {}


def test_the_same_work_is_continued(store: Store, folder: Path) -> None:
    store.write(IDENTITY | {"created": "today"})
    (folder / "notes.txt").write_text("the user's own")
    (folder / ".part.77-0123abcd.partial").touch()
    assert store.begin(IDENTITY) == IDENTITY | {"created": "today"}
    assert {path.name for path in folder.iterdir()} == {"notes.txt", KIND.manifest}


def test_other_work_is_refused_unless_the_user_starts_over(store: Store) -> None:
    store.write(IDENTITY)
    other = {"gradmeter": "0.1.0", "options": {"runs": 3, "padding": "valid"}}
    with pytest.raises(OutputError, match=r"options: runs was 1, is 3\).*--fresh"):
        store.begin(other)
    assert store.begin(other, fresh=True) == {}
    assert store.read() is None


def test_work_killed_at_its_very_start_can_begin_again(store: Store, folder: Path) -> None:
    folder.mkdir()
    (folder / LOCK).touch()
    (folder / ".manifest.json.77-0123abcd.partial").touch()
    assert store.begin(IDENTITY) == {}


@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize("name", ["thesis.docx", "tables/mine.csv", ".bashrc"])
def test_a_foreign_folder_is_refused(name: str, fresh: bool, store: Store, folder: Path) -> None:
    path = folder / name
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    with pytest.raises(OutputError, match=Path(name).parts[0]):
        store.begin(IDENTITY, fresh=fresh)
    assert path.read_text() == "mine"


def test_a_file_is_refused(store: Store, folder: Path) -> None:
    folder.write_text("mine")
    with pytest.raises(OutputError, match=r"study .*file"):
        store.begin(IDENTITY)
    assert folder.read_text() == "mine"


def test_a_read_only_folder_is_refused(store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.mkdir()
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(OutputError, match="study"):
        store.begin(IDENTITY)


def test_differences_name_the_path_to_what_changed() -> None:
    before = {"gradmeter": "1", "options": {"runs": 10, "padding": "valid"}, "hashes": {"a": "0" * 64}, "finished": 1}
    assert differences(before, before) == []
    now = {"gradmeter": "1", "options": {"runs": 3, "aupr": "step"}, "hashes": {"a": "1" * 64}}
    assert differences(before, now) == [
        "options: runs was 10, is 3",
        "options: padding was valid, is none",
        "options: aupr was none, is step",
        "hashes: a changed",
    ]
