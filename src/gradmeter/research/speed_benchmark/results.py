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
# Keys of the measured parts, and keys that must be equal to continue a benchmark.
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
    """Median and quartiles.

    Attributes:
        median: the median.
        low: the first quartile.
        high: the third quartile.
    """

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: list[float]) -> Spread:
        """The spread of at least one value."""
        low, _, high = quantiles(values, n=4, method="inclusive") if len(values) > 1 else values * 3
        return cls(median(values), low, high)


@dataclass(frozen=True)
class Row:
    """The result of one method on one network with one number of threads.

    Attributes:
        method: name of the method.
        seconds: median time of a batch; None if the method failed.
        ratio: time divided by that of the plain passes (T0) in the same round; None if the method failed.
        memory: memory in bytes; None if the method failed.
        memory_ratio: memory divided by that of T0.
        disagreement: largest relative difference of the samples' gradient norms from exact ones; None if not measured.
        rounds: number of rounds that count.
        note: what the method's preparation decided, for example a tile size.
        error: the error in one line; None if there was none.
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
    """The results so far; the file is written after every step.

    Args:
        folder: the output folder.
        options: what is measured.
        described: versions and machine, which must be equal for all results in a file, and the user's command.
    """

    def __init__(self, folder: Path, options: BenchOptions, described: Mapping[str, Any]) -> None:
        self.store, self.options = Store(folder, _KIND), options
        self.content: dict[str, Any] = as_json(
            {**described, "options": options.to_dict(), **{name: {} for name in _MEASURED}}
        )

    def begin(self, *, fresh: bool = False) -> None:
        """Continue the benchmark in the folder, or start a new one.

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
        """Memory, seconds and disagreement, or the error, by network and method."""
        probes: dict[str, dict[str, dict[str, Any]]] = self.content["probes"]
        return probes

    @property
    def timings(self) -> dict[str, dict[str, dict[str, dict[str, Any]]]]:
        """Seconds, note and error by network, number of threads and method."""
        timings: dict[str, dict[str, dict[str, dict[str, Any]]]] = self.content["timings"]
        return timings

    @property
    def stream(self) -> dict[str, dict[str, Any]]:
        """Seconds and memory, or the error, by number of images."""
        stream: dict[str, dict[str, Any]] = self.content["stream"]
        return stream

    def rows(self, model: str, threads: int) -> list[Row]:
        """One row for each method."""
        return [self._row(model, threads, method) for method in self.options.methods]

    def row(self, model: str, threads: int, method: str) -> Row | None:
        """The row of a method; None if the method is not in the options."""
        return next((row for row in self.rows(model, threads) if row.method == method), None)

    def ratio(self, model: str, threads: int, method: str, reference: str) -> Spread | None:
        """The time of a method divided by that of a reference in the same round; None if either has no times."""
        timings = self.timings.get(model, {}).get(str(threads), {})
        pairs = zip(
            timings.get(method, {}).get("seconds", []), timings.get(reference, {}).get("seconds", []), strict=False
        )
        ratios = [seconds / reference_seconds for seconds, reference_seconds in pairs]
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
