"""Results as records for JSON and CSV."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

from gradmeter.apps.workflows.sets import ReadSet
from gradmeter.trust.evaluation.comparison import MEASURES, Comparison
from gradmeter.trust.evaluation.resampling import Interval
from gradmeter.trust.model import TrustModel
from gradmeter.trust.risk import Guarantee


def estimate_records(comparison: Comparison) -> list[dict[str, Any]]:
    """Return one record per measure, column and method, with the value and its interval; shares are fractions."""
    return [
        {"measure": measure, "column": column, "method": method, **interval_record(interval)}
        for (measure, column, method), interval in comparison.estimates.items()
    ]


def difference_records(comparison: Comparison) -> list[dict[str, Any]]:
    """Return one record per measure, column and other method, with P(correct) minus that method, and the verdict."""
    return [
        {
            "measure": measure,
            "column": column,
            "other": other,
            **interval_record(interval),
            "better": MEASURES[measure].better,
            "verdict": comparison.verdict(measure, column, other),
        }
        for (measure, column, other), interval in comparison.differences.items()
    ]


def guarantee_record(guarantee: Guarantee | None) -> dict[str, Any] | None:
    """Return the risk guarantee as a record; None without one."""
    if guarantee is None:
        return None
    shares = guarantee.unknown_shares
    return {**asdict(guarantee), "unknown_shares": None if shares is None else list(shares)}


def reads_record(trust: TrustModel) -> dict[str, Any]:
    """Return what a TrustModel reads of each input, and the comparison that chose it, if there was one."""
    look = trust.meter.second_look
    return {
        "gradients": trust.meter.gradients,
        "second_look_above": None if look is None or look == math.inf else look,
        "choice": None if trust.choice is None else asdict(trust.choice),
    }


def skipped_records(sets: tuple[ReadSet, ...]) -> list[dict[str, str]]:
    """Return one record per sample that could not be read."""
    return [
        {"data": data.name, "id": skipped.id, "reason": skipped.reason} for data in sets for skipped in data.skipped
    ]


def interval_record(interval: Interval) -> dict[str, float | None]:
    """Return an interval as a record, with None for numbers that are not finite, because JSON has no NaN."""
    return {name: value if math.isfinite(value) else None for name, value in asdict(interval).items()}
