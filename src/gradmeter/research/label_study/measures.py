"""How well scores find planted errors, with paired bootstrap intervals over the samples."""

from __future__ import annotations

from collections.abc import Sequence

from gradmeter.research.gradient_gain.gains import AUPR_OUT, AUROC, Counts, Resampled, Separated, Values
from gradmeter.research.gradient_gain.scored import Scored

FIRST = 100
"""The number of samples that are looked at first."""
PRECISION = f"precision_{FIRST}"
MEASURES = (AUROC, AUPR_OUT, PRECISION)
"""AUROC, the area under the precision-recall curve with planted errors as positives, and precision among the first."""

_REPETITIONS = 300


class _Planted(Separated):
    """One draw of planted errors; a higher score means that the label is more likely to be wrong."""

    def measures_of(self, counts: Counts) -> dict[str, Values]:
        return super().measures_of(counts) | {PRECISION: counts.precision_of_first(FIRST)}


def resample_planted(draws: Sequence[Scored], repetitions: int = _REPETITIONS) -> Resampled:
    """Return the measures of all scores in several draws.

    Planted errors and right labels are resampled separately in each draw, the same resamples for all scores.

    Args:
        draws: the scores of each draw; `outside` are the planted errors.
        repetitions: number of resamples.
    """
    return Resampled([_Planted(draw) for draw in draws], repetitions)
