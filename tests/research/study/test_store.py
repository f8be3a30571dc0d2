import json
import os
from pathlib import Path

import pytest

from gradmeter import OutputError
from gradmeter.files import LOCK
from gradmeter.research.study.store import Store

MANIFEST = {"gradmeter": "0.1.0", "options": {"runs": 1}, "data_hashes": {}}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "study")


def test_a_manifest_comes_back(store: Store) -> None:
    assert store.read_manifest() is None
    store.write_manifest(MANIFEST | {"name": "ä"})
    assert store.read_manifest() == MANIFEST | {"name": "ä"}


@pytest.mark.parametrize(
    "text",
    ["{", "[1]", "{}", '{"gradmeter": "0.1.0", "options": 3, "data_hashes": {}}', '{"gradmeter": "1", "options": {}}'],
)
def test_a_damaged_or_foreign_manifest_is_refused(text: str, store: Store) -> None:
    store.folder.mkdir()
    store.manifest.write_text(text)
    with pytest.raises(OutputError, match=r"manifest\.json (is not readable|was not written by gradmeter)"):
        store.read_manifest()
    assert store.manifest.read_text() == text


def test_a_binary_manifest_is_refused(store: Store) -> None:
    store.folder.mkdir()
    store.manifest.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(OutputError, match="is not readable"):
        store.read_manifest()


def test_a_new_an_empty_and_an_own_folder_are_taken(store: Store) -> None:
    store.require_own()
    assert not store.folder.exists(), "looking writes nothing"
    store.folder.mkdir()
    store.require_own()
    store.write_manifest(MANIFEST)
    (store.folder / "notes.txt").write_text("the user's own")
    store.require_own()


def test_a_study_killed_at_its_very_start_is_its_own(store: Store) -> None:
    store.folder.mkdir()
    (store.folder / LOCK).touch()
    (store.folder / ".manifest.json.77-0123abcd.partial").touch()
    store.require_own()


@pytest.mark.parametrize("name", ["thesis.docx", "tables/mine.csv", ".bashrc"])
def test_a_foreign_folder_is_refused(name: str, store: Store) -> None:
    path = store.folder / name
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    with pytest.raises(OutputError, match="no gradmeter study"):
        store.require_own()
    assert path.read_text() == "mine"


def test_a_file_is_refused(store: Store) -> None:
    store.folder.write_text("mine")
    with pytest.raises(OutputError, match="is a file; expected a folder"):
        store.require_own()


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write everywhere")
def test_an_unwritable_folder_is_refused(store: Store) -> None:
    store.folder.mkdir(mode=0o500)
    with pytest.raises(OutputError, match="is not writable"):
        store.require_own()


def test_an_unwritable_folder_is_refused_whoever_asks(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.folder.mkdir()
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(OutputError, match="is not writable"):
        store.require_own()


def test_clearing_removes_all_that_a_study_writes_and_nothing_else(store: Store) -> None:
    own = [
        store.network(0),
        store.bank,
        store.readings(0) / "test.parquet",
        store.regressions(1),
        store.results(0),
        store.network_results(0),
        store.report,
        store.manifest,
        *(store.folder / name for name in ("claims.csv", "results.md", "tables/table1.csv", "figures/roc.svg")),
    ]
    others = [store.folder / name for name in ("notes.txt", "thesis/tables/mine.csv")]
    for path in own + others:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(MANIFEST))
    store.clear()
    assert not any(path.exists() for path in own)
    assert all(path.exists() for path in others)


def test_runs_have_files_of_their_own(store: Store) -> None:
    paths = [
        path(run)
        for path in (store.network, store.readings, store.regressions, store.results, store.network_results)
        for run in (0, 1, 10)
    ]
    assert len({*paths, store.bank, store.manifest, store.report}) == len(paths) + 3
