"""The whole study on a small drawn street, with short training and few resamples."""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from rich.console import Console

from gradmeter import DataError, InputError, OutputError
from gradmeter.research.street import judges, run
from gradmeter.research.street.pooled import Resampling
from gradmeter.research.street.results import read_results
from gradmeter.research.street.run import results_path
from gradmeter.research.street.scenes import load_street
from gradmeter.research.street.segments import METASEG, R2, WITH_GRADIENTS
from gradmeter.research.street.study import StreetStudy, run_study
from gradmeter.research.street.training import trained
from gradmeter.trust.evaluation.binned import AUPR, AUROC, FPR95
from gradmeter.trust.segments import heads
from research.in_process import run_in_process

QUIET = Console(quiet=True)


def study(data: Path, networks: int = 1) -> StreetStudy:
    return StreetStudy("gradmeter pixels study --data DIR", data, networks)


@pytest.fixture(scope="module", autouse=True)
def little_work() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gradmeter.research.street.study.run_tasks", run_in_process)
        patch.setattr(run, "trained", partial(trained, epochs=6))
        patch.setattr(judges, "_TREES", 10)
        patch.setitem(heads._TREES, "max_iter", 10)
        patch.setattr(Resampling, "draw", partial(Resampling.draw, repetitions=40))
        yield


@pytest.fixture(scope="module")
def finished(street_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "street"
    run_study(study(street_data), folder, workers=1, console=QUIET)
    return folder


def times(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for pattern in ("*/*", "results.json") for path in folder.glob(pattern)}


@pytest.mark.slow
def test_the_page_and_its_numbers(street_data: Path, finished: Path) -> None:
    page = (finished / "street.md").read_text(encoding="utf-8")
    street = load_street(street_data)
    counts = f"{len(street.train)} for training, {len(street.val)} for validation, {len(street.test)} for test"
    assert counts in page
    assert "\ngradmeter pixels study --data DIR\n" in page
    results = read_results(results_path(finished))
    assert [*results] == ["errors", "segments, all", "anomalies", "anomalies, learned", "segments, part"]
    for title in ("Wrong pixels", "Anomalies", "Segments", "All classes", "All classes but pedestrian and bicyclist"):
        assert f"# {title}\n" in page
    for name in ("entropy", "l1, uniform, last.0"):
        values = [f"{100 * results['errors'].mean(measure, name):.2f}" for measure in (AUROC, AUPR, FPR95)]
        assert f"| {name} | {' | '.join(values)} |" in page.replace("**", "")
    segments = results["segments, all"]
    gain = segments.gains[R2][WITH_GRADIENTS][METASEG]
    assert gain.value == pytest.approx(segments.mean(R2, WITH_GRADIENTS) - segments.mean(R2, METASEG))
    assert f"{100 * gain.value:+.2f} [{100 * gain.low:+.2f}, {100 * gain.high:+.2f}]" in page
    assert {"networks", "pixels", "segments", "street.json", "results.json", "street.md"} == {
        path.name for path in finished.iterdir()
    }


@pytest.mark.slow
def test_it_continues_where_it_stopped(street_data: Path, finished: Path) -> None:
    before, results = times(finished), read_results(results_path(finished))
    removed = [finished / name for name in ("pixels/errors-0.npz", "results.json")]
    for path in removed:
        path.unlink()
    run_study(study(street_data), finished, workers=1, console=QUIET)
    after = times(finished)
    assert {path for path in before if after[path] != before[path]} == {*removed}
    assert read_results(results_path(finished)) == results


@pytest.mark.slow
def test_other_settings_are_refused(street_data: Path, finished: Path) -> None:
    before = times(finished)
    with pytest.raises(OutputError, match="networks was 1, is 2"):
        run_study(study(street_data, 2), finished, workers=1, console=QUIET)
    assert times(finished) == before


def test_a_study_at_half_resolution_is_refused(street_data: Path, tmp_path: Path) -> None:
    """Its manifest does not say at which resolution its scores were made."""
    settings = study(street_data).identity()
    earlier = {key: settings[key] for key in ("gradmeter", "networks", "camvid.npz")}
    (tmp_path / "street.json").write_text(json.dumps({**earlier, "commands": []}))
    with pytest.raises(OutputError, match=r"other settings or data.*logits was none, is upsampled to the images"):
        run_study(study(street_data), tmp_path, workers=1, console=QUIET)
    assert [path.name for path in tmp_path.iterdir()] == ["street.json"]


def test_a_folder_of_something_else(street_data: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    for fresh in (False, True):
        with pytest.raises(OutputError, match=r"thesis\.tex"):
            run_study(study(street_data), tmp_path, workers=1, console=QUIET, fresh=fresh)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_wrong_options(street_data: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere"):
        study(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"camvid\.npz"):
        study(tmp_path)
    with pytest.raises(InputError, match="networks=0"):
        study(street_data, 0)
