"""The results of the speed benchmark, in results.json."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from gradmeter.research.speed_benchmark.methods import REFERENCE
from gradmeter.research.speed_benchmark.options import BenchOptions
from gradmeter.runs.store import Store, StoreKind, as_json

FILE = "results.json"
# Measured parts, and what must be equal to continue a benchmark.
_MEASURED = ("probes", "timings", "stream")
_IDENTITY = ("gradmeter", "versions", "machine", "options")
_KIND = StoreKind(
    FILE,
    "a benchmark",
    "gradmeter bench",
    {"gradmeter": str, "options": dict, "versions": dict, "machine": dict, **dict.fromkeys(_MEASURED, dict)},
)


@dataclass(frozen=True)
class Spread:
    """Median and quartiles."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: list[float]) -> Spread:
        """Those of at least one value."""
        low, _, high = quantiles(values, n=4, method="inclusive") if len(values) > 1 else values * 3
        return cls(median(values), low, high)


@dataclass(frozen=True)
class Row:
    """The result of one method on one network with one number of threads.

    Attributes:
        method: its name.
        seconds: median; None where it failed.
        ratio: to T0 of the same round.
        memory: bytes; None where it failed.
        memory_ratio: to T0's.
        disagreement: the largest relative difference of the samples' norms to exact ones, None where not told.
        rounds: that counted.
        note: what its preparation decided.
        error: one line; None where it went well.
    """

    method: str
    seconds: float | None
    ratio: Spread | None
    memory: int | None
    memory_ratio: float | None
    disagreement: float | None
    rounds: int
    note: str
    error: str | None


class SpeedResults:
    """What was measured so far; the file is complete after every step.

    Args:
        folder: the output folder.
        options: what is measured.
        described: versions and machine, which results in one file must share, and the user's command.
    """

    def __init__(self, folder: Path, options: BenchOptions, described: Mapping[str, Any]) -> None:
        self.store, self.options = Store(folder, _KIND), options
        self.content: dict[str, Any] = as_json(
            {**described, "options": options.to_dict(), **{name: {} for name in _MEASURED}}
        )

    def begin(self, *, fresh: bool = False) -> None:
        """Continue the benchmark in the folder, or begin one.

        Args:
            fresh: start over if the folder holds results.

        Raises:
            DataError: if the file is damaged.
            OutputError: if the folder holds something else, or results made with other settings.
        """
        identity = {key: self.content[key] for key in _IDENTITY}
        if recorded := self.store.begin(identity, fresh=fresh):
            self.content = recorded
        else:
            self.write()

    def write(self) -> None:
        """Write the file, whole or not at all."""
        self.store.write(self.content)

    @property
    def probes(self) -> dict[str, dict[str, dict[str, Any]]]:
        """By network and method: memory, seconds, disagreement, or error."""
        probes: dict[str, dict[str, dict[str, Any]]] = self.content["probes"]
        return probes

    @property
    def timings(self) -> dict[str, dict[str, dict[str, dict[str, Any]]]]:
        """By network, threads and method: seconds, note, error."""
        timings: dict[str, dict[str, dict[str, dict[str, Any]]]] = self.content["timings"]
        return timings

    @property
    def stream(self) -> dict[str, dict[str, Any]]:
        """By number of images: seconds and memory, or error."""
        stream: dict[str, dict[str, Any]] = self.content["stream"]
        return stream

    def rows(self, model: str, threads: int) -> list[Row]:
        """One row for each method."""
        return [self._row(model, threads, method) for method in self.options.methods]

    def row(self, model: str, threads: int, method: str) -> Row | None:
        """The row of one method, None if it was not asked for."""
        return next((row for row in self.rows(model, threads) if row.method == method), None)

    def ratio(self, model: str, threads: int, method: str, reference: str) -> Spread | None:
        """The time of one method over another's of the same round; None where one of them has no times."""
        timings = self.timings.get(model, {}).get(str(threads), {})
        pairs = zip(
            timings.get(method, {}).get("seconds", []), timings.get(reference, {}).get("seconds", []), strict=False
        )
        ratios = [mine / other for mine, other in pairs]
        return Spread.of(ratios) if ratios else None

    def _row(self, model: str, threads: int, method: str) -> Row:
        probe = self.probes[model][method]
        timing = self.timings[model][str(threads)].get(method, {"seconds": [], "note": "", "error": None})
        error = probe.get("error") or timing["error"]
        seconds = [] if error else timing["seconds"]
        memory, reference = probe.get("memory"), self.probes[model][REFERENCE].get("memory")
        return Row(
            method,
            median(seconds) if seconds else None,
            self.ratio(model, threads, method, REFERENCE) if seconds else None,
            memory,
            memory / reference if memory is not None and reference else None,
            probe.get("disagreement"),
            len(seconds),
            timing["note"],
            error,
        )
