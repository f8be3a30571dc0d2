"""Where work runs."""

from gradmeter.engines.processes import run_tasks

__all__ = ["run_tasks"]
