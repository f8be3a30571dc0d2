"""The results of a benchmark: what results.json holds, and what is read from it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from gradmeter.errors import OutputError
from gradmeter.files import write_text
from gradmeter.research.speed_benchmark.methods import REFERENCE
from gradmeter.research.speed_benchmark.options import BenchOptions

FILE = "results.json"
# What the page is made from, and of which type; a folder whose file lacks one of them is not a benchmark's.
_PARTS = {"gradmeter": str, "options": dict, "versions": dict, "machine": dict}
_MEASURED = {"probes": dict, "timings": dict, "stream": dict}
# What must be equal for old results to be gone on with.
_SAME = ("gradmeter", "versions", "machine")


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
    """What a page says of one method on one network with one number of threads.

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
    """What was measured so far, in a file that is whole after every step."""

    def __init__(self, folder: Path, options: BenchOptions, described: Mapping[str, Any]) -> None:
        self.path = folder / FILE
        self.options = options
        self.content: dict[str, Any] = {
            **described,
            "options": options.to_dict(),
            **{name: {} for name in _MEASURED},
        }

    def read(self, *, fresh: bool = False) -> bool:
        """Take over what an earlier benchmark left, if it was made in the same way; whether there was one.

        Args:
            fresh: leave it, whichever way it was made.

        Raises:
            OutputError: if it was made otherwise, or the file is damaged or no benchmark's.
        """
        try:
            found = json.loads(self.path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return False
        except (ValueError, OSError) as error:
            raise OutputError(f"{self.path} is not readable ({error}); choose another --out") from error
        kinds = _PARTS | _MEASURED
        if not isinstance(found, dict) or any(not isinstance(found.get(name), kind) for name, kind in kinds.items()):
            raise OutputError(f"{self.path} was not written by gradmeter bench; choose another --out")
        if fresh:
            return False
        if differences := self._differences(found):
            raise OutputError(
                f"{self.path} was made otherwise ({'; '.join(differences)}); "
                "choose another --out, or --fresh to start it anew"
            )
        self.content = found
        return True

    def write(self) -> None:
        """Write the file, whole or not at all."""
        write_text(self.path, json.dumps(self.content, indent=1, ensure_ascii=False) + "\n")

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

    def _differences(self, found: Mapping[str, Any]) -> list[str]:
        differences = self.options.differences(found["options"])
        for part in _SAME:
            if found[part] != self.content[part]:
                then, now = found[part], self.content[part]
                if isinstance(now, dict):
                    names = [name for name in {**then, **now} if then.get(name) != now.get(name)]
                    differences += [f"{name}: {then.get(name)!r} -> {now.get(name)!r}" for name in names]
                else:
                    differences.append(f"{part}: {then!r} -> {now!r}")
        return differences
