"""The paper's claims C1 to C15, each tested on the study's own numbers.

A difference holds if it has the claimed sign and its paired 95 % interval over runs excludes zero. A single run has no
interval, so the sign decides. Sizes from the paper are shown beside ours but do not affect the verdict. The statements
name the margins for "match", "nothing" and "close".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from gradmeter.research.study.names import CONCEPTS, FAILS, HOLDS, MEASURES, SCORES, UNTESTED, signed
from gradmeter.research.study.results import AllResults
from gradmeter.research.study.tables import Row, recorded
from gradmeter.trust.evaluation import PairedDifference, paired_difference

_GRADIENT_METRICS = ("l1", "l2", "min", "max", "std")
_REGULARISED = ("lasso", "ridge", "elastic_net")
_COLUMNS = ("wrong", "letters", "cifar10", "uniform")


class _MissingError(Exception):
    """Raised if the results lack a number that a claim needs."""


class _Numbers:
    """The results in percent; raises `_MissingError` for results that do not exist."""

    def __init__(self, results: AllResults, names: Mapping[str, str]) -> None:
        self._results = results
        self.names = names

    def runs(self, score: str, column: str, measure: str) -> np.ndarray:
        values = self._results(recorded(score), column, measure)
        if values is None:
            # If the column exists, the data lacks the known unknowns that the score is trained with.
            missing = score if column in ("", *self._results.columns()) else column
            raise _MissingError(f"it needs {self.names.get(missing, missing)}, which this data does not have")
        return 100 * values

    def mean(self, score: str, column: str, measure: str = "auroc") -> float:
        return float(self.runs(score, column, measure).mean())

    def gain(self, score: str, over: str, column: str, measure: str = "auroc") -> PairedDifference:
        return paired_difference(self.runs(score, column, measure), self.runs(over, column, measure))

    def unknown_columns(self) -> tuple[str, ...]:
        return tuple(column for column in self._results.columns() if column not in ("wrong", "all"))


Verdict = tuple[bool, str]


@dataclass(frozen=True)
class Claim:
    """A claim of the paper.

    Attributes:
        name: "C1" to "C15".
        statement: the claim, with the margin that the test uses.
        test: returns whether the claim holds, and the numbers that decide.
    """

    name: str
    statement: str
    test: Callable[[_Numbers], Verdict]


def judge_claims(results: AllResults, names: Mapping[str, str]) -> list[Row]:
    """Return the records of claims.csv: claim, statement, numbers, verdict.

    Args:
        results: results of all runs.
        names: display name of each concept.
    """
    numbers = _Numbers(results, SCORES | CONCEPTS | dict(names))
    rows: list[Row] = []
    for claim in CLAIMS:
        try:
            holds, text = claim.test(numbers)
            verdict = HOLDS if holds else FAILS
        except _MissingError as error:
            verdict, text = UNTESTED, str(error)
        rows.append({"claim": claim.name, "statement": claim.statement, "numbers": text, "verdict": verdict})
    return rows


def _above_zero(difference: PairedDifference) -> bool:
    return difference.mean > 0 if math.isnan(difference.low) else difference.low > 0


def _below_zero(difference: PairedDifference) -> bool:
    return difference.mean < 0 if math.isnan(difference.high) else difference.high < 0


def _format(difference: PairedDifference) -> str:
    if math.isnan(difference.low):
        return signed(difference.mean)
    return f"{signed(difference.mean)} [{signed(difference.low)}, {signed(difference.high)}]"


def _list(numbers: _Numbers, parts: Mapping[str, str]) -> str:
    return "; ".join(f"{numbers.names.get(key, key)} {text}" for key, text in parts.items())


def _gains(numbers: _Numbers, gains: Mapping[str, PairedDifference]) -> str:
    return _list(numbers, {key: _format(gain) for key, gain in gains.items()})


def _c1(numbers: _Numbers) -> Verdict:
    gains = {metric: numbers.gain(metric, "softmax", "wrong") for metric in _GRADIENT_METRICS}
    matching = [metric for metric, gain in gains.items() if gain.mean >= -0.5]
    return len(matching) >= 3, (
        f"AUROC softmax {numbers.mean('softmax', 'wrong'):.2f}, entropy {numbers.mean('entropy', 'wrong'):.2f}; "
        f"difference to softmax: {_gains(numbers, gains)}"
    )


def _c2(numbers: _Numbers) -> Verdict:
    # A threshold may be used in either direction, so an AUROC below one half counts as 1 - AUROC.
    best = {m: max(numbers.mean(m, "wrong"), 100 - numbers.mean(m, "wrong")) for m in ("mean", "skewness", "kurtosis")}
    softmax = numbers.mean("softmax", "wrong")
    return all(value < softmax - 10 for value in best.values()), (
        "AUROC in the better direction: "
        + _list(numbers, {metric: f"{value:.2f}" for metric, value in best.items()})
        + f"; softmax {softmax:.2f}"
    )


def _c3(numbers: _Numbers) -> Verdict:
    gains = {column: numbers.gain("l2", "softmax", column) for column in ("letters", "cifar10", "uniform")}
    real = min(gains["letters"].mean, gains["cifar10"].mean)
    return real >= -2 and gains["uniform"].mean < real, (
        "Euclidean norm, AUROC and difference to softmax: "
        + _list(numbers, {c: f"{numbers.mean('l2', c):.2f} ({_format(gain)})" for c, gain in gains.items()})
    )


def _c4(numbers: _Numbers) -> Verdict:
    def average(score: str) -> np.ndarray:
        mean: np.ndarray = np.mean([numbers.runs(score, column, "auroc") for column in _COLUMNS], axis=0)
        return mean

    gains = {name: paired_difference(average(name), average("glm")) for name in _REGULARISED}
    return all(map(_above_zero, gains.values())), (
        f"AUROC averaged over the four columns: GLM {average('glm').mean():.2f}; "
        f"difference to it: {_gains(numbers, gains)}; "
        f"GLM converged in {numbers.mean('glm', '', 'converged'):.0f} % of the runs "
        f"({numbers.mean('glm', '', 'iterations') / 100:.0f} iterations on average)"
    )


def _c5(numbers: _Numbers) -> Verdict:
    auroc = {name: numbers.gain(name, "softmax", "wrong") for name in _REGULARISED}
    aupr = {name: numbers.gain(name, "softmax", "wrong", "aupr_out") for name in _REGULARISED}
    return all(gain.mean >= -0.1 for gain in auroc.values()), (
        f"difference to softmax, AUROC: {_gains(numbers, auroc)}; AUPR-Out: {_gains(numbers, aupr)}"
    )


def _c6(numbers: _Numbers) -> Verdict:
    auroc, aupr = (numbers.gain("nn_a", "softmax", "wrong", measure) for measure in ("auroc", "aupr_out"))
    return _below_zero(auroc), (
        f"NN (a) minus softmax: AUROC {_format(auroc)} (paper -3.25), AUPR-Out {_format(aupr)} (paper -6.99)"
    )


def _c7(numbers: _Numbers) -> Verdict:
    lasso = numbers.gain("lasso_a", "lasso_a@dense", "wrong")
    ridge = numbers.gain("ridge_a", "ridge_a@dense", "wrong")
    network = numbers.gain("nn_a", "nn_a@dense", "wrong")
    return max(lasso.mean, ridge.mean) <= 0.1 and _above_zero(network), (
        "AUROC on wrong digits, all layers minus the last alone: "
        f"LASSO {_format(lasso)}; ridge {_format(ridge)}; NN {_format(network)}"
    )


def _c8(numbers: _Numbers) -> Verdict:
    paper = {"letters": 5.00, "cifar10": 14.08, "uniform": 8.28}
    gains = {column: numbers.gain("lasso", "softmax", column, "aupr_out") for column in paper}
    matched = {column: numbers.gain("lasso", "softmax", column, "aupr_out_matched") for column in paper}
    return all(map(_above_zero, (*gains.values(), *matched.values()))), _list(
        numbers,
        {
            column: f"{_format(gains[column])}, at the paper's base rate {_format(matched[column])} (paper {gain:+.2f})"
            for column, gain in paper.items()
        },
    )


def _c9(numbers: _Numbers) -> Verdict:
    gain = numbers.gain("nn_b", "nn_a", "all", "aupr_out")
    return _above_zero(gain), (
        f"NN (b) {numbers.mean('nn_b', 'all', 'aupr_out'):.2f} minus NN (a) "
        f"{numbers.mean('nn_a', 'all', 'aupr_out'):.2f}: {_format(gain)} (paper +13.74)"
    )


def _c10(numbers: _Numbers) -> Verdict:
    gain = numbers.gain("nn_d", "nn_b", "all", "aupr_out")
    return gain.mean <= 3, f"NN (d) minus NN (b), AUPR-Out: {_format(gain)} (paper +2.17)"


def _c11(numbers: _Numbers) -> Verdict:
    paper = {"aupr_out": 3.48, "auroc": 0.81, "aupr_in": 0.12}
    gains = {measure: numbers.gain("nn_d", "softmax", "all", measure) for measure in paper}
    return all(map(_above_zero, gains.values())), _list(
        numbers,
        {MEASURES[measure]: f"{_format(gain)} (paper {paper[measure]:+.2f})" for measure, gain in gains.items()},
    )


def _c12(numbers: _Numbers) -> Verdict:
    gains = {name: numbers.gain(name, "nn_a", "wrong") for name in ("nn_b", "nn_c", "nn_d")}
    return all(map(_above_zero, gains.values())), "AUROC on wrong digits minus that of NN (a): " + _gains(
        numbers, gains
    )


def _c13(numbers: _Numbers) -> Verdict:
    gain = numbers.gain("nn_b", "nn_normal", "all", "aupr_out")
    inside = numbers.gain("nn_normal", "nn_a", "wrong")
    return _above_zero(gain), (
        f"AUPR-Out on all unknowns, uniform minus normal noise in training: {_format(gain)}; "
        f"AUROC on wrong digits, normal noise minus none: {_format(inside)}"
    )


def _c14(numbers: _Numbers) -> Verdict:
    columns = ("wrong", *numbers.unknown_columns())
    scores = ("entropy", "l2", "min")
    largest_p = max(float(numbers.runs(s, c, "ks_p").max()) / 100 for s in scores for c in columns)
    distance, score, column = min((float(numbers.runs(s, c, "ks").min()) / 100, s, c) for s in scores for c in columns)
    return largest_p < 0.001, (
        f"Kolmogorov-Smirnov, all runs: smallest distance {distance:.2f} ({numbers.names[score]}, "
        f"{numbers.names[column]}), largest p {largest_p:.1g}"
    )


def _c15(numbers: _Numbers) -> Verdict:
    gains = {column: numbers.gain("nn_a", "softmax", column) for column in numbers.unknown_columns()}
    worse = {column: gain for column, gain in gains.items() if _below_zero(gain)}
    return bool(worse), f"AUROC of NN (a) minus softmax: {_gains(numbers, gains)}"


CLAIMS = (
    Claim(
        "C1",
        "Several gradient metrics match entropy and softmax in finding wrong digits "
        "(at least three within half a point of softmax's AUROC).",
        _c1,
    ),
    Claim(
        "C2",
        "Mean, skewness and kurtosis are useless as thresholds for wrong digits (more than 10 points of AUROC below "
        "softmax).",
        _c2,
    ),
    Claim(
        "C3",
        "Gradient metrics separate letters and CIFAR-10 well (within 2 points of softmax's AUROC) and noise poorly "
        "(further below softmax than either).",
        _c3,
    ),
    Claim("C4", "The unregularised GLM is the worst regression, the regularised ones are the best.", _c4),
    Claim(
        "C5",
        "The regularised regressions find wrong digits as well as softmax or better (no more than 0.1 points of AUROC "
        "below; the paper's own Table 2 does not support it).",
        _c5,
    ),
    Claim("C6", "That is not true for the neural network: it is below softmax.", _c6),
    Claim(
        "C7",
        "Early layers add nothing for the regressions (at most 0.1 points) but something for the neural network.",
        _c7,
    ),
    Claim("C8", "The LASSO gains AUPR-Out over softmax on every unknown concept, also at the paper's base rate.", _c8),
    Claim("C9", "A few uniform noise images in training raise the neural network's AUPR-Out on all unknowns.", _c9),
    Claim("C10", "They come close to using all known unknowns (AUPR-Out within 3 points).", _c10),
    Claim(
        "C11", "With all known unknowns the neural network beats softmax on all unknowns, in all three measures.", _c11
    ),
    Claim("C12", "Known unknowns also help in finding wrong digits.", _c12),
    Claim("C13", "Normal noise as the known unknown helps less than uniform noise.", _c13),
    Claim(
        "C14",
        "Entropy, Euclidean norm and minimum are distributed differently for correct digits than for wrong digits and "
        "for every unknown concept (p < 0.001 in every run).",
        _c14,
    ),
    Claim(
        "C15",
        "A neural network trained on validation digits only does not serve all unknowns: on some it is below softmax.",
        _c15,
    ),
)
"""The claims in the order of the paper."""
