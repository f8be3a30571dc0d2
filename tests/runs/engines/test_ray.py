"""Independent tasks on a Ray cluster behave as in worker processes."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from gradmeter.errors import GradmeterError
from gradmeter.runs.engines import ENGINES, run_tasks_on_ray
from gradmeter.runs.engines.processes import WorkerError
from runs.engines.work import killed_once, refuse_zero, square, where

ray = pytest.importorskip("ray", reason="the extra ray is not installed")

# Ray leaves files open, and forks while threads run.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    tests = str(Path(__file__).parents[2])
    environment = {"env_vars": {"PYTHONPATH": tests}}
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR", runtime_env=environment)
    yield
    ray.shutdown()


def test_events_arrive(tmp_path: Path) -> None:
    events: list[tuple[int, float]] = []
    run_tasks_on_ray(square, [(tmp_path, number) for number in (3, 4, 5)], 2, events.append)
    assert sorted(events) == [(number, share) for number in (3, 4, 5) for share in (0.5, 1.0)]
    for number in (3, 4, 5):
        result, _, threads = (tmp_path / f"{number}.txt").read_text().split()
        assert (int(result), threads) == (number**2, "1")
    assert ENGINES["ray"] is run_tasks_on_ray


def test_nothing_to_do() -> None:
    run_tasks_on_ray(square, [], 2, print)


def test_an_error_keeps_its_type_and_message() -> None:
    with pytest.raises(GradmeterError, match=r"^no zero$"):
        run_tasks_on_ray(refuse_zero, [1, 0, 2], 1, lambda event: None)


def test_a_task_whose_process_is_killed_begins_again(tmp_path: Path) -> None:
    events: list[str] = []
    run_tasks_on_ray(killed_once, [tmp_path / "killed"], 1, events.append)
    assert events[-1] == "done"


def test_a_task_that_is_killed_every_time_is_a_worker_error() -> None:
    with pytest.raises(WorkerError, match="worker"):
        run_tasks_on_ray(killed_once, [Path("/nowhere/to/write")], 1, lambda event: None)


def test_relative_paths_mean_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    events: list[str] = []
    run_tasks_on_ray(where, [None], 1, events.append)
    assert events == [os.getcwd()]
