"""Independent tasks on a Ray cluster behave as in worker processes."""

from pathlib import Path

import pytest

from gradmeter.errors import GradmeterError
from gradmeter.runs.engines import ENGINES, run_tasks_on_ray
from gradmeter.runs.engines import ray as engine
from gradmeter.runs.engines.processes import WorkerError
from runs.engines.work import kill_queue, killed_once, refuse_table, refuse_zero, square

# Ray leaves files open, and forks while threads run.
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("cluster"), pytest.mark.filterwarnings("default")]


def test_events_arrive_and_relative_paths_mean_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    events: list[tuple[int, float]] = []
    run_tasks_on_ray(square, [(Path(), number) for number in (3, 4, 5)], 2, events.append)
    assert sorted(events) == [(number, share) for number in (3, 4, 5) for share in (0.5, 1.0)]
    for number in (3, 4, 5):
        result, _, threads = (tmp_path / f"{number}.txt").read_text().split()
        assert (int(result), threads) == (number**2, "1")
    assert ENGINES["ray"] is run_tasks_on_ray


def test_nothing_to_do() -> None:
    run_tasks_on_ray(square, [], 2, print)


def test_an_error_keeps_its_type_and_message() -> None:
    with pytest.raises(GradmeterError, match=r"^no zero$"):
        run_tasks_on_ray(refuse_zero, [0.1, 0, 2], 1, lambda event: None)


def test_a_task_whose_process_is_killed_begins_again(tmp_path: Path) -> None:
    events: list[str] = []
    run_tasks_on_ray(killed_once, [tmp_path / "killed"], 1, events.append)
    assert events[-1] == "done"


def test_a_queue_whose_process_is_killed_begins_again() -> None:
    events: list[str] = []
    run_tasks_on_ray(kill_queue, [1, 2], 1, events.append)
    assert events[-1] == "done 2"


def test_a_dead_queue_hides_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """If Ray is killed, the queues have died when an error of a task or an actor arrives."""
    from ray.exceptions import RayActorError
    from ray.util.queue import Queue

    put = Queue.put

    def died(queue: Queue, item: object = None) -> None:
        put(queue, item)  # for the thread that waits for it
        raise RayActorError

    monkeypatch.setattr(Queue, "put", died)
    monkeypatch.setattr(Queue, "qsize", died)
    with pytest.raises(GradmeterError, match=r"^no zero$"):
        run_tasks_on_ray(refuse_zero, [0], 1, lambda event: None)
    with engine.cluster() as ray, pytest.raises(GradmeterError, match=r"^no table$"):
        list(engine.through_actors(ray, [refuse_table], dict, {}, count=1, gpus=False))


@pytest.mark.exhaustive
def test_a_task_that_is_killed_every_time_is_a_worker_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_RETRIES", 1)
    with pytest.raises(WorkerError, match="worker"):
        run_tasks_on_ray(killed_once, [Path("/nowhere/to/write")], 1, lambda event: None)
