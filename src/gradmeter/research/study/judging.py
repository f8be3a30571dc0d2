"""Judging a run: every threshold and every meta classifier against every column."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.pipeline import Pipeline

from gradmeter.errors import DataError
from gradmeter.files import write_text
from gradmeter.reading.readings import Readings
from gradmeter.reading.scores import entropy, max_softmax
from gradmeter.research.study.classifiers import TrainingTask, all_features, tasks
from gradmeter.research.study.features import Features
from gradmeter.research.study.names import PAPER_METRICS
from gradmeter.research.study.outcome import Outcome, Score
from gradmeter.research.study.paper import PAPER_BASE_RATES
from gradmeter.research.study.results import Result
from gradmeter.trust.evaluation import aupr_out_at_base_rate, separation, two_sample
from gradmeter.trust.evaluation.separation import Interpolation
from gradmeter.trust.neural import NetworkBank
from gradmeter.trust.regressions import REGRESSIONS, lasso

MEASURES = ("auroc", "aupr_in", "aupr_out")
_DISTRIBUTIONS = ("entropy", "l2", "min")  # those of Figure 2


def _logits(readings: Readings) -> np.ndarray:
    return np.asarray(readings.logits.double().numpy())


def _metric(metric: str) -> Score:
    """A metric of the whole gradient (A6); the minimum with its sign reversed (A8)."""
    sign = -1.0 if metric == "min" else 1.0
    return lambda readings: np.asarray(sign * readings["all", metric].numpy())


OF_LOGITS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "softmax": lambda logits: -max_softmax(logits),
    "entropy": entropy,
}
"""The scores that need nothing but logits [N, C], as uncertainties [N]."""


def _of_logits(score: Callable[[np.ndarray], np.ndarray]) -> Score:
    return lambda readings: score(_logits(readings))


THRESHOLDS: dict[str, Score] = {
    **{name: _of_logits(score) for name, score in OF_LOGITS.items()},
    **{metric: _metric(metric) for metric in PAPER_METRICS},
}
"""The scores that are thresholded as they are (Table 1), as uncertainties."""


PENALTIES = (10.0, 100.0, 1000.0)
"""Penalties on the summed loss with which the LASSO is fitted, too: the paper's 1 leaves its convention open (A17)."""


@dataclass(frozen=True)
class LinearClassifier:
    """A fitted regression, reduced to what its score needs.

    Attributes:
        features: names, in order.
        mean: of the training features.
        scale: their standard deviations.
        coefficients: on the z-scored features.
        intercept: on the z-scored features.
        iterations: of the solver.
        converged: whether the solver came to rest before its limit (A19).
    """

    features: tuple[str, ...]
    mean: list[float]
    scale: list[float]
    coefficients: list[float]
    intercept: float
    iterations: int
    converged: bool

    @classmethod
    def of(cls, features: Features, pipeline: Pipeline, converged: bool) -> LinearClassifier:
        """Read a fitted pipeline."""
        scaler, regression = pipeline[0], pipeline[-1]
        return cls(
            features.names,
            scaler.mean_.tolist(),
            scaler.scale_.tolist(),
            regression.coef_[0].tolist(),
            float(regression.intercept_[0]),
            int(np.max(regression.n_iter_)),
            converged,
        )

    def score(self, readings: Readings) -> np.ndarray:
        """Log odds of "wrong or unknown", [N] float64."""
        z = (Features(tuple(self.features)).matrix(readings) - self.mean) / self.scale
        return np.asarray(z @ np.array(self.coefficients) + self.intercept)


def fit_regressions(
    outcome: Outcome, *, whole_gradient: bool, on_fit: Callable[[str, float], None]
) -> dict[str, LinearClassifier]:
    """GLM, LASSO, ridge and elastic net on the validation digits; LASSO and ridge also on the other tasks.

    On the validation digits the LASSO is also fitted with stronger penalties, under the names of `penalised`.
    """
    fitted: dict[str, LinearClassifier] = {}
    wanted: list[tuple[TrainingTask, str, Callable[[], Pipeline]]] = [
        *((task, task.name(name), REGRESSIONS[name]) for task in tasks(outcome) for name in _regressions_for(task)),
        *((TrainingTask("a"), penalised(penalty), partial(lasso, penalty)) for penalty in PENALTIES),
    ]
    for task, name, make in wanted:
        features = task.features(outcome, whole_gradient=whole_gradient)
        matrix, targets = task.training_data(outcome, features)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ConvergenceWarning)
            pipeline = make().fit(matrix, targets)
        converged = not any(issubclass(warning.category, ConvergenceWarning) for warning in caught)
        fitted[name] = LinearClassifier.of(features, pipeline, converged)
        on_fit(name, len(fitted) / len(wanted))
    return fitted


def penalised(penalty: float) -> str:
    """The name in results of the LASSO on (a) with a penalty of its own."""
    return f"lasso_a, penalty {penalty:g}"


def _regressions_for(task: TrainingTask) -> tuple[str, ...]:
    """All four on the validation digits; the LASSO on every set; LASSO and ridge in the layer ablation."""
    if task.layers is not None:
        return "lasso", "ridge"
    return tuple(REGRESSIONS) if task.training_set == "a" else ("lasso",)


def write_regressions(path: Path, fitted: dict[str, LinearClassifier]) -> None:
    """Write fitted regressions as JSON, whole or not at all."""
    write_text(path, json.dumps({name: asdict(classifier) for name, classifier in fitted.items()}, indent=1))


def read_regressions(path: Path) -> dict[str, LinearClassifier]:
    """Read what `write_regressions` wrote.

    Raises:
        DataError: if the file is missing or damaged.
    """
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        return {name: LinearClassifier(**given) for name, given in stored.items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is not readable ({error}); remove it and run the same command again") from error


def judge_thresholds(outcome: Outcome, fitted: dict[str, LinearClassifier], aupr: Interpolation) -> Iterator[Result]:
    """All results of a run that need no neural network."""
    for column, (count, base_rate) in outcome.counts().items():
        yield Result("", column, "n", count)
        yield Result("", column, "base_rate", base_rate)
    yield Result("", "", "test_error", outcome.test_wrong.mean())
    yield Result("", "", "validation_error", outcome.validation_wrong.mean())
    yield Result("", "", "zero_variance", _zero_variance(outcome))
    scores = THRESHOLDS | {name: classifier.score for name, classifier in fitted.items()}
    for name, score in scores.items():
        yield from judge(outcome, name, score, aupr)
    for name, classifier in fitted.items():
        yield Result(name, "", "iterations", classifier.iterations)
        yield Result(name, "", "converged", classifier.converged)
    for name in _DISTRIBUTIONS:
        correct, outside = outcome.scored(THRESHOLDS[name])
        for column, values in outside.items():
            test = two_sample(correct, values)
            yield Result(name, column, "ks", test.statistic)
            yield Result(name, column, "ks_p", test.p_value)


def judge(outcome: Outcome, name: str, score: Score, aupr: Interpolation) -> Iterator[Result]:
    """What a score reaches in every column."""
    inside, outside = outcome.scored(score)
    for column, scores in outside.items():
        separated = separation(inside, scores, aupr=aupr)
        for measure in MEASURES:
            yield Result(name, column, measure, getattr(separated, measure))
        if column in PAPER_BASE_RATES:
            matched = aupr_out_at_base_rate(inside, scores, PAPER_BASE_RATES[column])
            yield Result(name, column, "aupr_out_matched", matched)


def judge_networks(
    outcome: Outcome, bank: NetworkBank, *, whole_gradient: bool, aupr: Interpolation
) -> Iterator[Result]:
    """The results of a run's neural networks: the mean over the initialisations of each (A10).

    Args:
        outcome: the run.
        bank: its networks, in the order of its tasks.
        whole_gradient: as in training.
        aupr: "step" or "trapezoid".
    """
    features = all_features(outcome.validation, whole_gradient=whole_gradient)
    matrices = {id(readings): features.matrix(readings) for readings in (outcome.test, *outcome.unknowns.values())}
    for position, task in enumerate(tasks(outcome)):
        scores = {key: bank.scores(position, matrix) for key, matrix in matrices.items()}
        found: dict[tuple[str, str], list[float]] = {}
        for network in range(bank.output.shape[1]):
            for result in judge(outcome, "", _looked_up(scores, network), aupr):
                found.setdefault((result.column, result.measure), []).append(result.value)
        for (column, measure), values in found.items():
            yield Result(task.name("nn"), column, measure, float(np.mean(values)))


def _looked_up(scores: dict[int, np.ndarray], network: int) -> Score:
    return lambda readings: scores[id(readings)][network]


def _zero_variance(outcome: Outcome) -> int:
    """Gradients (sample and layer) without spread, whose skewness and kurtosis are 0 by convention (A4)."""
    sets = (outcome.validation, outcome.test, *outcome.unknowns.values(), *outcome.known_unknowns.values())
    return sum(int((readings.values[:, :, readings.metrics.index("std")] == 0).sum()) for readings in sets)
