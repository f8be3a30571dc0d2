"""The whole experiment on a few digits, with two networks and few resamples."""

import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from rich.console import Console

from gradmeter import DataError, GradmeterError, InputError, OutputError
from gradmeter.research.gradient_gain import results
from gradmeter.research.gradient_gain.experiment import GainExperiment, run_experiment
from gradmeter.research.gradient_gain.gains import resample_cases, resample_predictions
from gradmeter.research.gradient_gain.subjects import SUBJECTS
from research.in_process import run_in_process
from trust.quick import fit_quickly

QUIET = Console(quiet=True)


def small(data: Path, share: float = 0.05) -> GainExperiment:
    return GainExperiment("gradmeter gain --data DIR", data, None, ("perceptron",), share)


@pytest.fixture(scope="module", autouse=True)
def little_work() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        fit_quickly(patch)
        patch.setattr("gradmeter.research.gradient_gain.experiment.run_tasks", run_in_process)
        patch.setitem(SUBJECTS, "perceptron", replace(SUBJECTS["perceptron"], runs=2))
        for resample in (resample_cases, resample_predictions):
            patch.setattr(results, resample.__name__, partial(resample, repetitions=40))
        yield


@pytest.fixture(scope="module")
def finished(small_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "gain"
    run_experiment(small(small_data), folder, workers=1, console=QUIET)
    return folder


def times(folder: Path, pattern: str) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.glob(pattern)}


@pytest.mark.slow
def test_the_page(finished: Path) -> None:
    page = (finished / "gradients.md").read_text(encoding="utf-8")
    assert "\ngradmeter gain --data DIR\n" in page
    for case in ("wrong", "letters", "notMNIST"):
        assert page.count(f"\n| perceptron: {case} |") == 2
    assert "\n| perceptron: ridge |" in page


@pytest.mark.slow
def test_it_continues_where_it_stopped(small_data: Path, finished: Path) -> None:
    kept = ("readings/*/*", "networks/*", "scores/*/*-1-0.parquet")
    before = {pattern: times(finished, pattern) for pattern in kept}
    assert all(before.values())
    (finished / "scores/perceptron/predictions-0-0.parquet").unlink()
    (finished / "results/perceptron.json").unlink()
    run_experiment(small(small_data), finished, workers=1, console=QUIET)
    assert {pattern: times(finished, pattern) for pattern in kept} == before
    assert (finished / "results/perceptron.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["scores/perceptron/cases-0-0.parquet", "readings/perceptron-0/price.json"])
def test_a_damaged_file_is_made_again_once_it_is_deleted(small_data: Path, finished: Path, name: str) -> None:
    damaged, summary = finished / name, finished / "results/perceptron.json"
    damaged.write_bytes(damaged.read_bytes()[:40])
    summary.unlink()
    with pytest.raises(DataError, match=r"cannot be read .* delete it and run the same command again"):
        run_experiment(small(small_data), finished, workers=1, console=QUIET)
    damaged.unlink()
    run_experiment(small(small_data), finished, workers=1, console=QUIET)
    assert damaged.exists()
    assert summary.exists()


@pytest.mark.slow
def test_fresh_fits_the_judges_again_to_the_same_readings(small_data: Path, finished: Path) -> None:
    readings, scores = times(finished, "readings/*/*"), times(finished, "scores/*/*")
    run_experiment(small(small_data), finished, workers=1, console=QUIET, fresh=True)
    assert times(finished, "readings/*/*") == readings
    after = times(finished, "scores/*/*")
    assert after.keys() == scores.keys()
    assert all(after[path] > scores[path] for path in scores)


@pytest.mark.slow
def test_other_settings_are_refused_and_start_over_with_fresh(small_data: Path, finished: Path) -> None:
    with pytest.raises(OutputError, match=r"share was 0.05, is 0.06"):
        run_experiment(small(small_data, 0.06), finished, workers=1, console=QUIET)
    readings = times(finished, "readings/*/*")
    run_experiment(small(small_data, 0.06), finished, workers=1, console=QUIET, fresh=True)
    after = times(finished, "readings/*/*")
    assert all(after[path] > readings[path] for path in readings)


def test_a_folder_of_something_else(small_data: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(OutputError, match=r"thesis\.tex"):
        run_experiment(small(small_data), tmp_path, workers=1, console=QUIET)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_missing_package_is_named_before_anything_runs(small_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "babel", None)
    with pytest.raises(GradmeterError, match=r"gradmeter\[compare\]"):
        GainExperiment("gradmeter gain", small_data, None, ("perceptron", "texts"))
    GainExperiment("gradmeter gain", small_data, None, ("perceptron",))


def test_wrong_options(small_data: Path, tmp_path: Path) -> None:
    for subjects, networks, share, error, named in (
        (("resnet21",), None, 1.0, InputError, "'resnet21'"),
        (("texts",), None, 0.0, InputError, "share=0;"),
        (("texts",), None, 1.5, InputError, r"share=1\.5;"),
        (("resnet20",), tmp_path, 1.0, DataError, r"cifar100_test3k\.npz"),
    ):
        with pytest.raises(error, match=named):
            GainExperiment("gradmeter gain", small_data, networks, subjects, share)
    with pytest.raises(DataError, match="nowhere"):
        small(tmp_path / "nowhere")
