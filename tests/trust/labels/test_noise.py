"""The noise model finds its parameters in labels that are drawn from it, and its odds are those of Bayes."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import check_grad
from scipy.special import log_softmax, softmax

from gradmeter.stages import Advance, show_stages
from gradmeter.trust.labels import LabelReadings, LabelScores
from gradmeter.trust.labels.experts import classes_of, network_expert
from gradmeter.trust.labels.noise import Classes, NoiseModel, NoiseProblem, fit_noise
from gradmeter.trust.labels.rate import rate_interval
from trust.labels.drawn import drawn


def some_classes(foreign: tuple[int, ...] = (), rare: tuple[int, ...] = (), classes: int = 6) -> Classes:
    labelled = ~np.isin(np.arange(classes), foreign)
    confusion = np.random.default_rng(1).random((classes, classes)) * labelled
    np.fill_diagonal(confusion, 0)
    confusion /= confusion.sum(axis=1, keepdims=True)
    return Classes(confusion, labelled, ~labelled, np.isin(np.arange(classes), rare))


SHARES = np.arange(1, 7) / 21


@pytest.mark.parametrize("experts", [1, 2])
def test_the_gradient_of_the_likelihood(experts: int) -> None:
    random = np.random.default_rng(0)
    evidence = [2 * random.normal(size=(40, 6)) for _ in range(experts)]
    classes = replace(some_classes((4, 5), (0,)), shares=SHARES)
    problem = NoiseProblem(evidence, random.integers(0, 4, 40), classes)
    point = np.concatenate([0.3 + random.random(experts), [-2.0, 0.5, -1.0, -0.3]])
    assert check_grad(lambda x: problem(x)[0], lambda x: problem(x)[1], point) < 1e-5
    curved, bent = problem.with_curves(), np.concatenate([point[:experts], [0.2, 0.3], point[experts:]])
    assert check_grad(lambda x: curved(x)[0], lambda x: curved(x)[1], bent) < 1e-4


def test_the_log_odds_and_the_loss_of_labels_are_those_of_bayes() -> None:
    random = np.random.default_rng(0)
    classes = replace(some_classes((4, 5), (0,)), shares=SHARES)
    evidence, labels = 2 * random.normal(size=(30, 6)), random.integers(0, 4, 30)
    model = NoiseModel(classes, np.array([0.7]), 0.2, 0.6, 0.1, 0.3, 0.0)
    # A sample is foreign (0.2 * 0.3); else its class is rare or not, and its label is wrong with the rest of the rate.
    foreign = 0.2 * 0.3
    wrong = 0.2 * 0.7 / (1 - foreign)
    share = np.array([(1 - foreign) * 0.1, *[(1 - foreign) * 0.9] * 3, *[foreign] * 2])
    prior = share / np.array([1, 3, 3, 3, 2, 2]) * 6
    loss = 0.0
    for row, label in enumerate(labels):
        p = softmax(0.7 * evidence[row]) * SHARES * prior
        right = p[label] * (1 - wrong)
        others = [t for t in range(6) if t != label]
        bad = sum(p[t] * (1.0 if t > 3 else wrong) * (0.4 / 3 + 0.6 * classes.confusion[t, label]) for t in others)
        assert model.log_odds([evidence[row : row + 1]], labels[row : row + 1])[0] == pytest.approx(np.log(bad / right))
        loss -= np.log((right + bad) / p.sum())
    assert NoiseProblem([evidence], labels, classes).loss_of_labels(model) == pytest.approx(loss)


@pytest.mark.parametrize("learned", [0.0, 1.0], ids=["equal shares", "the same shares"])
@pytest.mark.parametrize("rate", [0.0, 0.05])
def test_rare_classes(rate: float, learned: float) -> None:
    """A network that had learned where the same classes were as rare was taken for one that expects equal shares."""
    random, shares = np.random.default_rng(0), 2.0 ** -np.arange(10)
    shares /= shares.sum()
    centres = random.normal(size=(10, 16))
    centres *= 3 / np.linalg.norm(centres, axis=1, keepdims=True)
    truth = random.choice(10, 3000, p=shares)
    logits = (centres[truth] + random.normal(size=(3000, 16))) @ centres.T + learned * np.log(shares)
    wrong = random.random(3000) < rate
    labels = np.where(wrong, (truth + random.integers(1, 10, 3000)) % 10, truth)
    inputs = LabelReadings(labels, logits.astype(np.float32), np.zeros((3000, 1), np.float32))
    evidence = [network_expert(LabelScores(inputs), np.arange(3000))]
    problem, model = fit_noise(evidence, labels, classes_of(inputs))
    interval = rate_interval(problem, model, 3000)
    assert interval.low <= wrong.mean() <= interval.high
    assert interval.high - interval.low < 0.03


@pytest.mark.parametrize("rate", [0.0, 0.02, 0.1, 0.6, 0.9])
@pytest.mark.parametrize("sharpness", [1.0, 2.0])
def test_the_rate_of_a_network_that_may_be_too_sure(rate: float, sharpness: float) -> None:
    inputs, wrong = drawn(rate, sharpness=sharpness)
    evidence, classes = [network_expert(LabelScores(inputs), np.arange(len(inputs)))], classes_of(inputs)
    problem, model = fit_noise(evidence, inputs.labels, classes)
    interval = rate_interval(problem, model, len(inputs))
    assert interval.low <= wrong.mean() <= interval.high
    assert interval.high - interval.low < 0.12
    if rate < 0.8:
        assert model.weights[0] == pytest.approx(1 / sharpness, rel=0.25)


@pytest.mark.slow
def test_an_interval_covers_and_is_no_wider_than_needed() -> None:
    held, rates, widths = 0, [], []
    for seed in range(40):
        inputs, _ = drawn(0.1, 600, seed=seed)
        evidence = [log_softmax(inputs.logits.astype(np.float64), axis=1)]
        problem, model = fit_noise(evidence, inputs.labels, classes_of(inputs))
        interval = rate_interval(problem, model, len(inputs))
        held += interval.low <= 0.1 <= interval.high
        rates.append(model.rate)
        widths.append(interval.high - interval.low)
    assert held >= 34
    assert np.mean(widths) / (2 * 1.96) == pytest.approx(np.std(rates), rel=0.4)


def test_a_network_that_knows_nothing_leaves_the_rate_open() -> None:
    random = np.random.default_rng(0)
    labels = random.integers(0, 6, 500)
    problem, model = fit_noise([1e-3 * random.normal(size=(500, 6))], labels, some_classes())
    interval = rate_interval(problem, model, 500)
    assert interval.high - interval.low > 0.9


@pytest.mark.parametrize("classes", [2, 10])
@pytest.mark.parametrize("confidence", [0.7, 0.9, 0.95])
def test_equal_confidences_do_not_tell_wrong_labels_from_wrong_predictions(classes: int, confidence: float) -> None:
    """The network is always right and unduly modest; 5 % of the labels are the next class."""
    random = np.random.default_rng(0)
    truth, at = random.integers(classes, size=2000), np.arange(2000)
    p = np.full((2000, classes), (1 - confidence) / (classes - 1))
    p[at, truth] = confidence
    labels = np.where(at % 20 == 0, (truth + 1) % classes, truth)
    inputs = LabelReadings(labels, np.log(p).astype(np.float32), np.zeros((2000, 1), np.float32))
    problem, model = fit_noise([np.log(p)], labels, classes_of(inputs))
    interval = rate_interval(problem, model, 2000)
    assert interval.low == 0
    assert 0.05 < interval.high < 0.08


def test_certain_and_wrong_predictions_of_classes_without_labels() -> None:
    """Nothing tells them from images of these classes with a wrong label."""
    inputs, _ = drawn(0.0, 1000)
    truth = np.arange(1000) % 2
    logits = np.where(np.arange(6) == truth[:, None], 12.0, 0.0)
    logits[:20, 4] = 24.0
    inputs = LabelReadings(truth, logits.astype(np.float32), np.zeros((1000, 1), np.float32))
    evidence = [network_expert(LabelScores(inputs), np.arange(1000))]
    problem, model = fit_noise(evidence, truth, classes_of(inputs))
    interval = rate_interval(problem, model, 1000)
    assert interval.low < 0.002
    assert 0.015 < interval.high < 0.05


@pytest.mark.parametrize(("rate", "seed"), [(0.03, 2), (0.1, 3), (0.1, 5)])
def test_a_class_that_no_sample_can_have_changes_nothing(rate: float, seed: int) -> None:
    inputs, _ = drawn(rate, 600, seed=seed)
    results = []
    for logits in (0.5 * inputs.logits, np.hstack([0.5 * inputs.logits, np.full((600, 1), -50.0)])):
        readings = LabelReadings(inputs.labels, logits.astype(np.float32), inputs.embedding)
        evidence = [network_expert(LabelScores(readings), np.arange(600))]
        problem, model = fit_noise(evidence, inputs.labels, classes_of(readings))
        interval = rate_interval(problem, model, 600)
        results.append((model.rate, interval.low, interval.high))
    assert results[1] == pytest.approx(results[0], abs=1e-3)


def test_weights_for_a_model_s_shares() -> None:
    inputs, _ = drawn(0.1)
    evidence = log_softmax(inputs.logits.astype(np.float64), axis=1)
    _, model = fit_noise([evidence], inputs.labels, classes_of(inputs))
    noise = np.random.default_rng(9).normal(size=evidence.shape)
    _, weighed = fit_noise([evidence, noise], inputs.labels, model.classes, like=model)
    assert (weighed.rate, weighed.confused) == pytest.approx((model.rate, model.confused))
    np.testing.assert_allclose(weighed.weights, [1, 0], atol=0.15)


def test_the_fit_is_shown_because_it_takes_a_minute_with_1000_classes() -> None:
    names: list[str] = []

    @contextmanager
    def show(name: str, steps: int | None) -> Iterator[Advance]:
        names.append(name)
        yield lambda done: None

    inputs, _ = drawn(0.1)
    with show_stages(show):
        problem, model = fit_noise(
            [network_expert(LabelScores(inputs), np.arange(len(inputs)))], inputs.labels, classes_of(inputs)
        )
        rate_interval(problem, model, len(inputs))
    assert names == ["fitting the noise model", "estimating the share of wrong labels"]
