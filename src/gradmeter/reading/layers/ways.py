"""By which way the gradient of every parameter is measured, and how long that takes."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from gradmeter.reading.capture import Call, Graph, Operation, Plan, Planned
from gradmeter.reading.layers.contributions import Contributions
from gradmeter.reading.layers.gradients import PerSampleGradient


class Way(StrEnum):
    """How the gradient of an operation's parameter is had for each sample, the fastest first."""

    RULE = "rule"
    ENTRIES = "entry by entry"
    SAMPLES = "sample by sample"


@dataclass(frozen=True)
class Use:
    """A parameter where an operation uses it.

    Attributes:
        parameter: its name.
        operation: autograd's name, or the type of a module that has a rule of its own.
        calls: how often the operation uses it in one forward pass.
        way: the slowest way that one of the calls takes.
        seconds: that reading its gradient there takes, in all.
    """

    parameter: str
    operation: str
    calls: int
    way: Way
    seconds: float


class TimedContributions(Contributions):
    """Contributions that note how long each takes."""

    def __init__(self, graph: Graph, plan: Plan, calls: Sequence[Call], samples: int) -> None:
        super().__init__(graph, plan, calls, samples)
        self._gradients: dict[tuple[str, str], list[PerSampleGradient]] = {}
        self._seconds: defaultdict[tuple[str, str], float] = defaultdict(float)
        self._receiving: list[tuple[str, str]] | None = None

    def receive(self, planned: Planned, operation: Operation) -> None:
        """Take in one operation."""
        self._receiving = []
        seconds = _seconds(lambda: super(TimedContributions, self).receive(planned, operation))
        self._share(seconds, self._receiving)
        self._receiving = None

    def uses(self) -> list[Use]:
        """Every parameter, where each operation uses it; when the pass is over."""
        return [
            Use(*use, len(gradients), max(map(_way, gradients), key=list(Way).index), self._seconds[use])
            for use, gradients in self._gradients.items()
        ]

    def _add(self, name: str, gradient: PerSampleGradient) -> None:
        use = name, self._operation
        self._gradients.setdefault(use, []).append(gradient)
        if self._receiving is not None:
            self._receiving.append(use)
        super()._add(name, gradient)

    def _reduce(self, name: str) -> None:
        seconds = _seconds(lambda: super(TimedContributions, self)._reduce(name))
        if self._receiving is None:
            self._share(seconds, [use for use in self._gradients if use[0] == name])

    def _share(self, seconds: float, uses: list[tuple[str, str]]) -> None:
        for use in uses:
            self._seconds[use] += seconds / len(uses)


def _way(gradient: PerSampleGradient) -> Way:
    if gradient.late:
        return Way.SAMPLES if gradient.alone else Way.ENTRIES
    return Way.RULE


def _seconds(do: Callable[[], Any]) -> float:
    start = time.perf_counter()
    do()
    return time.perf_counter() - start
