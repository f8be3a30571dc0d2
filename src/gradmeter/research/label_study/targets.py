"""What was aimed at, and whether it was reached."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean

from gradmeter.research.gradient_gain.gains import AUROC
from gradmeter.research.label_study.measures import FIRST, PRECISION
from gradmeter.research.label_study.names import COMBINED
from gradmeter.research.label_study.results import SetResults
from gradmeter.research.label_study.subjects import GROUPS, Group

Results = Mapping[str, Sequence[SetResults]]

_LEAST_LEAD = -0.1  # points of AUROC
_RATE_ERROR = 0.2
_PRECISION_RATE = 0.05


@dataclass(frozen=True)
class Target:
    """An aim and its result.

    Attributes:
        aim: what was aimed at.
        wanted: the value that was aimed at.
        result: the value that was reached, with the set of labels where it is the worst.
        met: whether the aim is reached.
    """

    aim: str
    wanted: str
    result: str
    met: bool


def targets(results: Results) -> Iterator[Target]:
    """Iterate over the targets of all groups that are reported."""
    for name, sets in results.items():
        group = GROUPS[name]
        if group.reported:
            yield _lead(group, sets)
            if group.precision is not None:
                yield _precision(group, group.precision, sets)
            yield _rates(group, sets)


def rate_ratio(result: SetResults, group: Group, estimator: str = COMBINED) -> float:
    """Return the estimated share of wrong labels, the mean over draws, divided by the true one."""
    return mean(rate.value for rate in result.rates[estimator]) / true_rate(result, group)


def true_rate(result: SetResults, group: Group) -> float:
    """Return the share of labels that are wrong: planted errors, and those that were wrong before."""
    return result.rate + (1 - result.rate) * group.wrong_before


def _lead(group: Group, sets: Sequence[SetResults]) -> Target:
    leads = {}
    for result in sets:
        best = result.best_single(AUROC)
        leads[f"{result.title}, {best}"] = 100 * result.leads[AUROC][best].value
    where = min(leads, key=lambda key: leads[key])
    return Target(
        f"{group.title}: AUROC minus the best single score's, worst set",
        f">= {_LEAST_LEAD:+.1f}",
        f"{leads[where]:+.2f} ({where})",
        leads[where] >= _LEAST_LEAD,
    )


def _precision(group: Group, wanted: float, sets: Sequence[SetResults]) -> Target:
    values = {
        result.kind: 100 * result.values[PRECISION][COMBINED].value for result in sets if result.rate == _PRECISION_RATE
    }
    where = min(values, key=lambda key: values[key])
    return Target(
        f"{group.title}: precision among the first {FIRST} at 5 %, worst kind",
        f">= {wanted:g}",
        f"{values[where]:.1f} ({where})",
        values[where] >= wanted,
    )


def _rates(group: Group, sets: Sequence[SetResults]) -> Target:
    ratios = {result.title: rate_ratio(result, group) for result in sets}
    within = [title for title, ratio in ratios.items() if abs(ratio - 1) <= _RATE_ERROR]
    where = max(ratios, key=lambda key: abs(ratios[key] - 1))
    return Target(
        f"{group.title}: estimated rate within a fifth of the truth, sets",
        f"{len(sets)} of {len(sets)}",
        f"{len(within)} of {len(sets)}; worst {ratios[where]:.2f} times ({where})",
        len(within) == len(sets),
    )
