"""The results of a run, compared with scikit-learn on the same logits and readings."""

import dataclasses
import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.metrics import average_precision_score, roc_auc_score

from gradmeter import Readings
from gradmeter.reading.statistics import METRICS
from gradmeter.research.study.classifiers import TrainingTask, tasks
from gradmeter.research.study.features import Features
from gradmeter.research.study.judging import (
    PENALTIES,
    THRESHOLDS,
    LinearClassifier,
    fit_regressions,
    judge_networks,
    judge_thresholds,
    penalised,
    read_regressions,
    write_regressions,
)
from gradmeter.research.study.outcome import Outcome
from gradmeter.research.study.paper import PAPER_BASE_RATES
from gradmeter.research.study.results import Result
from gradmeter.trust import neural
from gradmeter.trust.neural import train_networks
from gradmeter.trust.regressions import REGRESSIONS

Values = dict[tuple[str, str, str], float]


@pytest.fixture(scope="module")
def fitted(outcome: Outcome) -> dict[str, LinearClassifier]:
    return fit_regressions(outcome, whole_gradient=False, on_fit=lambda name, share: None)


@pytest.fixture(scope="module")
def judged(outcome: Outcome, fitted: dict[str, LinearClassifier]) -> Values:
    return by_key(judge_thresholds(outcome, fitted, "step"))


def by_key(results: Iterable[Result]) -> Values:
    values = [((r.score, r.column, r.measure), float(r.value)) for r in results]
    assert len(dict(values)) == len(values), "a result occurs twice"
    return dict(values)


def outside(outcome: Outcome, column: str) -> tuple[Readings, np.ndarray]:
    """Return the readings that a column compares correct digits with, and a mask of the samples that belong to it."""
    readings = outcome.test if column == "wrong" else outcome.unknowns[column]
    return readings, outcome.test_wrong if column == "wrong" else np.ones(len(readings), bool)


def expected(correct: np.ndarray, others: np.ndarray) -> dict[str, float]:
    scores, unknown = np.concatenate([correct, others]), np.repeat([0, 1], [len(correct), len(others)])
    return {
        "auroc": roc_auc_score(unknown, scores),
        "aupr_out": average_precision_score(unknown, scores),
        "aupr_in": average_precision_score(1 - unknown, -scores),
    }


def uncertainty(name: str, readings: Readings) -> np.ndarray:
    """Compute a score of Table 1 directly; higher means less certain."""
    shares = torch.softmax(readings.logits.double(), 1)
    if name == "softmax":
        return -shares.amax(1).numpy()
    if name == "entropy":
        return -torch.special.xlogy(shares, shares).sum(1).numpy() / np.log(10)
    values = readings["all", name].numpy()
    return -values if name == "min" else values


@pytest.mark.parametrize("column", ["wrong", "letters", "cifar10", "uniform"])
@pytest.mark.parametrize("name", ["softmax", "entropy", *METRICS])
def test_thresholds(name: str, column: str, outcome: Outcome, judged: Values) -> None:
    readings, mask = outside(outcome, column)
    correct = uncertainty(name, outcome.test)[~outcome.test_wrong]
    for measure, value in expected(correct, uncertainty(name, readings)[mask]).items():
        assert judged[name, column, measure] == pytest.approx(value, abs=1e-9)


def test_the_thresholds_are_all_that_table_1_lists() -> None:
    assert set(THRESHOLDS) == {"softmax", "entropy", *METRICS}


def test_all_pools_the_unknowns_of_table_3(outcome: Outcome, judged: Values) -> None:
    pooled = [uncertainty("l2", outcome.unknowns[role]) for role in ("cifar10", "uniform")]
    correct = uncertainty("l2", outcome.test)[~outcome.test_wrong]
    assert judged["l2", "all", "auroc"] == pytest.approx(expected(correct, np.concatenate(pooled))["auroc"])


def test_counts_and_errors(outcome: Outcome, judged: Values) -> None:
    for column, (count, base_rate) in outcome.counts().items():
        assert judged["", column, "n"] == count
        assert judged["", column, "base_rate"] == base_rate
    assert judged["", "", "test_error"] == outcome.test_wrong.mean()
    assert judged["", "", "validation_error"] == outcome.validation_wrong.mean()


def test_gradients_without_spread_are_counted(outcome: Outcome, judged: Values) -> None:
    assert judged["", "", "zero_variance"] == 0
    values = outcome.test.values.clone()
    values[:3, 1, METRICS.index("std")] = 0
    flat = Readings(outcome.test.logits, outcome.test.log_scale, outcome.test.layers, values)
    assert by_key(judge_thresholds(dataclasses.replace(outcome, test=flat), {}, "step"))["", "", "zero_variance"] == 3


def test_aupr_at_the_papers_base_rate_weighs_the_samples(outcome: Outcome, judged: Values) -> None:
    correct = uncertainty("entropy", outcome.test)[~outcome.test_wrong]
    letters = uncertainty("entropy", outcome.unknowns["letters"])
    rate = PAPER_BASE_RATES["letters"]
    weights = np.repeat([(1 - rate) / len(correct), rate / len(letters)], [len(correct), len(letters)])
    value = average_precision_score(
        np.repeat([0, 1], [len(correct), len(letters)]), np.concatenate([correct, letters]), sample_weight=weights
    )
    assert judged["entropy", "letters", "aupr_out_matched"] == pytest.approx(value)
    assert ("entropy", "all", "aupr_out_matched") not in judged


def test_distributions_are_compared_by_kolmogorov_and_smirnov(outcome: Outcome, judged: Values) -> None:
    correct = uncertainty("min", outcome.test)[~outcome.test_wrong]
    test = stats.ks_2samp(correct, uncertainty("min", outcome.unknowns["uniform"]))
    assert judged["min", "uniform", "ks"] == pytest.approx(test.statistic)
    assert judged["min", "uniform", "ks_p"] == pytest.approx(test.pvalue)


def test_the_interpolation_is_passed_on(outcome: Outcome, judged: Values) -> None:
    trapezoid = by_key(judge_thresholds(outcome, {}, "trapezoid"))
    assert trapezoid["l2", "wrong", "aupr_out"] != judged["l2", "wrong", "aupr_out"]
    assert trapezoid["l2", "wrong", "auroc"] == judged["l2", "wrong", "auroc"]


def test_regressions_are_fitted_on_the_sets_that_the_study_needs(fitted: dict[str, LinearClassifier]) -> None:
    groups = ("dense", "conv3+dense", "conv2+conv3+dense")
    assert set(fitted) == {
        *("glm_a", "lasso_a", "ridge_a", "elastic_net_a", "lasso_b", "lasso_c"),
        *(f"{name}_a@{group}" for name in ("lasso", "ridge") for group in groups),
        *("lasso_a, penalty 10", "lasso_a, penalty 100", "lasso_a, penalty 1000"),
    }
    weights = [np.abs(fitted[penalised(penalty)].coefficients).sum() for penalty in PENALTIES]
    assert weights == sorted(weights, reverse=True)
    assert set(fitted["ridge_a@conv3+dense"].features.names) == {
        "entropy",
        *(f"{layer}/{metric}" for layer in ("conv3", "dense") for metric in METRICS),
    } - {"dense/mean"}


@pytest.mark.parametrize("name", ["glm_a", "lasso_c", "ridge_a@dense", "elastic_net_a"])
def test_a_reduced_regression_scores_as_the_whole_pipeline(
    name: str, outcome: Outcome, fitted: dict[str, LinearClassifier], judged: Values
) -> None:
    method, _, rest = name.rpartition("_")
    training_set, _, group = rest.partition("@")
    task = TrainingTask(training_set, tuple(group.split("+")) if group else None)
    features = task.features(outcome, whole_gradient=False)
    pipeline = REGRESSIONS[method]().fit(*task.training_data(outcome, features))
    for readings in (outcome.test, outcome.unknowns["uniform"]):
        np.testing.assert_allclose(
            fitted[name].score(readings), pipeline.decision_function(features.matrix(readings)), rtol=1e-9, atol=1e-9
        )
    digits = pipeline.decision_function(features.matrix(outcome.test))
    letters = pipeline.decision_function(features.matrix(outcome.unknowns["letters"]))
    for measure, value in expected(digits[~outcome.test_wrong], letters).items():
        assert judged[name, "letters", measure] == pytest.approx(value)
    assert judged[name, "", "iterations"] == np.max(pipeline[-1].n_iter_)


def test_a_regression_that_does_not_converge_is_reported(
    outcome: Outcome, fitted: dict[str, LinearClassifier], judged: Values, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert judged["lasso_a", "", "converged"] == 1
    hasty = REGRESSIONS["ridge"]().set_params(logisticregression__max_iter=1)
    monkeypatch.setitem(REGRESSIONS, "ridge", lambda: hasty)
    again = fit_regressions(outcome, whole_gradient=False, on_fit=lambda name, share: None)
    assert not again["ridge_a"].converged
    assert again["lasso_a"] == fitted["lasso_a"]


def test_fitted_regressions_are_read_as_they_were_written(fitted: dict[str, LinearClassifier], tmp_path: Path) -> None:
    write_regressions(tmp_path / "fitted.json", fitted)
    assert read_regressions(tmp_path / "fitted.json") == fitted
    content = json.loads((tmp_path / "fitted.json").read_text())
    assert content["lasso_a@dense"]["features"][:3] == ["entropy", "dense/l1", "dense/l2"]


def test_networks_are_judged_one_by_one_and_averaged(outcome: Outcome, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neural, "_MAX_EPOCHS", 4)
    bank = train_networks([task.meta_data(outcome, whole_gradient=False) for task in tasks(outcome)], 3, seed=0)
    judged = by_key(judge_networks(outcome, bank, whole_gradient=False, aupr="step"))
    features = Features.every(outcome.validation)
    for position, task in enumerate(tasks(outcome)):
        digits = bank.scores(position, features.matrix(outcome.test))
        uniform = bank.scores(position, features.matrix(outcome.unknowns["uniform"]))
        each = [expected(digits[s][~outcome.test_wrong], uniform[s]) for s in range(3)]
        assert len({values["auroc"] for values in each}) == 3
        for measure in ("auroc", "aupr_in", "aupr_out"):
            mean = np.mean([values[measure] for values in each])
            assert judged[task.name("nn"), "uniform", measure] == pytest.approx(mean)
