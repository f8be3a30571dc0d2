"""The whole study on a few digits, with two networks and two rates of errors."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from gradmeter import DataError, InputError, OutputError
from gradmeter.research.label_study import run
from gradmeter.research.label_study.planting import KINDS
from gradmeter.research.label_study.study import LabelStudy, run_study
from gradmeter.research.label_study.subjects import SUBJECTS
from research.in_process import run_in_process

QUIET = Console(quiet=True)


def small(data: Path, share: float = 0.02) -> LabelStudy:
    return LabelStudy("gradmeter label-study --data DIR", data, None, ("digits",), share)


@pytest.fixture(scope="module", autouse=True)
def little_work() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gradmeter.research.label_study.study.run_tasks", run_in_process)
        patch.setattr(run, "SETS", [(kind, rate) for kind in KINDS for rate in (0.05, 0.20)])
        patch.setitem(SUBJECTS, "digits", replace(SUBJECTS["digits"], seeds=((0,), (1,))))
        yield


@pytest.fixture(scope="module")
def finished(small_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "labels"
    run_study(small(small_data), folder, workers=1, console=QUIET)
    return folder


def times(folder: Path, pattern: str) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.glob(pattern)}


@pytest.mark.slow
def test_the_page(finished: Path) -> None:
    page = (finished / "label_study.md").read_text(encoding="utf-8")
    assert "\ngradmeter label-study --data DIR\n" in page
    assert page.count("### EMNIST digits, the paper's CNN: ") == 3
    assert "Among the first 50 of " in page
    assert "(`--share`)" in page


@pytest.mark.slow
def test_it_continues_where_it_stopped(small_data: Path, finished: Path) -> None:
    kept = ("readings/*/*", "networks/*", "scores/*/1-*")
    before = {pattern: times(finished, pattern) for pattern in kept}
    assert all(before.values())
    (finished / "scores/digits/0-symmetric-20.parquet").unlink()
    (finished / "results/digits.json").unlink()
    run_study(small(small_data), finished, workers=1, console=QUIET)
    assert {pattern: times(finished, pattern) for pattern in kept} == before
    assert (finished / "scores/digits/0-symmetric-20.parquet").exists()


@pytest.mark.slow
def test_other_settings_are_refused(small_data: Path, finished: Path) -> None:
    with pytest.raises(OutputError, match=r"share was 0.02, is 0.03"):
        run_study(small(small_data, 0.03), finished, workers=1, console=QUIET)


def test_a_folder_of_something_else(small_data: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(OutputError, match=r"thesis\.tex"):
        run_study(small(small_data), tmp_path, workers=1, console=QUIET)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


class Begun(Exception):
    """The folder is ready for the work."""


def begin(study: LabelStudy, folder: Path, monkeypatch: pytest.MonkeyPatch, *, fresh: bool = False) -> None:
    """Begin a study without its work."""

    def work(*_: object) -> None:
        raise Begun

    with monkeypatch.context() as patch:
        patch.setattr("gradmeter.research.label_study.study.run_tasks", work)
        with pytest.raises(Begun):
            run_study(study, folder, workers=1, console=QUIET, fresh=fresh)


def written(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} - {"labels.json"}


def test_a_fresh_study_removes_nothing_of_something_else(small_data: Path, tmp_path: Path) -> None:
    mine = tmp_path / "scores" / "digits" / "mine.csv"
    mine.parent.mkdir(parents=True)
    mine.write_text("x")
    with pytest.raises(OutputError, match="scores"):
        run_study(small(small_data), tmp_path, workers=1, console=QUIET, fresh=True)
    assert mine.read_text() == "x"


def test_a_fresh_study_with_other_settings_trains_again(
    small_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(small(small_data), tmp_path, monkeypatch)
    networks = {"networks/digits-0.safetensors", "networks/early-digits-0.safetensors", "readings/digits-0/logits.npy"}
    results = {"results/digits.json", "scores/digits/0-symmetric-20.parquet"}
    others = {"networks/texts-0.safetensors", "results/texts.json"}
    for name in networks | results | others:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    begin(small(small_data), tmp_path, monkeypatch, fresh=True)
    assert written(tmp_path) == networks | others
    begin(small(small_data, 0.03), tmp_path, monkeypatch, fresh=True)
    assert written(tmp_path) == others


def test_networks_that_another_group_trained_with_other_settings(
    small_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(small(small_data), tmp_path, monkeypatch)
    (tmp_path / "networks").mkdir()
    others = LabelStudy("gradmeter label-study", small_data, None, ("digits-choosing",), 0.03)
    for fresh in (False, True):
        with pytest.raises(OutputError, match=r"share was 0\.02, is 0\.03.*networks digits-choosing would use"):
            run_study(others, tmp_path, workers=1, console=QUIET, fresh=fresh)
    # A group of other networks may have other settings.
    begin(LabelStudy("gradmeter label-study", small_data, None, ("texts",), 0.03), tmp_path, monkeypatch)
    both = LabelStudy("gradmeter label-study", small_data, None, ("digits", "digits-choosing"), 0.03)
    begin(both, tmp_path, monkeypatch, fresh=True)


def test_too_few_samples_for_one_wrong_label(small_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few: Any = SimpleNamespace(samples=range(10))
    monkeypatch.setitem(SUBJECTS, "digits", replace(SUBJECTS["digits"], pool=lambda *_: few))
    with pytest.raises(DataError, match=r"10 samples, .* --share"):
        run_study(small(small_data), tmp_path / "labels", workers=1, console=QUIET)


def test_wrong_options(small_data: Path, tmp_path: Path) -> None:
    for groups, networks, share, error, named in (
        (("digit",), None, 1.0, InputError, "'digit'"),
        (("texts",), None, 0.0, InputError, "share=0;"),
        (("texts",), None, 1.5, InputError, r"share=1\.5;"),
        (("resnet-44-56",), None, 1.0, DataError, "--networks"),
        (("resnet-44-56",), tmp_path, 1.0, DataError, r"cifar10_resnet\d\d\.safetensors"),
    ):
        with pytest.raises(error, match=named):
            LabelStudy("gradmeter label-study", small_data, networks, groups, share)
    with pytest.raises(DataError, match="nowhere"):
        small(tmp_path / "nowhere")
