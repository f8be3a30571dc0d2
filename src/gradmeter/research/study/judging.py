"""Evaluate a run: every threshold and every meta classifier on every column."""

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

from gradmeter.files import write_text
from gradmeter.reading.readings import Readings
from gradmeter.reading.scores import entropy, max_softmax
from gradmeter.research.own_files import own_file
from gradmeter.research.study.classifiers import TrainingTask, tasks
from gradmeter.research.study.features import Features
from gradmeter.research.study.names import MEASURES, PAPER_METRICS
from gradmeter.research.study.outcome import Outcome, Score
from gradmeter.research.study.paper import PAPER_BASE_RATES
from gradmeter.research.study.results import Result
from gradmeter.trust.evaluation import aupr_out_at_base_rate, separation, two_sample
from gradmeter.trust.evaluation.separation import Interpolation
from gradmeter.trust.neural import NetworkBank
from gradmeter.trust.regressions import REGRESSIONS, lasso

_DISTRIBUTIONS = ("entropy", "l2", "min")  # the scores of Figure 2


def _logits(readings: Readings) -> np.ndarray:
    return np.asarray(readings.logits.double().numpy())


def _metric(metric: str) -> Score:
    """Return a statistic of the whole gradient as a score; the minimum with its sign reversed."""
    sign = -1.0 if metric == "min" else 1.0
    return lambda readings: np.asarray(sign * readings["all", metric].numpy())


OF_LOGITS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "softmax": lambda logits: -max_softmax(logits),
    "entropy": entropy,
}
"""Scores of logits [N, C] alone, as uncertainties [N]."""


def _of_logits(score: Callable[[np.ndarray], np.ndarray]) -> Score:
    return lambda readings: score(_logits(readings))


THRESHOLDS: dict[str, Score] = {
    **{name: _of_logits(score) for name, score in OF_LOGITS.items()},
    **{metric: _metric(metric) for metric in PAPER_METRICS},
}
"""The scores of Table 1, which are thresholded without a classifier, as uncertainties."""


PENALTIES = (10.0, 100.0, 1000.0)
"""Further penalties of the LASSO on the summed loss: the paper gives 1 but not what it is relative to."""


@dataclass(frozen=True)
class LinearClassifier:
    """A fitted logistic regression on z-scored features.

    Attributes:
        features: the features, in the order of `coefficients`.
        mean: means of the training features.
        scale: standard deviations of the training features.
        coefficients: weights of the z-scored features; positive weights raise P(wrong or unknown).
        intercept: the intercept.
        iterations: number of iterations of the solver.
        converged: whether the solver converged before its iteration limit.
    """

    features: Features
    mean: list[float]
    scale: list[float]
    coefficients: list[float]
    intercept: float
    iterations: int
    converged: bool

    @classmethod
    def of(cls, features: Features, pipeline: Pipeline, converged: bool) -> LinearClassifier:
        """Take the parameters of a fitted pipeline."""
        scaler, regression = pipeline[0], pipeline[-1]
        return cls(
            features,
            scaler.mean_.tolist(),
            scaler.scale_.tolist(),
            regression.coef_[0].tolist(),
            float(regression.intercept_[0]),
            int(np.max(regression.n_iter_)),
            converged,
        )

    def score(self, readings: Readings) -> np.ndarray:
        """Return the log odds of "wrong or unknown", [N] float64."""
        z = (self.features.matrix(readings) - self.mean) / self.scale
        return np.asarray(z @ np.array(self.coefficients) + self.intercept)


def fit_regressions(
    outcome: Outcome, *, whole_gradient: bool, on_fit: Callable[[str, float], None]
) -> dict[str, LinearClassifier]:
    """Fit the regressions of every task, and on the validation digits the LASSO with the penalties of `PENALTIES`.

    Args:
        outcome: the run.
        whole_gradient: whether the features include the statistics of the whole gradient.
        on_fit: called after each fit with the name of the regression and the share of fits that are done.

    Returns:
        The fitted regressions by name in results.
    """
    fitted: dict[str, LinearClassifier] = {}
    fits: list[tuple[TrainingTask, str, Callable[[], Pipeline]]] = [
        *((task, task.name(name), REGRESSIONS[name]) for task in tasks(outcome) for name in _regressions_for(task)),
        *((TrainingTask("a"), penalised(penalty), partial(lasso, penalty)) for penalty in PENALTIES),
    ]
    for task, name, make in fits:
        features = task.features(outcome, whole_gradient=whole_gradient)
        matrix, labels = task.training_data(outcome, features)
        with warnings.catch_warnings(record=True) as records:
            warnings.simplefilter("always", ConvergenceWarning)
            pipeline = make().fit(matrix, labels)
        converged = not any(issubclass(record.category, ConvergenceWarning) for record in records)
        fitted[name] = LinearClassifier.of(features, pipeline, converged)
        on_fit(name, len(fitted) / len(fits))
    return fitted


def penalised(penalty: float) -> str:
    """Return the name in results of the LASSO on training set (a) with the given penalty."""
    return f"lasso_a, penalty {penalty:g}"


def _regressions_for(task: TrainingTask) -> tuple[str, ...]:
    """Return all four regressions for the validation digits, LASSO and ridge for the ablation, else the LASSO."""
    if task.layers is not None:
        return "lasso", "ridge"
    return tuple(REGRESSIONS) if task.training_set == "a" else ("lasso",)


def write_regressions(path: Path, fitted: dict[str, LinearClassifier]) -> None:
    """Write fitted regressions as JSON, atomically; features are written by their column names."""
    content = {
        name: {**asdict(classifier), "features": classifier.features.names} for name, classifier in fitted.items()
    }
    write_text(path, json.dumps(content, indent=1))


def read_regressions(path: Path) -> dict[str, LinearClassifier]:
    """Read the regressions that `write_regressions` wrote.

    Raises:
        DataError: the file is missing or damaged.
    """
    with own_file(path):
        content = json.loads(path.read_text(encoding="utf-8"))
        return {
            name: LinearClassifier(**{**fields, "features": Features.named(fields["features"])})
            for name, fields in content.items()
        }


def judge_thresholds(outcome: Outcome, fitted: dict[str, LinearClassifier], aupr: Interpolation) -> Iterator[Result]:
    """Evaluate the thresholds and the regressions of a run, and count its images and errors."""
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
        for column, scores_outside in outside.items():
            test = two_sample(correct, scores_outside)
            yield Result(name, column, "ks", test.statistic)
            yield Result(name, column, "ks_p", test.p_value)


def judge(outcome: Outcome, name: str, score: Score, aupr: Interpolation) -> Iterator[Result]:
    """Evaluate a score on every column."""
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
    """Evaluate the neural meta classifiers of a run; each result is the mean over initialisations.

    Args:
        outcome: the run.
        bank: the networks of the run, in the order of its tasks.
        whole_gradient: whether the features include the statistics of the whole gradient, as in training.
        aupr: "step" or "trapezoid".
    """
    features = Features.every(outcome.validation, whole_gradient=whole_gradient)
    matrices = {id(readings): features.matrix(readings) for readings in (outcome.test, *outcome.unknowns.values())}
    for position, task in enumerate(tasks(outcome)):
        scores = {key: bank.scores(position, matrix) for key, matrix in matrices.items()}
        values: dict[tuple[str, str], list[float]] = {}
        for network in range(bank.output.shape[1]):
            for result in judge(outcome, "", _network_score(scores, network), aupr):
                values.setdefault((result.column, result.measure), []).append(result.value)
        for (column, measure), initialisations in values.items():
            yield Result(task.name("nn"), column, measure, float(np.mean(initialisations)))


def _network_score(scores: dict[int, np.ndarray], network: int) -> Score:
    return lambda readings: scores[id(readings)][network]


def _zero_variance(outcome: Outcome) -> int:
    """Count the gradients (per sample and layer) without spread; their skewness and kurtosis are 0 by convention."""
    sets = (outcome.validation, outcome.test, *outcome.unknowns.values(), *outcome.known_unknowns.values())
    return sum(int((readings.values[:, :, readings.metrics.index("std")] == 0).sum()) for readings in sets)
