"""Fixtures: tiny networks and failing methods registered beside the real ones, and results with chosen numbers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gradmeter.research.speed_benchmark import isolation, page, timing
from gradmeter.research.speed_benchmark.methods import METHODS
from gradmeter.research.speed_benchmark.models import MODELS
from gradmeter.research.speed_benchmark.options import BenchOptions
from gradmeter.research.speed_benchmark.results import SpeedResults
from research.speed_benchmark.tiny import DYING, FORKING, REFUSING, TINY, TIRING

MIB = 2**20


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MODELS, "tiny", TINY)
    for name, method in (("refusing", REFUSING), ("dying", DYING), ("tiring", TIRING)):
        monkeypatch.setitem(METHODS, name, method)


@pytest.fixture(autouse=True)
def kept_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep freed memory between timed runs: the process of the tests has much, which takes long to return."""
    monkeypatch.setattr(timing, "return_freed_memory", lambda: None)


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write pages without their figures, which take most of a second."""
    monkeypatch.setattr(page, "save", lambda figure, stem: None)


@pytest.fixture
def forked_measurements(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fork the processes of measurements instead of starting Python anew; test_isolation.py tests the others."""
    monkeypatch.setattr(isolation, "multiprocessing", FORKING)


@pytest.fixture
def made(tmp_path: Path) -> Callable[..., SpeedResults]:
    """Return a function that makes SpeedResults of two networks; T0 takes 1, 2 and 4 seconds and 100 MiB."""

    def make(**changes: Any) -> SpeedResults:
        options = BenchOptions(("paper-cnn", "tiny"), ("best-plain", "gradmeter", "loop", "refusing"), threads=(1, 2))
        described = {
            "gradmeter": "1.2.3",
            "command": "gradmeter bench",
            "versions": {"torch": "9.9"},
            "machine": {"processor": "P-1", "cores": 2, "memory": 8.0, "system": "Linux", "kernel": "fast kernel"},
            "finished": "2024-02-29",
        }
        results = SpeedResults(tmp_path, options, described | changes)
        for name in options.models:
            results.probes[name] = {
                "plain": {"memory": 100 * MIB, "seconds": 1.0, "disagreement": None},
                "best-plain": {"memory": 10 * MIB, "seconds": 1.0, "disagreement": None},
                "gradmeter": {"memory": 50 * MIB, "seconds": 1.0, "disagreement": 2.5e-7},
                "loop": {"memory": 5 * MIB, "seconds": 1.0, "disagreement": 3e-6},
                "refusing": {"error": "NotImplementedError: no | such layers"},
            }
            cell = {
                "plain": {"seconds": [1.0, 2.0, 4.0], "note": "", "error": None},
                "best-plain": {"seconds": [0.5, 1.0, 2.0], "note": "tiles of 3", "error": None},
                "gradmeter": {"seconds": [0.4, 1.0, 1.2], "note": "", "error": None},
                "loop": {"seconds": [7.0], "note": "", "error": None},
            }
            results.timings[name] = {"1": cell, "2": cell}
        results.stream["1000"] = {"seconds": 0.25, "memory": 3 * MIB}
        results.stream["10000"] = {"seconds": 2.5, "memory": 4 * MIB}
        return results

    return make
