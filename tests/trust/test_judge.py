from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.ensemble import StackingClassifier, VotingClassifier
from sklearn.linear_model import LogisticRegression, Perceptron
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.naive_bayes import MultinomialNB
from sklearn.neighbors import RadiusNeighborsClassifier
from sklearn.semi_supervised import LabelPropagation

from gradmeter import GradientMeter, InputError, Readings
from gradmeter.trust.calibrated import Calibrated
from gradmeter.trust.features import FeatureBlock
from gradmeter.trust.judge import Judge, resolve_classifier
from gradmeter.trust.meta_classifier import UNKNOWN
from gradmeter.trust.two_heads import TwoHeads
from trust.trained import digits, noise, trained

IMAGES, LABELS = (part[300:700] for part in digits())


@cache
def readings(name: str) -> Readings:
    inputs = {
        "known": IMAGES,
        "noise": noise(60)[:30],
        "more noise": noise(60)[30:],
        "inverted": 1 - IMAGES[:80],
        "turned": IMAGES[:50].flip(2),
    }
    return GradientMeter(trained()).for_trust_model()(inputs[name])


@cache
def judge(classifier: str, unknown: tuple[str, ...] = (), synthetic: tuple[str, ...] = ()) -> Judge:
    return Judge.fit(readings("known"), LABELS, [*map(readings, unknown)], classifier, [*map(readings, synthetic)])


def right() -> int:
    return int((readings("known").predictions == LABELS).sum())


@pytest.mark.slow
@pytest.mark.parametrize(("unknown", "synthetic"), [((), ()), (("noise", "more noise"), ("inverted", "turned"))])
def test_counts(unknown: tuple[str, ...], synthetic: tuple[str, ...]) -> None:
    fitted = judge("gradmeter", unknown, synthetic)
    assert (fitted.right, fitted.wrong) == (right(), 400 - right())
    assert fitted.unknown == 30 * len(unknown)
    assert fitted.synthetic == (130 if synthetic else 0)
    assert fitted.held_out.p_correct.shape == fitted.held_out.familiar.shape == (400 + fitted.unknown,)
    assert isinstance(fitted.classifier, TwoHeads)
    assert fitted.unknown_share == fitted.classifier.unknown_share_


@pytest.mark.slow
def test_underflow_is_no_error_whatever_numpy_is_told() -> None:
    with np.errstate(all="raise"):
        fitted = Judge.fit(readings("known"), LABELS)
        far = GradientMeter(trained()).for_trust_model()(100 * IMAGES)
        assert np.isfinite(fitted.judge(far).p_correct).all()


def test_other_classifiers_do_not_use_synthetic_unknowns() -> None:
    with_them = judge("ridge_cv", ("noise",), ("inverted",))
    without = judge("ridge_cv", ("noise",))
    assert (with_them.unknown, with_them.synthetic) == (30, 0)
    assert with_them.unknown_share == 30 / 430
    assert np.array_equal(with_them.held_out.p_correct, without.held_out.p_correct)
    assert np.array_equal(with_them.probability(readings("turned")), without.probability(readings("turned")))


@pytest.mark.slow
def test_synthetic_unknowns_lower_the_probability_of_similar_inputs() -> None:
    plain, taught = judge("gradmeter"), judge("gradmeter", (), ("inverted",))
    inverted = readings("inverted").rows(np.arange(40, 80))
    assert taught.probability(inverted).mean() < plain.probability(inverted).mean() - 0.05


@pytest.mark.slow
def test_held_out_judgements_are_by_heads_fitted_to_other_samples() -> None:
    fitted = judge("gradmeter", ("noise",), ("inverted",))
    given = Readings.concatenate([readings("known"), readings("noise")])
    parts = [*KFold(5, shuffle=True, random_state=0).split(np.arange(430))]
    train, test = parts[2]
    synthetic, block = fitted.features.block(readings("inverted")), fitted.features.block(given)
    # Each data set of unknown inputs is a separate kind.
    known = np.concatenate([(readings("known").predictions == LABELS).numpy().astype(int), np.full(30, UNKNOWN)])
    heads = TwoHeads(ranking=fitted.classifier.ranking).fit(
        FeatureBlock.concatenate([block.rows(train), synthetic]),
        np.concatenate([known[train], np.full(80, UNKNOWN + 1)]),
    )
    judged = heads.judge(block.rows(test))
    np.testing.assert_allclose(fitted.held_out.p_correct[test], judged.p_correct, rtol=1e-9)
    assert np.array_equal(fitted.held_out.familiar[test], judged.familiar)


def auroc(score: np.ndarray, wrong: np.ndarray) -> float:
    return float(roc_auc_score(wrong, -score))


@pytest.mark.slow
def test_a_ranking_that_is_worse_than_the_softmax_is_not_used() -> None:
    """Synthetic unknowns that equal the most confident known inputs degrade the learned ranking."""
    known = readings("known")
    wrong = (known.predictions != LABELS).numpy()
    sure = np.flatnonzero(~wrong)[known.log_scale.numpy()[~wrong].argsort()[:150]]
    fitted = Judge.fit(known, LABELS, [], TwoHeads(unknown_share=0.5), [known.rows(sure)])
    assert fitted.fallback is not None
    assert "AUROC" in fitted.fallback
    assert fitted.classifier.ranking == "softmax"
    new, labels = GradientMeter(trained()).for_trust_model()(digits()[0][700:]), digits()[1][700:]
    missed = (new.predictions != labels).numpy()
    judged, softmax = fitted.judge(new), -new.log_scale.numpy()
    assert auroc(judged.p_correct, missed) >= auroc(softmax, missed) - 0.005


def test_few_wrong_predictions_are_ranked_by_the_softmax() -> None:
    right_ones = (readings("known").predictions == LABELS).numpy()
    taken = right_ones.copy()
    taken[np.flatnonzero(~right_ones)[:9]] = True
    fitted = Judge.fit(readings("known").rows(taken), LABELS[torch.from_numpy(taken)])
    assert fitted.wrong == 9
    assert fitted.fallback is not None
    assert "9" in fitted.fallback


@pytest.mark.parametrize(
    ("classifier", "least"),
    [("gradmeter", 50), ("ridge_cv", 10)],
)
def test_too_few(classifier: str, least: int) -> None:
    some = readings("known").rows(np.arange(45))
    count = int((some.predictions == LABELS[:45]).sum())
    with pytest.raises(InputError, match=rf"\b{count}\b.*\b{least}\b"):
        Judge.fit(some, LABELS[:45], (), classifier)


@pytest.mark.parametrize("labels", [LABELS[:399], LABELS[:, None], torch.zeros(400, 10)])
def test_invalid_labels(labels: Any) -> None:
    with pytest.raises(InputError, match=r"labels.*\(400,\)"):
        Judge.fit(readings("known"), labels)


def test_unknown_inputs_by_another_meter() -> None:
    plain = GradientMeter(trained())(noise(10))
    with pytest.raises(InputError, match="pseudo-labels"):
        Judge.fit(readings("known"), LABELS, [plain])


def test_copies_of_inputs_count_once() -> None:
    """Their distances to densities that hold their copies would make every new input look unknown."""
    known, copies = readings("known").rows(np.arange(150)), np.tile(np.arange(150), 4)
    single = Judge.fit(known, LABELS[:150], contents=np.arange(150, dtype=np.uint64))
    judge = Judge.fit(known.rows(copies), LABELS[copies], contents=copies.astype(np.uint64))
    assert (judge.right, judge.wrong) == (4 * single.right, 4 * single.wrong)
    assert np.array_equal(judge.held_out.p_correct, single.held_out.p_correct[copies])
    assert np.array_equal(judge.probability(readings("known")), single.probability(readings("known")))


def test_copies_do_not_make_enough_inputs() -> None:
    copies = np.tile(np.flatnonzero((readings("known").predictions == LABELS).numpy())[:40], 3)
    with pytest.raises(InputError, match=r"\b40\b.*\b50\b"):
        Judge.fit(readings("known").rows(copies), LABELS[copies], contents=copies.astype(np.uint64))


def test_a_classifier_needs_a_score() -> None:
    parts = [("one", LogisticRegression()), ("two", LogisticRegression())]
    for classifier in (VotingClassifier(parts), StackingClassifier(parts)):
        with pytest.raises(InputError, match=r"lacks a method .* voting='soft'.* final_estimator"):
            resolve_classifier(classifier)
    usable = (VotingClassifier(parts, voting="soft"), StackingClassifier(parts, LogisticRegression()), Perceptron())
    assert all(isinstance(resolve_classifier(classifier), Calibrated) for classifier in usable)


@pytest.mark.parametrize(
    ("classifier", "reason"),
    [(LabelPropagation(), "nan"), (RadiusNeighborsClassifier(radius=300), "No neighbors")],
    ids=["nan", "error"],
)
@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
def test_a_classifier_without_output_for_unknown_inputs_is_refused(classifier: Any, reason: str) -> None:
    with pytest.raises(InputError, match=rf"{type(classifier).__name__} has no output .*{reason}"):
        Judge.fit(readings("known"), LABELS, (), classifier)


@pytest.mark.parametrize(
    ("classifier", "reason"),
    [(MultinomialNB(), "Negative values"), (GridSearchCV(LogisticRegression(), {"C": [-1.0]}), "fits failed")],
    ids=["values", "options"],
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.FitFailedWarning")
def test_a_classifier_that_cannot_be_fitted_is_refused(classifier: Any, reason: str) -> None:
    with pytest.raises(InputError, match=rf"{type(classifier).__name__} cannot be fitted to .*{reason}"):
        Judge.fit(readings("known"), LABELS, (), classifier)
