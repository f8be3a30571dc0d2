import numpy as np
import pytest
from scipy.special import expit, logit
from scipy.stats import rankdata
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.model_selection import StratifiedKFold

from gradmeter.trust.candidates import Regression
from gradmeter.trust.confidence import KnownFeatures, SecondLook, Softmax
from gradmeter.trust.known_head import KnownHead as Head

STRENGTHS = {"features": (1e-3, 1e-2, 1e-1, 1.0)}
CLASSES = 10


def known(X: np.ndarray, log_scale: np.ndarray, mirrored: np.ndarray | None = None) -> KnownFeatures:
    """Return features with logits of that log(1 - p): class 0 is predicted, and all others are equally likely."""
    odds = log_scale - np.log(-np.expm1(log_scale))
    logits = np.repeat(odds[:, None] - np.log(CLASSES - 1), CLASSES, axis=1)
    logits[:, 0] = 0
    return KnownFeatures(logits, log_scale, {"features": X}, mirrored)


class KnownHead(Head):
    """The head for one group of features, given as an array."""

    def __init__(self) -> None:
        super().__init__(STRENGTHS)

    def fit(self, X: np.ndarray, log_scale: np.ndarray, wrong: np.ndarray) -> "KnownHead":  # type: ignore[override]
        super().fit(known(X, log_scale), wrong)
        return self

    def probability(self, X: np.ndarray, log_scale: np.ndarray) -> np.ndarray:  # type: ignore[override]
        return super().probability(known(X, log_scale))


def inputs(count: int, seed: int, *, tells: float = 0.0, numbers: int = 6) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return features, log(1 - p), and whether predictions are wrong; `tells` is the weight of the first feature."""
    random = np.random.default_rng(seed)
    X = random.normal(size=(count, numbers)) * 10.0 ** np.arange(numbers) + 5
    odds = random.normal(-3, 2, count)
    wrong = random.random(count) < expit(odds + tells * (X[:, 0] - 5))
    return X, -np.logaddexp(0, -odds), wrong


def auroc(head: KnownHead, X: np.ndarray, log_scale: np.ndarray, wrong: np.ndarray) -> float:
    return float(roc_auc_score(wrong, head.probability(X, log_scale)))


def test_probabilities_are_right_where_features_say_far_more_than_the_softmax() -> None:
    """The average of penalised models was too cautious: of log odds of 2 and 4, it made 1.3 and 2.5."""
    head = KnownHead().fit(*inputs(2500, 0, tells=6))
    X, log_scale, wrong = inputs(20_000, 1, tells=6)
    p = head.probability(X, log_scale)
    slope = LogisticRegression(C=1e6).fit(logit(p)[:, None], wrong).coef_[0, 0]
    assert slope == pytest.approx(1, abs=0.15)
    for rows in np.array_split(np.argsort(p), 20):
        assert p[rows].mean() == pytest.approx(wrong[rows].mean(), abs=0.05)


def test_informative_features_improve_on_the_softmax() -> None:
    X, log_scale, wrong = inputs(600, 0, tells=1.5)
    head = KnownHead().fit(X, log_scale, wrong)
    assert not head.softmax_only_
    new = inputs(4000, 1, tells=1.5)
    assert auroc(head, *new) > roc_auc_score(new[2], new[1]) + 0.03
    p, (_, scale, new_wrong) = head.probability(*new[:2]), new
    assert log_loss(new_wrong, p) < log_loss(new_wrong, np.exp(scale)) - 0.02
    assert p.mean() == pytest.approx(new_wrong.mean(), abs=0.03)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("numbers", [3, 60])
def test_with_uninformative_features_it_ranks_as_the_softmax(seed: int, numbers: int) -> None:
    X, log_scale, wrong = inputs(400, seed, numbers=numbers)
    X = (X - 5) / 10.0 ** np.arange(numbers)
    head = KnownHead().fit(X, log_scale, wrong)
    new = inputs(4000, seed + 100, numbers=numbers)
    p_wrong = head.probability((new[0] - 5) / 10.0 ** np.arange(numbers), new[1])
    assert roc_auc_score(new[2], p_wrong) > roc_auc_score(new[2], new[1]) - 0.01


@pytest.mark.parametrize("seed", range(20))
def test_a_few_dozen_wrong_predictions_do_not_mislead_it(seed: int) -> None:
    """By chance, one of many features separates them, and the best penalty seems better than the softmax."""
    X, log_scale, wrong = inputs(200, seed, numbers=40)
    assert 10 <= np.count_nonzero(wrong) < 60
    assert KnownHead().fit((X - 5) / 10.0 ** np.arange(40), log_scale, wrong).softmax_only_


@pytest.mark.parametrize("count", [1, 2, 5, 9])
@pytest.mark.parametrize("confident", [False, True])
def test_with_fewer_than_ten_of_a_class_the_ranking_is_that_of_the_softmax(count: int, confident: bool) -> None:
    """The ranking is exactly that of the softmax, even if the few wrong predictions are the most confident ones."""
    X, log_scale, _ = inputs(200, 3)
    order = log_scale.argsort()
    wrong = np.zeros(200, np.bool_)
    wrong[order[:count] if confident else order[-count:]] = True
    for target in (wrong, ~wrong):
        head = KnownHead().fit(X, log_scale, target)
        new, scale, _ = inputs(1000, 4)
        p_wrong = head.probability(new, scale)
        assert np.array_equal(rankdata(p_wrong), rankdata(scale))
        assert ((p_wrong > 0) & (p_wrong < 1)).all()


def test_ten_of_a_class_are_enough() -> None:
    X, log_scale, _ = inputs(200, 3)
    wrong = np.zeros(200, np.bool_)
    wrong[:10] = True
    X[:10, 0] += 10
    head = KnownHead().fit(X, log_scale, wrong)
    assert not head.softmax_only_
    # Ten that one feature separates from the others are no evidence for certainty.
    p_wrong = head.probability(X, log_scale)
    assert p_wrong.min() > 1e-6
    assert p_wrong.max() < 0.9999


@pytest.mark.parametrize("all_wrong", [False, True])
def test_with_a_single_class_it_ranks_as_the_softmax_at_the_level_of_the_predictions(all_wrong: bool) -> None:
    """A modest softmax, as of a network that returns probabilities, must not doubt 100 right predictions."""
    X, log_scale, _ = inputs(100, 5)
    head = KnownHead().fit(X, log_scale, np.full(100, all_wrong))
    p_wrong = head.probability(X, log_scale)
    assert p_wrong.mean() == pytest.approx(101 / 102 if all_wrong else 1 / 102)
    assert np.array_equal(rankdata(p_wrong), rankdata(log_scale))


def test_random_labels_are_not_memorised() -> None:
    """The labels are random, and there are nearly as many features as samples."""
    random = np.random.default_rng(6)
    X, log_scale, wrong = random.normal(size=(120, 80)), -1 - random.random(120), random.random(120) < 0.5
    assert KnownHead().fit(X, log_scale, wrong).softmax_only_


@pytest.mark.parametrize("count", [5, 12, 40, 280])
def test_if_the_most_confident_predictions_are_wrong_it_keeps_their_order_at_the_right_level(count: int) -> None:
    X, log_scale, _ = inputs(300, 10)
    wrong = np.zeros(300, np.bool_)
    wrong[log_scale.argsort()[:count]] = True
    head = KnownHead().fit(np.zeros_like(X), log_scale, wrong)
    p_wrong = head.probability(np.zeros_like(X), log_scale)
    assert p_wrong.mean() == pytest.approx((count + 1) / 302)
    assert np.array_equal(rankdata(p_wrong), rankdata(log_scale))
    if count < 10:
        shift = logit(p_wrong) - logit(np.exp(log_scale))
        np.testing.assert_allclose(shift, shift[0])
    else:
        # Enough to say that the softmax does not tell right predictions.
        np.testing.assert_allclose(p_wrong, p_wrong.mean(), atol=0.01)


@pytest.mark.parametrize("doubt", [-700.0, -1.5, 0.0, 3.0, 700.0])
def test_a_constant_softmax_gives_the_share_of_wrong_predictions(doubt: float) -> None:
    """For example a network that returns the same logits for every input."""
    X, _, _ = inputs(300, 10)
    wrong = np.arange(300) < 270
    head = KnownHead().fit(np.zeros_like(X), np.full(300, -np.logaddexp(0, -doubt)), wrong)
    p_wrong = head.probability(np.zeros_like(X), np.full(300, -np.logaddexp(0, -doubt)))
    np.testing.assert_allclose(p_wrong, 271 / 302)


def test_an_overconfident_softmax_is_corrected() -> None:
    """The log odds of the softmax are twice the true ones."""
    random = np.random.default_rng(7)
    odds = random.normal(-4, 3, 3000)
    wrong = random.random(3000) < expit(odds / 2)
    head = KnownHead().fit(random.normal(size=(3000, 2)), -np.logaddexp(0, -odds), wrong)
    at = np.array([-8.0, -4.0, 0.0])
    p_wrong = head.probability(np.zeros((3, 2)), -np.logaddexp(0, -at))
    np.testing.assert_allclose(p_wrong, expit(at / 2), rtol=0.25)


@pytest.mark.parametrize("gap", [50.0, 700.0, 5000.0])
def test_confident_predictions_keep_their_order(gap: float) -> None:
    """log(1 - p) may be so small that 1 - p underflows."""
    X, log_scale, wrong = inputs(400, 8)
    head = KnownHead().fit(X, log_scale, wrong)
    p_wrong = head.probability(np.full((2, 6), 5.0), np.array([-gap, -gap / 2]))
    assert np.isfinite(p_wrong).all()
    assert 0 <= p_wrong[0] <= p_wrong[1] < 0.01


def test_constant_features_and_a_constant_softmax() -> None:
    random = np.random.default_rng(9)
    X, wrong = random.normal(size=(100, 3)), random.random(100) < 0.3
    X[:, 1] = 0.1
    head = KnownHead().fit(X, np.full(100, -1.5), wrong)
    assert np.isfinite(head.probability(X, np.full(100, -1.5))).all()
    # Training values that differ by rounding only must not make other values infinitely far away.
    assert 0.01 < head.probability(X, np.full(100, -1.6)).mean() < 0.9


def doubtful(count: int, seed: int) -> tuple[KnownFeatures, np.ndarray]:
    """Return predictions whose mirror image says more about them than the softmax."""
    random = np.random.default_rng(seed)
    odds = random.normal(-3, 2, count)
    mirrored = odds + random.normal(0, 2, count)
    return known(random.normal(size=(count, 3)), -np.logaddexp(0, -odds), mirrored), random.random(count) < expit(
        mirrored
    )


def test_a_second_look_that_helps_is_taken_at_three_tenths_of_the_predictions() -> None:
    (X, wrong), (new, new_wrong) = doubtful(2000, 11), doubtful(4000, 12)
    head = Head(STRENGTHS).fit(X, wrong)
    assert head.second_look_ is not None
    odds = X.log_scale - np.log(-np.expm1(X.log_scale))
    assert np.mean(odds > head.second_look_) == pytest.approx(0.3, abs=0.001)
    p_wrong = head.probability(new)
    assert roc_auc_score(new_wrong, p_wrong) > roc_auc_score(new_wrong, new.log_scale) + 0.02
    # Confident predictions keep the order of the softmax.
    confident = new.log_scale - np.log(-np.expm1(new.log_scale)) <= head.second_look_
    assert np.array_equal(rankdata(p_wrong[confident]), rankdata(new.log_scale[confident]))


def test_a_second_look_that_tells_nothing_is_not_taken() -> None:
    X, _ = doubtful(2000, 13)
    random = np.random.default_rng(14)
    wrong = random.random(2000) < np.exp(X.log_scale)
    assert Head(STRENGTHS).fit(X, wrong).second_look_ is None


def test_the_members_start_from_the_same_confidence_score() -> None:
    X, wrong = doubtful(2000, 15)
    tells = np.where(wrong, 1.0, 0.0) + np.random.default_rng(16).normal(0, 1, 2000)
    X = KnownFeatures(X.logits, X.log_scale, {"features": tells[:, None]}, X.mirrored)
    head = Head(STRENGTHS).fit(X, wrong)
    assert len(head.members_) > 1
    assert all(isinstance(member.confidence, SecondLook) for member in head.members_)


def test_held_out_log_odds_are_those_of_members_fitted_without_the_fold() -> None:
    X, log_scale, wrong = inputs(1000, 7, tells=2.0)
    features, head = known(X, log_scale), Head(STRENGTHS)
    odds = head.fit_held_out(features, wrong)
    assert len(head.members_) > 1
    scored = features.scored(head.members_[0].confidence)
    for train, test in StratifiedKFold(5, shuffle=True, random_state=0).split(wrong, wrong):
        fitted = [clone(member).fit(scored.rows(train), wrong[train]) for member in head.members_]
        expected = np.mean([member.log_odds(scored.rows(test)) for member in fitted], axis=0)
        np.testing.assert_allclose(odds[test], expected, rtol=1e-12)


def test_a_regression_that_would_rise_with_confidence_gives_way_to_one_that_does_not() -> None:
    """The softmax was used alone as soon as the best regression had such a slope."""
    random = np.random.default_rng(0)
    odds, tells = random.normal(-1, 1, 800), 2 * random.normal(size=800)
    wrong = random.random(800) < expit(odds + tells)
    groups = {"twisted": (tells + 3 * odds)[:, None], "noisy": (tells + random.normal(size=800))[:, None]}
    log_scale = -np.logaddexp(0, -odds)
    features = KnownFeatures(known(np.empty((800, 0)), log_scale).logits, log_scale, groups, None)
    assert not Regression(Softmax(), "twisted").fit(features.scored(None), wrong).rises_
    head = Head({"twisted": (1.0,), "noisy": (1.0,)}).fit(features, wrong)
    assert head.groups == {"noisy"}
    assert roc_auc_score(wrong, head.probability(features)) > roc_auc_score(wrong, odds) + 0.05


@pytest.mark.parametrize("seed", range(4))
def test_regressions_join_where_the_softmax_says_nothing(seed: int) -> None:
    """They were all discarded if the slope of the softmax was negative, also by chance."""
    random = np.random.default_rng(seed)
    odds, tells = random.normal(-1, 1, 800), 2 * random.normal(size=(800, 1))
    wrong = random.random(800) < expit(tells[:, 0])
    log_scale = -np.logaddexp(0, -odds)
    features = KnownFeatures(known(np.empty((800, 0)), log_scale).logits, log_scale, {"tells": tells}, None)
    head = Head({"tells": (1.0,)}).fit(features, wrong)
    assert roc_auc_score(wrong, head.probability(features)) > 0.85
    slopes = [member.model_.coef_[0, 0] for member in head.members_]
    assert min(slopes) >= 0
