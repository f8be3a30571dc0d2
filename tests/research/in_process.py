"""The tasks of a study in this process: no worker loads PyTorch, and a test can make the work smaller."""

import pickle
from collections.abc import Callable, Sequence
from typing import Any

from threadpoolctl import threadpool_limits


def run_in_process(
    task: Callable[[Any, Callable[[Any], None]], None],
    items: Sequence[Any],
    workers: int,
    on_event: Callable[[Any], None],
) -> None:
    """As `run_tasks`, one task after the other; tasks, items and events are pickled as for a worker."""
    with threadpool_limits(1):
        for item in items:
            own_task, own_item = _copied((task, item))
            own_task(own_item, lambda event: on_event(_copied(event)))


def _copied(value: Any) -> Any:
    return pickle.loads(pickle.dumps(value))
