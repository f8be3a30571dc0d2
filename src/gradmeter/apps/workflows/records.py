"""What came of it as JSON and CSV values, for programs."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

from gradmeter.apps.workflows.sets import ReadSet
from gradmeter.trust.evaluation.comparison import MEASURES, Comparison
from gradmeter.trust.evaluation.resampling import Interval
from gradmeter.trust.risk import Guarantee


def estimate_records(comparison: Comparison) -> list[dict[str, Any]]:
    """One record for each measure, column and method: value and interval, shares as fractions."""
    return [
        {"measure": measure, "column": column, "method": method, **_interval(found)}
        for (measure, column, method), found in comparison.estimates.items()
    ]


def difference_records(comparison: Comparison) -> list[dict[str, Any]]:
    """One record for each measure, column and other method: P(correct) minus it, and the verdict."""
    return [
        {
            "measure": measure,
            "column": column,
            "other": other,
            **_interval(found),
            "better": MEASURES[measure].better,
            "verdict": comparison.verdict(measure, column, other),
        }
        for (measure, column, other), found in comparison.differences.items()
    ]


def guarantee_record(guarantee: Guarantee | None) -> dict[str, Any] | None:
    """The promise."""
    return None if guarantee is None else asdict(guarantee)


def skipped_records(sets: tuple[ReadSet, ...]) -> list[dict[str, str]]:
    """Samples that could not be read."""
    return [{"data": data.name, "id": one.id, "reason": one.reason} for data in sets for one in data.skipped]


def _interval(found: Interval) -> dict[str, float | None]:
    # JSON knows no NaN.
    return {name: value if math.isfinite(value) else None for name, value in asdict(found).items()}
