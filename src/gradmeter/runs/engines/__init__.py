"""Where work runs."""

from gradmeter.runs.engines.processes import run_tasks
from gradmeter.runs.engines.ray import run_tasks_on_ray

ENGINES = {"local": run_tasks, "ray": run_tasks_on_ray}
"""Ways to run independent tasks, by name."""

__all__ = ["ENGINES", "run_tasks", "run_tasks_on_ray"]
