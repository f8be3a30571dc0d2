"""The results of a group: measures of all scores on every set of planted errors, as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gradmeter.files import read_json, write_text
from gradmeter.research.gradient_gain.gains import Gain
from gradmeter.research.gradient_gain.scored import Scored
from gradmeter.research.label_study.measures import MEASURES, resample_planted
from gradmeter.research.label_study.names import COMBINED, FORWARD, set_title
from gradmeter.research.label_study.sheet import Sheet
from gradmeter.research.own_files import own_file
from gradmeter.trust.evaluation.resampling import Interval


@dataclass(frozen=True)
class SetResults:
    """The results of one kind and rate of errors, over all draws of a group.

    Attributes:
        kind: kind of errors.
        rate: share of labels that were made wrong.
        draws: number of draws.
        values: by measure and score; intervals from resampled labels.
        leads: what P(label is right) has more than each other score, by measure and score.
        rates: estimated share of wrong labels in each draw, by estimator.
        learned: share of the planted errors that the networks themselves predict.
    """

    kind: str
    rate: float
    draws: int
    values: Mapping[str, Mapping[str, Interval]]
    leads: Mapping[str, Mapping[str, Gain]]
    rates: Mapping[str, Sequence[Interval]]
    learned: float

    @property
    def title(self) -> str:
        """The name of the set in tables."""
        return set_title(self.kind, self.rate)

    @classmethod
    def compute(cls, kind: str, rate: float, sheets: Sequence[Sheet]) -> SetResults:
        """Compute the results from the sheet of each draw."""
        resampled = resample_planted([Scored(sheet.planted, sheet.scores) for sheet in sheets])
        names = list(sheets[0].scores)
        return cls(
            kind,
            rate,
            len(sheets),
            {measure: {name: resampled.interval(measure, name) for name in names} for measure in MEASURES},
            {
                measure: {name: resampled.gain(measure, COMBINED, name) for name in names if name != COMBINED}
                for measure in MEASURES
            },
            {name: [sheet.rates[name] for sheet in sheets] for name in sheets[0].rates},
            float(np.mean([sheet.learned for sheet in sheets])),
        )

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> SetResults:
        """Return the results that were written as JSON."""
        return cls(
            **{
                **content,
                "values": _each(content["values"], Interval),
                "leads": _each(content["leads"], Gain),
                "rates": {name: [Interval(**rate) for rate in rates] for name, rates in content["rates"].items()},
            }
        )

    def best_single(self, measure: str) -> str:
        """Return the single score that is best by a measure."""
        values = self.values[measure]
        return max((name for name in values if name not in (COMBINED, FORWARD)), key=lambda name: values[name].value)


def _each(content: Mapping[str, Mapping[str, Any]], kind: type) -> dict[str, dict[str, Any]]:
    return {measure: {name: kind(**value) for name, value in by_name.items()} for measure, by_name in content.items()}


def write_results(path: Path, results: Sequence[SetResults]) -> None:
    """Write the results of all sets of a group, atomically."""
    write_text(path, json.dumps({"sets": [asdict(result) for result in results]}, indent=1) + "\n")


def read_results(path: Path) -> list[SetResults]:
    """Return the results that `write_results` wrote.

    Raises:
        DataError: if the file cannot be read.
    """
    with own_file(path):
        return [SetResults.from_json(content) for content in read_json(path)["sets"]]
