"""LabelCheck finds planted errors, and says clearly what it cannot judge."""

import pickle
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import expit, softmax
from sklearn.metrics import roc_auc_score

from gradmeter import GradientMeter
from gradmeter.errors import InputError, ProbabilitiesWarning
from gradmeter.reading.network import NotFinite
from gradmeter.reading.readings import Readings
from gradmeter.trust.labels import LabelCheck, LabelReadings, read_labels
from gradmeter.trust.labels.corruption import KINDS, corrupt
from gradmeter.trust.labels.folds import folds_of
from gradmeter.trust.labels.heads import out_of_fold
from gradmeter.trust.labels.rate import is_told
from gradmeter.trust.labels.reasons import reasons_of
from gradmeter.trust.labels.scores import LabelScores
from trust.labels.clusters import CLASSES, clusters, with_labels
from trust.labels.drawn import confused, drawn


def test_planted_errors_come_first() -> None:
    inputs, wrong = clusters()
    verdicts = LabelCheck().fit_predict(inputs)
    assert roc_auc_score(wrong, verdicts.log_odds) > 0.99
    first = np.argsort(verdicts.rank)[:20]
    assert wrong[first].all()
    truth = inputs.embedding[:, :CLASSES].argmax(axis=1)
    assert (verdicts.suggestion[first] == truth[first]).all()
    assert verdicts.rate.low <= wrong.mean() <= verdicts.rate.high
    assert verdicts.rate.value == pytest.approx(wrong.mean(), rel=0.3)
    assert set(verdicts.reason[first]) == {"wrong label"}
    assert set(verdicts.reason[verdicts.p_label >= 0.9]) == {""}


def test_clean_labels_stay_unsuspected() -> None:
    inputs, _ = clusters(wrong=0)
    verdicts = LabelCheck().fit_predict(inputs)
    assert verdicts.rate.value < 0.005
    assert (verdicts.p_label > 0.5).mean() > 0.995


def test_a_weak_network_does_not_make_all_labels_certain() -> None:
    """It contradicts a fifth of the right labels. Its likeliest share of wrong ones is 0, which more are nearly as."""
    for wrong in (0, 20):
        inputs, _ = clusters(2000, wrong, spread=2.5)
        verdicts = LabelCheck().fit_predict(inputs)
        assert verdicts.rate.low == 0
        assert 0.001 < (1 - verdicts.p_label).mean() < verdicts.rate.high
        assert 0 < (verdicts.reason != "").sum() < 60


def test_the_same_seed_gives_the_same_verdicts() -> None:
    inputs, _ = clusters(200, 10)
    first, second = (LabelCheck(seed=3).fit_predict(inputs) for _ in range(2))
    np.testing.assert_array_equal(first.p_label, second.p_label)


@pytest.mark.parametrize("kept", [2, 3])
def test_images_of_classes_that_have_no_label(kept: int) -> None:
    inputs, _ = clusters(1200, 0, classes=6)
    truth = inputs.embedding[:, :6].argmax(axis=1)
    known, others = np.flatnonzero(truth < kept), np.flatnonzero(truth >= kept)[:20]
    rows = np.concatenate([known, others])
    labels = np.concatenate([truth[known], np.arange(len(others)) % kept])
    part = LabelReadings(labels, inputs.logits[rows], inputs.embedding[rows])
    verdicts = LabelCheck().fit_predict(part)
    share = len(others) / len(rows)
    assert verdicts.rate.low <= share <= verdicts.rate.high
    assert verdicts.rate.value == pytest.approx(share, rel=0.3)
    assert (verdicts.p_label[-len(others) :] < 0.5).mean() > 0.9
    assert (verdicts.p_label[: -len(others)] > 0.5).mean() > 0.99
    assert (verdicts.suggestion[-len(others) :] == truth[others]).mean() > 0.9


def test_learned_labels_are_judged_by_the_embedding() -> None:
    inputs, wrong = clusters(600, 60)
    # Heads that predict the given label, as those do that have learned it.
    p = np.full((600, CLASSES), 0.05, np.float32)
    p[np.arange(600), inputs.labels] = 0.9
    verdicts = LabelCheck().fit_predict(replace(inputs, probabilities=p))
    assert roc_auc_score(wrong, verdicts.log_odds) > 0.98
    assert verdicts.rate.value == pytest.approx(wrong.mean(), rel=0.2)


@pytest.mark.parametrize("moved", [0.2, 0.3, 0.4])
def test_the_interval_holds_wrong_labels_that_moved_the_embedding(moved: float) -> None:
    """The centres take them for ambiguous labels, although the heads still contradict most of them."""
    random = np.random.default_rng(0)
    truth, wrong, centres = random.integers(8, size=3000), random.random(3000) < 0.1, 4 * np.eye(8, 16)
    labels = np.where(wrong, (truth + random.integers(1, 8, 3000)) % 8, truth)
    clean = centres[truth] + moved * wrong[:, None] * (centres[labels] - centres[truth])
    embedding = (clean + random.normal(size=(3000, 16))).astype(np.float32)
    inputs = LabelReadings(labels, embedding[:, :8], embedding)
    p = out_of_fold(embedding, labels, 8, folds_of(inputs, 5, 0))
    assert (p.argmax(axis=1) != labels)[wrong].mean() > 0.5
    verdicts = LabelCheck().fit_predict(replace(inputs, probabilities=p))
    assert verdicts.rate.low <= wrong.mean() <= verdicts.rate.high


@pytest.mark.parametrize("rate", [0.0, 0.03, 0.1])
def test_learned_labels_of_rare_classes(rate: float) -> None:
    """Right labels of frequent classes were taken for wrong ones, because the centres do not know the shares."""
    random = np.random.default_rng(0)
    shares = 2.0 ** -np.arange(8)
    truth = random.choice(8, 3000, p=shares / shares.sum())
    embedding = (4 * np.eye(8, 16)[truth] + 1.5 * random.normal(size=(3000, 16))).astype(np.float32)
    wrong = random.random(3000) < rate
    labels = np.where(wrong, (truth + random.integers(1, 8, 3000)) % 8, truth)
    inputs = LabelReadings(labels, embedding[:, :8], embedding)
    p = out_of_fold(embedding, labels, 8, folds_of(inputs, 5, 0))
    verdicts = LabelCheck().fit_predict(replace(inputs, probabilities=p))
    assert verdicts.rate.low <= wrong.mean() <= verdicts.rate.high
    assert verdicts.rate.value == pytest.approx(wrong.mean(), rel=0.4, abs=0.02)


@pytest.mark.parametrize("rate", [0.0, 0.05])
@pytest.mark.parametrize("spread", [0.5, 1.0])
def test_learned_labels_of_classes_that_have_no_single_centre(rate: float, spread: float) -> None:
    """Each class has six clusters. The centres take some right labels for wrong ones; the heads do not."""
    random = np.random.default_rng(0)
    truth, part = random.integers(8, size=3000), random.integers(6, size=3000)
    clusters_of = 1.5 * random.normal(size=(8, 6, 16)) + 3 * np.eye(8, 16)[:, None]
    embedding = (clusters_of[truth, part] + spread * random.normal(size=(3000, 16))).astype(np.float32)
    wrong = random.random(3000) < rate
    labels = np.where(wrong, (truth + random.integers(1, 8, 3000)) % 8, truth)
    inputs = LabelReadings(labels, embedding[:, :8], embedding)
    p = out_of_fold(embedding, labels, 8, folds_of(inputs, 5, 0))
    share = LabelCheck().fit_predict(replace(inputs, probabilities=p)).rate
    assert share.low <= wrong.mean() <= share.high


def test_reasons() -> None:
    inputs, _ = clusters()
    inputs.embedding[0] = [0, 0, 0, 0, 0, 0, 0, 9]
    p_label = np.ones(len(inputs))
    p_label[:4] = [0.3, 0.3, 0.7, 0.95]
    assert reasons_of(LabelScores(inputs), p_label)[:4].tolist() == ["unfamiliar input", "wrong label", "ambiguous", ""]


def test_inputs_are_not_unfamiliar_because_few_labels_are_right() -> None:
    inputs, _ = clusters(wrong=0)
    p_label = np.full(len(inputs), 0.1)
    p_label[LabelScores(inputs).neighbours.similarity.mean(axis=1).argmax()] = 1
    reasons = reasons_of(LabelScores(inputs), p_label).tolist()
    assert reasons.count("unfamiliar input") <= 0.01 * len(inputs)
    assert reasons.count("") == 1


def test_gradients_of_the_given_and_of_some_corrupted_labels() -> None:
    torch.manual_seed(0)
    inputs, wrong = clusters(300, 15)
    network = torch.nn.Sequential(torch.nn.Linear(8, 6), torch.nn.ReLU(), torch.nn.Linear(6, CLASSES))
    images = torch.from_numpy(inputs.embedding)
    truth = torch.from_numpy(inputs.embedding[:, :CLASSES].argmax(axis=1))
    optimiser = torch.optim.Adam(network.parameters(), 0.02)
    for _ in range(100):
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(network(images), truth).backward()
        optimiser.step()
    readings = read_labels(GradientMeter(network.eval()), images, torch.from_numpy(inputs.labels), gradients=True)
    verdicts = LabelCheck(reads="gradients").fit_predict(readings)
    assert roc_auc_score(wrong, verdicts.log_odds) > 0.98
    objections = [verdicts.layers[row] for row in np.argsort(verdicts.rank)[:5]]
    assert all(objections)
    assert {layer for layers in objections for layer in layers} <= {"0", "2"}
    assert not any(verdicts.layers[row] for row in np.flatnonzero(verdicts.p_label >= 0.9))
    # In another process, too.
    elsewhere = LabelCheck(reads="gradients").fit_predict(pickle.loads(pickle.dumps(readings)))
    np.testing.assert_array_equal(elsewhere.p_label, verdicts.p_label)


def test_gradients_that_were_not_read() -> None:
    with pytest.raises(InputError, match="gradients"):
        LabelCheck(reads="gradients").fit_predict(clusters(50, 0)[0])


class Reader:
    """Gradients at labels, as loud at a wrong label as wanted, and the rows that were asked for."""

    def __init__(self, truth: np.ndarray, loudness: float) -> None:
        self.rows: list[int] = []
        self._truth, self._loudness = truth, loudness

    def __call__(self, rows: np.ndarray, labels: np.ndarray) -> Readings:
        self.rows.append(len(rows))
        random = np.random.default_rng(len(self.rows))
        is_wrong = (labels != self._truth[rows])[:, None, None]
        values = torch.from_numpy(np.exp(random.normal(size=(len(rows), 2, 8)) + self._loudness * is_wrong))
        logits = torch.from_numpy(random.normal(size=(len(rows), CLASSES)))
        return Readings(logits, torch.full((len(rows),), -1.0), ("1", "all"), values, "labels")


@pytest.mark.slow
@pytest.mark.parametrize(("loudness", "reads"), [(0.0, "forward"), (6.0, "gradients")])
def test_auto_reads_all_gradients_only_if_they_help_for_some(loudness: float, reads: str) -> None:
    inputs, wrong = clusters(2500, 100, spread=3.0)
    reader = Reader(np.where(wrong, -1, inputs.labels), loudness)
    verdicts = LabelCheck(reads="auto").fit_predict(replace(inputs, at=reader))
    assert verdicts.choice is not None
    assert verdicts.choice.reads == reads
    assert reader.rows[:2] == [1000, 300]
    assert len(reader.rows) == (2 if reads == "forward" else 4)
    if reads == "forward":
        np.testing.assert_array_equal(verdicts.log_odds, LabelCheck().fit_predict(inputs).log_odds)
    else:
        assert roc_auc_score(wrong, verdicts.log_odds) > roc_auc_score(wrong, LabelCheck().fit_predict(inputs).log_odds)


def test_auto_without_gradients_reads_the_forward_pass() -> None:
    verdicts = LabelCheck(reads="auto").fit_predict(clusters(100, 5)[0])
    assert verdicts.choice is not None
    assert verdicts.choice.reads == "forward"
    with pytest.raises(InputError, match="'all'"):
        LabelCheck(reads="all")


def test_no_learned_label_is_of_a_class_without_labels() -> None:
    """With most classes absent, each had as much evidence as the class of the label, so that all labels were wrong."""
    inputs, wrong = clusters(600, 30)
    absent = np.full((600, 7), -9.0, np.float32)
    inputs = replace(inputs, logits=np.concatenate([inputs.logits, absent], axis=1))
    folds = folds_of(inputs, 5, 0)
    p = out_of_fold(inputs.embedding, inputs.labels, inputs.classes, folds)
    verdicts = LabelCheck().fit_predict(replace(inputs, probabilities=p))
    assert verdicts.rate.low <= wrong.mean() <= verdicts.rate.high < 0.1
    assert ((verdicts.p_label < 0.5) == wrong).mean() > 0.98


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("classes", "sharpness"), [(40, 1.7), (100, 10.0)])
def test_labels_that_are_wrong_as_an_overconfident_network_confuses_classes(
    classes: int, sharpness: float, seed: int
) -> None:
    inputs, wrong = confused(0.2, sharpness=sharpness, classes=classes, seed=seed)
    rate = LabelCheck().fit_predict(inputs).rate
    assert rate.low <= wrong.mean() <= rate.high
    assert rate.value == pytest.approx(wrong.mean(), rel=0.04)


def test_labels_are_neither_condemned_nor_certain_if_nothing_tells_their_share() -> None:
    inputs, _ = clusters(600, 18)
    noise = np.random.default_rng(0).normal(size=inputs.embedding.shape).astype(np.float32)
    flat = replace(inputs, logits=np.zeros_like(inputs.logits))
    for blind in (flat, replace(flat, embedding=noise)):
        verdicts = LabelCheck().fit_predict(blind)
        assert not is_told(verdicts.rate)
        assert 0.01 < (1 - verdicts.p_label).mean() < 0.2


def test_labels_of_one_class_and_too_few_inputs() -> None:
    inputs, _ = clusters(50, 0)
    with pytest.raises(InputError, match="class 1"):
        LabelCheck().fit_predict(with_labels(inputs, np.ones(50, np.int64)))
    with pytest.raises(InputError, match="of 4 different inputs"):
        LabelCheck().fit_predict(clusters(4, 0)[0])
    with pytest.raises(InputError, match="folds=1"):
        LabelCheck(folds=1)


@pytest.mark.parametrize("option", [{"folds": 2.5}, {"folds": "5"}, {"seed": -1}, {"seed": None}, {"reads": 1}])
def test_options_of_another_kind(option: dict[str, Any]) -> None:
    (name,) = option
    with pytest.raises(InputError, match=f"{name}="):
        LabelCheck(**option)


def test_samples_without_finite_logits_are_named_by_their_place() -> None:
    images = torch.rand(600, 4)
    images[[3, 550]] = torch.nan
    with pytest.raises(NotFinite, match=r"2 of 600 samples \(index 3, 550\)") as raised:
        read_labels(GradientMeter(torch.nn.Linear(4, 3).eval()), images, [0] * 600)
    assert raised.value.rows == [3, 550]


def test_labels_in_any_container() -> None:
    torch.manual_seed(0)
    meter, images = GradientMeter(torch.nn.Linear(4, 3).eval()), torch.rand(6, 4)
    labels = np.array([0, 1, 2, 2, 1, 0])
    forms = [labels.tolist(), labels.astype(">i2"), labels[::-1].copy()[::-1], pd.Series(labels, index=[*"fedcba"])]
    for form in forms:
        np.testing.assert_array_equal(read_labels(meter, images, form).labels, labels)
    for wrong in (None, "labels", labels > 1, labels + 0.5, torch.tensor(1), labels[:, None]):
        with pytest.raises(InputError, match="labels"):
            read_labels(meter, images, wrong)
    with pytest.raises(InputError, match="Linear"):
        read_labels(meter.model, images, labels)  # type: ignore[arg-type]


def test_labels_are_read_with_the_options_of_the_meter() -> None:
    network, sizes = torch.nn.Linear(4, 3).eval(), list[int]()
    network.register_forward_hook(lambda module, inputs, output: sizes.append(len(inputs[0])))
    read = read_labels(GradientMeter(network, tile=2), torch.rand(30, 4), [0, 1, 2] * 10)
    assert read.at is not None
    read.at(np.arange(30), np.zeros(30, np.int64))
    assert max(sizes) <= 3  # three to learn the layers, then two at a time


@pytest.mark.parametrize("name", ["logits", "embedding", "probabilities"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_readings_that_are_not_finite(name: str, value: float) -> None:
    inputs, _ = clusters(300, 10)
    inputs = replace(inputs, probabilities=np.full(inputs.logits.shape, 1 / CLASSES))
    changed = np.array(getattr(inputs, name), np.float64)
    changed[280, 1] = value
    with pytest.raises(InputError, match=f"{name} of input 280"):
        LabelCheck().fit_predict(replace(inputs, **{name: changed}))


def test_a_class_that_the_network_excludes() -> None:
    inputs, _ = clusters(300, 10)
    logits = inputs.logits.copy()
    logits[:, 0] = -np.inf
    assert np.isfinite(LabelCheck().fit_predict(replace(inputs, logits=logits)).p_label).all()


@pytest.mark.parametrize("name", ["labels", "logits", "embedding", "probabilities"])
def test_arrays_of_another_kind(name: str) -> None:
    inputs, _ = clusters(300, 10)
    with pytest.raises(InputError, match=f"{name}: a list; expected a NumPy array"):
        replace(inputs, **{name: inputs.logits.tolist()})


@pytest.mark.parametrize("dtype", [object, str, complex])
@pytest.mark.parametrize("name", ["logits", "embedding"])
def test_arrays_that_are_no_real_numbers(name: str, dtype: type) -> None:
    inputs, _ = clusters(300, 10)
    with pytest.raises(InputError, match=f"{name}: type .*; expected real numbers"):
        replace(inputs, **{name: getattr(inputs, name).astype(dtype)})


def test_readings_of_another_kind() -> None:
    with pytest.raises(InputError, match="tuple"):
        LabelCheck().fit_predict((torch.rand(3, 4), torch.arange(3)))  # type: ignore[arg-type]


def test_a_missing_class_and_a_class_of_one_sample() -> None:
    inputs, _ = clusters(200, 0)
    labels = np.where(inputs.labels == 2, 0, inputs.labels)
    assert np.isfinite(LabelCheck().fit_predict(with_labels(inputs, labels)).log_odds).all()
    labels[7] = 2
    verdicts = LabelCheck().fit_predict(with_labels(inputs, labels))
    assert np.isfinite(verdicts.log_odds).all()


def test_copies_of_an_input_share_a_fold() -> None:
    inputs, _ = clusters(100, 0)
    contents = np.arange(100, dtype=np.uint64) % 40
    fold = folds_of(replace(inputs, contents=contents), 5, 0)
    assert all(len(set(fold[contents == number])) == 1 for number in range(40))
    assert len(set(fold)) == 5


def test_copies_of_an_input_add_no_evidence() -> None:
    inputs, _ = drawn(0.05, 400)
    rows = np.repeat(np.arange(400), 9)
    copied = LabelReadings(inputs.labels[rows], inputs.logits[rows], inputs.embedding[rows], contents=rows.astype("u8"))
    once, copies = (LabelCheck().fit_predict(readings).rate for readings in (inputs, copied))
    assert (copies.low, copies.value, copies.high) == pytest.approx((once.low, once.value, once.high), abs=1e-3)


def test_corrupted_labels_are_wrong_and_of_every_kind() -> None:
    inputs, wrong = clusters()
    corruption = corrupt(LabelScores(inputs), 0)
    assert (corruption.labels != inputs.labels[corruption.rows]).all()
    assert set(corruption.kinds) == set(range(len(KINDS)))
    truth = inputs.embedding[:, :CLASSES].argmax(axis=1)
    # Where the given label is wrong already, the right one is not drawn.
    planted = wrong[corruption.rows]
    assert (corruption.labels[planted] != truth[corruption.rows][planted]).all()


def test_heads_out_of_fold_do_not_learn_a_wrong_label() -> None:
    inputs, wrong = clusters()
    fold = folds_of(inputs, 5, 0)
    p = out_of_fold(inputs.embedding, inputs.labels, CLASSES, fold)
    np.testing.assert_allclose(p.sum(axis=1), 1, atol=1e-5)
    given = p[np.arange(len(p)), inputs.labels]
    assert given[wrong].max() < 0.5 < np.median(given[~wrong])
    with pytest.raises(InputError, match="class 0"):
        out_of_fold(inputs.embedding, np.zeros(len(p), np.int64), CLASSES, fold)


@pytest.mark.parametrize("distinct", [1, 4])
def test_copies_of_fewer_inputs_than_folds(distinct: int) -> None:
    """Copies share a fold, so that some folds would have nothing to learn from."""
    inputs, _ = clusters(200, 10)
    copied = replace(inputs, contents=np.arange(len(inputs)).astype(np.uint64) % distinct)
    for judged in (LabelCheck().fit_predict, lambda inputs: folds_of(inputs, 5, 0)):
        with pytest.raises(InputError, match=f"of {distinct} different inputs; .* least 5,"):
            judged(copied)


def test_labels_that_are_corrected_in_place() -> None:
    inputs, _ = clusters(200, 0)
    inputs = replace(inputs, probabilities=np.full(inputs.logits.shape, 1 / CLASSES))
    right = inputs.labels.copy()
    inputs.labels[right == 2] = 1
    LabelCheck().fit_predict(inputs)
    inputs.labels[:] = right
    expected = LabelCheck().fit_predict(replace(inputs))
    np.testing.assert_array_equal(LabelCheck().fit_predict(inputs).log_odds, expected.log_odds)


@pytest.mark.parametrize("count", [5, 6, 8])
def test_hardly_any_inputs(count: int) -> None:
    inputs, _ = clusters()
    few = replace(
        inputs, logits=inputs.logits[:count], embedding=inputs.embedding[:count], labels=np.arange(count) % CLASSES
    )
    verdicts = LabelCheck().fit_predict(few)
    assert np.isfinite(verdicts.p_label).all()


@pytest.mark.parametrize("converted", [softmax, expit])
def test_logits_that_are_probabilities(converted: Callable[..., Any]) -> None:
    inputs, _ = clusters(200, 10)
    arguments = {"axis": 1} if converted is softmax else {}
    converted_inputs = replace(inputs, logits=converted(inputs.logits, **arguments))
    with pytest.warns(ProbabilitiesWarning):
        LabelCheck().fit_predict(converted_inputs)
    # The softmax is not applied to them here.
    LabelCheck().fit_predict(replace(converted_inputs, probabilities=softmax(inputs.logits, axis=1)))


@pytest.mark.parametrize("dtype", [">f4", ">f8", np.longdouble])
def test_logits_of_types_that_pytorch_does_not_have(dtype: Any) -> None:
    inputs, _ = clusters(200, 10)
    expected = LabelCheck().fit_predict(replace(inputs, logits=inputs.logits.astype(np.float32)))
    verdicts = LabelCheck().fit_predict(replace(inputs, logits=inputs.logits.astype(np.float32).astype(dtype)))
    np.testing.assert_allclose(verdicts.p_label, expected.p_label, atol=1e-6)
