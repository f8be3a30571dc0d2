"""The targets of the task, computed from the scores of the networks that are only reported."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from gradmeter.research.ood_benchmark.real.images import CIFAR100, DIGITS, NORMAL, TINY, UNIFORM
from gradmeter.research.ood_benchmark.real.names import IF_KNOWN, name_of
from gradmeter.research.ood_benchmark.real.results import RealResults
from gradmeter.research.ood_benchmark.results import BASELINE
from gradmeter.research.ood_benchmark.run import OURS, WRONG

# Points above the softmax on wrong predictions, by measure.
_ABOVE_SOFTMAX = {"auroc": ("AUROC", 0.6), "aupr_out": ("AUPR-Out", 1.0)}
# Points of AUROC above the best detector.
_ABOVE_BEST = {CIFAR100: 1.0, TINY: 0.5}
_FAR = (DIGITS, UNIFORM, NORMAL)
_LEAST_FAR = 99.8


@dataclass(frozen=True)
class Target:
    """A target and whether it is met.

    Attributes:
        quantity: what is measured.
        expected: what is to be reached.
        value: what is reached.
        met: whether it is.
    """

    quantity: str
    expected: str
    value: str
    met: bool


def targets(results: RealResults) -> Iterator[Target]:
    """Yield the targets for the results of the networks that are only reported; all measures but AURC in percent."""

    def mean(method: str, column: str, measure: str = "auroc") -> float:
        return 100 * results.mean(method, column, measure).mean

    for measure, (name, points) in _ABOVE_SOFTMAX.items():
        gain = mean(IF_KNOWN, WRONG, measure) - mean(BASELINE, WRONG, measure)
        yield _at_least(f"P(correct \\| known), wrong, {name} minus the softmax's", points, gain)
    pairs = list(zip(results.quality(IF_KNOWN, WRONG), results.quality(BASELINE, WRONG), strict=True))
    lower = sum(ours.aurc < softmax.aurc for ours, softmax in pairs)
    yield Target(
        "P(correct \\| known), wrong, AURC below the softmax's: networks and draws",
        f"{len(pairs)} of {len(pairs)}",
        f"{lower} of {len(pairs)}",
        lower == len(pairs),
    )
    for column, points in _ABOVE_BEST.items():
        best = max(results.detectors, key=_mean_of(mean, column))
        gain = mean(OURS, column) - mean(best, column)
        yield _at_least(f"P(correct), {column}, AUROC minus the best detector's ({name_of(best)})", points, gain)
    for column in _FAR:
        yield _at_least(f"P(correct), {column}, AUROC", _LEAST_FAR, mean(OURS, column), sign="")
    yield _at_least("P(correct), wrong, AUROC minus the softmax's", 0.0, mean(OURS, WRONG) - mean(BASELINE, WRONG))
    ranks = results.ranks().mean
    first = next(iter(ranks))
    yield Target(
        "P(correct), mean rank by AUROC over networks and columns",
        "first",
        f"{ranks[OURS]:.2f}" + ("" if first == OURS else f"; first: {name_of(first)}, {ranks[first]:.2f}"),
        first == OURS,
    )


def _mean_of(mean: Callable[[str, str], float], column: str) -> Callable[[str], float]:
    return lambda method: mean(method, column)


def _at_least(quantity: str, least: float, value: float, sign: str = "+") -> Target:
    """Return a target that compares the value as it is shown."""
    shown = round(value, 2)
    return Target(quantity, f">= {least:{sign}.1f}", f"{shown:{sign}.2f}", shown >= least)
