from pathlib import Path

import pytest

from gradmeter.research.study.store import StudyStore

MANIFEST = {"gradmeter": "0.1.0", "options": {"runs": 1}, "data_hashes": {}}


@pytest.fixture
def store(tmp_path: Path) -> StudyStore:
    return StudyStore(tmp_path / "study")


def test_clearing_removes_all_that_a_study_writes_and_nothing_else(store: StudyStore) -> None:
    own = [
        store.network(0),
        store.bank,
        store.readings(0) / "test.parquet",
        store.regressions(1),
        store.results(0),
        store.network_results(0),
        store.report,
        store.folder / "manifest.json",
        *(store.folder / name for name in ("claims.csv", "results.md", "tables/table1.csv", "figures/roc.svg")),
    ]
    others = [store.folder / name for name in ("notes.txt", "thesis/tables/mine.csv")]
    for path in own + others:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("mine")
    store.write(MANIFEST)
    store.clear()
    assert not any(path.exists() for path in own)
    assert all(path.exists() for path in others)


def test_runs_have_files_of_their_own(store: StudyStore) -> None:
    paths = [
        path(run)
        for path in (store.network, store.readings, store.regressions, store.results, store.network_results)
        for run in (0, 1, 10)
    ]
    assert len({*paths, store.bank, store.report}) == len(paths) + 2
