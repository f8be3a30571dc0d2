"""Engines that run independent tasks: worker processes on this machine, or a Ray cluster."""

from gradmeter.runs.engines.processes import run_tasks
from gradmeter.runs.engines.ray import run_tasks_on_ray

ENGINES = {"local": run_tasks, "ray": run_tasks_on_ray}
"""Functions that run independent tasks, by the name of the engine."""

__all__ = ["ENGINES", "run_tasks", "run_tasks_on_ray"]
