"""Where Ray does not start, one line says so."""

from typing import Any

import pytest

from gradmeter.errors import GradmeterError
from gradmeter.runs.engines.ray import cluster

ray = pytest.importorskip("ray", reason="the extra ray is not installed")


def test_a_busy_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray then raises `Exception` itself."""

    def time_out(**options: Any) -> None:
        raise Exception("The current node timed out\nduring startup.\nThis could happen because ...")

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", time_out)
    with pytest.raises(GradmeterError, match="timed out during startup") as caught, cluster():
        raise AssertionError("a cluster that did not start was used")
    assert "\n" not in str(caught.value)
