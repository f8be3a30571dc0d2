"""How the gradient of every parameter is computed, and how long that takes."""

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
    """How the per-sample gradients of an operation's parameter are computed, fastest first."""

    RULE = "rule"
    ENTRIES = "entry by entry"
    SAMPLES = "sample by sample"


@dataclass(frozen=True)
class Use:
    """A parameter and one operation that uses it.

    Attributes:
        parameter: name of the parameter.
        operation: autograd's name of the operation, or the type of a module with its own rule.
        calls: number of calls that use the parameter in one forward pass.
        way: the slowest way among these calls.
        seconds: total time to compute and reduce the gradient of these calls.
    """

    parameter: str
    operation: str
    calls: int
    way: Way
    seconds: float


class TimedContributions(Contributions):
    """Contributions that measure the time of each use of a parameter."""

    def __init__(self, graph: Graph, plan: Plan, calls: Sequence[Call], samples: int) -> None:
        super().__init__(graph, plan, calls, samples)
        self._gradients: dict[tuple[str, str], list[PerSampleGradient]] = {}
        self._seconds: defaultdict[tuple[str, str], float] = defaultdict(float)
        self._receiving: list[tuple[str, str]] | None = None

    def receive(self, planned: Planned, operation: Operation) -> None:
        """Add the contributions of one operation, and measure the time."""
        self._receiving = []
        seconds = _seconds(lambda: super(TimedContributions, self).receive(planned, operation))
        self._share(seconds, self._receiving)
        self._receiving = None

    def uses(self) -> list[Use]:
        """All uses of parameters; call this after `finish`."""
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


def _seconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
