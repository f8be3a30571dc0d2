from functools import cache
from typing import Any

import numpy as np
import pytest
import skops.io
from scipy.special import log_softmax, logit
from sklearn.base import clone
from sklearn.metrics import roc_auc_score

from gradmeter.errors import InputError
from gradmeter.trust import unknown_head
from gradmeter.trust.features import FeatureBlock
from gradmeter.trust.meta_classifier import CORRECT, UNKNOWN, WRONG
from gradmeter.trust.saving import _TRUSTED
from gradmeter.trust.two_heads import LEARNED, RANKINGS, TwoHeads
from trust.named_features import axes

CLASSES, WIDTH = 4, 6
NAMES = (
    *("entropy", "log_scale", "energy"),
    *(f"logit:{c}" for c in range(CLASSES)),
    *("conv/l1", "conv/l2", "uniform:conv/l2", "activation:conv/mean", "activation:conv/std"),
    *(f"embedding:{number}" for number in range(WIDTH)),
)


AXES = axes(*NAMES)


def planted(known: int, unknown: int, seed: int = 0, *, tells: float = 0.0) -> tuple[FeatureBlock, np.ndarray]:
    """Return features and classes of known inputs in clusters, and of widely spread unknown inputs.

    With `tells`, the size of a gradient separates wrong predictions better than the softmax.
    """
    random = np.random.default_rng(seed)
    labels = random.integers(CLASSES, size=known + unknown)
    embedding = random.normal(size=(known + unknown, WIDTH))
    embedding[:known, :CLASSES] += 3 * np.eye(CLASSES)[labels[:known]]
    embedding[known:] *= 3
    logits = 1.5 * embedding[:, :CLASSES]
    log_p = log_softmax(logits, axis=1)
    wrong = logits.argmax(1) != labels
    log_scale = np.log(-np.expm1(np.minimum(log_p.max(1), -1e-15)))
    noise = random.normal(size=(known + unknown, 5))
    noise[:, 0] += tells * wrong
    columns = [-(np.exp(log_p) * log_p).sum(1), log_scale, -np.logaddexp.reduce(logits, axis=1)]
    return FeatureBlock(np.column_stack([*columns, logits, noise, embedding]), AXES), np.where(
        np.arange(known + unknown) < known, np.where(wrong, WRONG, CORRECT), UNKNOWN
    )


@cache
def fitted(known: int = 500, unknown: int = 200, seed: int = 0, tells: float = 0.0, **options: Any) -> TwoHeads:
    return TwoHeads(**options).fit(*planted(known, unknown, seed, tells=tells))


def auroc(head: TwoHeads, X: FeatureBlock, y: np.ndarray) -> tuple[float, float]:
    """Return the AUROC of wrong against correct predictions for known inputs, by P(correct) and by the softmax."""
    known = y != UNKNOWN
    p, wrong = head.predict_proba(X)[known, CORRECT], y[known] == WRONG
    return float(roc_auc_score(wrong, -p)), float(roc_auc_score(wrong, X.values[known, NAMES.index("log_scale")]))


def collapsed(known: int, unknown: int, seed: int) -> tuple[FeatureBlock, np.ndarray]:
    """Return features and classes where, but for noise in other directions, embeddings hardly vary within a class.

    A wrong prediction is a little nearer to another class than a right one is.
    """
    random, count = np.random.default_rng(seed), known + unknown
    predicted, wrong = random.integers(CLASSES, size=count), random.random(count) < 0.3
    embedding = random.normal(size=(count, 24))
    embedding[:, :CLASSES] = 2 * np.eye(CLASSES)[predicted] + 0.02 * embedding[:, :CLASSES]
    embedding[np.arange(count), (predicted + 1) % CLASSES] += 0.3 * wrong
    embedding[known:] *= 3
    embedding @= np.linalg.qr(np.random.default_rng(0).normal(size=(24, 24)))[0]
    logits = 4 * np.eye(CLASSES)[predicted] + 0.01 * random.normal(size=(count, CLASSES))
    log_scale = np.log(-np.expm1(log_softmax(logits, axis=1).max(1)))
    names = ("log_scale", *(f"logit:{c}" for c in range(CLASSES)), *(f"embedding:{number}" for number in range(24)))
    return FeatureBlock(np.column_stack([log_scale, logits, embedding]), axes(*names)), np.where(
        np.arange(count) < known, np.where(wrong, WRONG, CORRECT), UNKNOWN
    )


@pytest.mark.parametrize("seed", range(3))
def test_the_distances_of_new_inputs_do_not_grow_with_the_number_of_samples(seed: int) -> None:
    """Between classes that hardly vary, a density of all samples would be farther than those that the head learned."""
    head = TwoHeads().fit(*collapsed(1000, 200, seed))
    X, y = collapsed(3000, 0, 100 + seed)
    assert abs(head.judge(X).p_correct_if_known.mean() - (y == CORRECT).mean()) < 0.05


def test_three_probabilities() -> None:
    X, _ = planted(300, 300, seed=1)
    p = fitted().predict_proba(X)
    assert p.shape == (600, 3)
    assert ((p >= 0) & (p <= 1)).all()
    np.testing.assert_allclose(p.sum(1), 1, rtol=1e-12)
    assert fitted().classes_.tolist() == [WRONG, CORRECT, UNKNOWN] == [0, 1, 2]
    assert np.array_equal(fitted().predict(X), p.argmax(1))


@pytest.mark.parametrize("ranking", RANKINGS)
def test_a_judgement_consists_of_two_statements(ranking: str) -> None:
    X, _ = planted(300, 300, seed=1)
    head = fitted(ranking=ranking)
    judgement = head.judge(X)
    p_known, p_correct_if_known = judgement.p_known, judgement.p_correct_if_known
    assert p_known is not None
    assert p_correct_if_known is not None
    assert np.array_equal(p_known, fitted().judge(X).p_known)
    np.testing.assert_allclose(judgement.p_correct, head.predict_proba(X)[:, CORRECT], rtol=1e-12)
    assert (judgement.p_correct <= p_correct_if_known).all()
    product = p_known * p_correct_if_known
    # The softmax's ranking of usual inputs must not change with P(known).
    assert np.allclose(judgement.p_correct, product, rtol=1e-12) == (ranking == LEARNED)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("tells", [0.0, 2.0])
@pytest.mark.parametrize("unknown", [0, 200])
def test_among_known_inputs_it_ranks_no_worse_than_the_softmax(seed: int, tells: float, unknown: int) -> None:
    """The tolerance is the random error of learning from a hundred wrong predictions."""
    head = fitted(3000, unknown, seed, tells)
    learned, softmax = auroc(head, *planted(4000, 0, seed + 50, tells=tells))
    assert learned > softmax - 0.015
    if tells:
        assert learned > softmax + 0.005


@pytest.mark.parametrize("seed", range(3))
def test_unknown_inputs_are_separated_from_known_ones(seed: int) -> None:
    X, y = planted(1000, 1000, seed + 50)
    p = fitted(500, 200, seed).predict_proba(X)[:, UNKNOWN]
    assert roc_auc_score(y == UNKNOWN, p) > 0.9
    # The softmax is confident for many distant inputs.
    assert roc_auc_score(y == UNKNOWN, p) > roc_auc_score(y == UNKNOWN, X.values[:, NAMES.index("log_scale")]) + 0.1


def test_without_unknown_inputs_distant_inputs_are_unknown() -> None:
    X, y = planted(1000, 1000, 51)
    head = fitted(500, 0)
    assert head.unknown_.distances_only_
    assert roc_auc_score(y == UNKNOWN, head.predict_proba(X)[:, UNKNOWN]) > 0.85


@pytest.mark.parametrize("unknown", [0, 100])
def test_without_any_wrong_prediction(unknown: int) -> None:
    X, y = planted(400, unknown)
    y[y == WRONG] = CORRECT
    head = TwoHeads().fit(X, y)
    p = head.predict_proba(X)
    assert np.isfinite(p).all()
    assert head.known_loss_ < 1e-3
    known = y < UNKNOWN
    wrong_if_known = (p[:, WRONG] / (1 - p[:, UNKNOWN]))[known]
    assert wrong_if_known.mean() == pytest.approx(1 / (np.count_nonzero(known) + 2))
    doubts = X.values[known, NAMES.index("log_scale")]
    assert np.array_equal(wrong_if_known.argsort(), doubts.argsort())


def test_rounding_errors_of_known_inputs_do_not_decide() -> None:
    """The gradient of a layer varies in unknown inputs, and in a few known ones in its last digit."""
    (X, y), name = planted(500, 200), NAMES.index("uniform:conv/l2")
    known = np.flatnonzero(y < UNKNOWN)
    X.values[known, name] = 1e-12
    X.values[known[::200], name] -= 1e-16
    heads = TwoHeads(0.1).fit(X, y)
    moved = X.values.copy()
    moved[known, name] += 1e-7
    np.testing.assert_allclose(heads.predict_proba(FeatureBlock(moved, AXES)), heads.predict_proba(X), atol=1e-5)


def test_it_is_calibrated_for_its_share() -> None:
    share = 0.2
    X, y = planted(4000, 1000, 52)
    p = fitted(2000, 500, unknown_share=share).predict_proba(X)
    for kind in (WRONG, CORRECT, UNKNOWN):
        assert p[:, kind].mean() == pytest.approx((y == kind).mean(), abs=0.05)


# --- the share of unknown inputs


@pytest.mark.parametrize("share", [0.001, 0.3, 0.9])
def test_a_given_share(share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """The share of a single kind shifts the log odds of all inputs equally."""
    monkeypatch.setattr(unknown_head, "_ENOUGH_KINDS", 1)
    X, y = planted(500, 200)
    plain, given = TwoHeads().fit(X, y), TwoHeads(unknown_share=share).fit(X, y)
    X, _ = planted(200, 200, seed=1)
    assert given.unknown_share_ == pytest.approx(share)
    shift = logit(given.predict_proba(X)[:, UNKNOWN]) - logit(plain.predict_proba(X)[:, UNKNOWN])
    inner = np.abs(shift - np.median(shift)) < 1e-6
    assert inner.mean() > 0.9  # elsewhere 1 - p has few significant digits
    assert np.median(shift) == pytest.approx(logit(share) - logit(plain.unknown_share_))


def test_a_given_share_is_split_equally_between_kinds() -> None:
    """A kind that is easy to separate does not get a larger share; the copies of known inputs are a third kind."""
    X, y = planted(500, 200)
    far = y == UNKNOWN
    X.values[far] *= np.where(np.arange(far.sum()) % 2, 1, 30)[:, None]
    y[far] = UNKNOWN + np.arange(far.sum()) % 2
    head = TwoHeads(unknown_share=0.2).fit(X, y)
    np.testing.assert_allclose(np.exp(head.kind_log_odds_), 0.25 / 3)
    assert head.unknown_share_ == pytest.approx(0.2)


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, 2])
def test_invalid_shares(share: float) -> None:
    with pytest.raises(InputError, match=f"unknown_share={share}"):
        TwoHeads(unknown_share=share).fit(*planted(200, 0))


def test_ratios_of_few_known_inputs_are_held_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """In-sample ratios overstate how known the inputs are, and would make the shares of unknown inputs too large."""
    held_out = fitted(200, 200, seed=3).kind_log_odds_
    monkeypatch.setattr("gradmeter.trust.two_heads._MANY", 0)
    assert TwoHeads().fit(*planted(200, 200, 3)).kind_log_odds_[0] > held_out[0] + 0.1


def test_the_loss_of_known_inputs() -> None:
    """P(known) loses a fifth of the error rate, at most 1 %, to given kinds, for training inputs and new ones."""
    X, _ = planted(4000, 0, 60)
    head = fitted(2000, 500)
    wrong = (planted(2000, 500)[1][:2000] == WRONG).mean()
    # The loss may be a quarter larger, because outliers do not count.
    assert 1 <= head.known_loss_ / min(0.2 * wrong, 0.01) < 1.26
    assert head.predict_proba(X)[:, UNKNOWN].mean() == pytest.approx(head.known_loss_, abs=0.003)


# --- what is familiar, and the softmax's ranking


def test_one_in_a_thousand_known_inputs_is_unfamiliar() -> None:
    head = fitted(2000, 500)
    familiar = head.judge(planted(4000, 0, 61)[0]).familiar
    assert 0.99 < familiar.mean() < 1
    X, y = planted(1000, 1000, 62)
    probabilities, familiar = head.predict_proba(X), head.judge(X).familiar
    assert familiar[y == UNKNOWN].mean() < 0.7
    # Familiarity depends on P(unknown) only.
    p = probabilities[:, UNKNOWN]
    assert p[familiar].max() <= p[~familiar].min()


def test_with_softmax_ranking_known_inputs_are_ranked_by_the_softmax() -> None:
    X, y = planted(4000, 1000, 63)
    head = fitted(2000, 500, ranking="softmax")
    p, known = head.predict_proba(X), y != UNKNOWN
    usual = known & (p[:, UNKNOWN] <= np.quantile(p[known, UNKNOWN], 0.9))
    order = X.values[usual, NAMES.index("log_scale")].argsort()
    assert (np.diff(p[usual, CORRECT][order]) <= 1e-12).all()
    np.testing.assert_allclose(p.sum(1), 1, rtol=1e-12)
    learned, softmax = (
        roc_auc_score(y == UNKNOWN, 1 - one[:, CORRECT]) for one in (fitted(2000, 500).predict_proba(X), p)
    )
    by_softmax = roc_auc_score(y == UNKNOWN, X.values[:, NAMES.index("log_scale")])
    # Unknown inputs are still separated better than by the softmax alone.
    assert by_softmax + 0.05 < softmax <= learned + 0.01
    assert p[known, UNKNOWN].mean() == pytest.approx(head.known_loss_, abs=0.005)


def test_with_softmax_ranking_an_unusual_input_is_no_more_often_correct_than_known() -> None:
    """P(correct) was 0.9 for inputs of which P(known) was 0.1."""
    head = fitted(200, 200, ranking="softmax")
    judgement = head.judge(planted(1000, 1000, 64)[0])
    assert judgement.p_known is not None
    unusual = judgement.p_known < 0.5
    assert np.count_nonzero(unusual) > 300
    assert (judgement.p_correct <= judgement.p_known)[unusual].all()


def test_with_softmax_ranking_nothing_is_known_of_near_unknown_inputs() -> None:
    assert fitted(200, 200, seed=3).near_ is not None
    assert fitted(200, 200, seed=3, ranking="softmax").near_ is None


def test_an_unknown_ranking() -> None:
    with pytest.raises(InputError, match=r"ranking='entropy'.*learned.*softmax"):
        TwoHeads(ranking="entropy").fit(*planted(200, 0))


# --- what it reads


def test_views() -> None:
    assert fitted().views_ == ["gradients", "activations", "activations of conv", "embedding"]
    # The view "gradients" includes those of further pseudo-labels.
    assert [columns.shape for _, columns in fitted().stacks_] == [(1, 3), (2, 2), (1, WIDTH)]
    assert [density.centre_.shape for density in fitted().densities_] == [(1, 3), (2, 2), (1, WIDTH)]


def test_without_outputs_only_the_predicted_class_and_distances_are_used() -> None:
    X, _ = planted(200, 200, seed=1)
    other = X.values.copy()
    logits = [NAMES.index(f"logit:{c}") for c in range(CLASSES)]
    other[:, logits] = 7 * other[:, logits] - 1
    for name in ("energy", "log_scale", "entropy"):
        other[:, NAMES.index(name)] -= 3
    control = fitted(outputs=False)
    assert np.array_equal(control.predict_proba(X), control.predict_proba(FeatureBlock(other, AXES)))
    assert not np.allclose(fitted().predict_proba(X), fitted().predict_proba(FeatureBlock(other, AXES)))


def test_it_is_an_estimator() -> None:
    head = TwoHeads(unknown_share=0.07, outputs=False)
    assert clone(head).get_params() == {"unknown_share": 0.07, "outputs": False, "ranking": "learned"}
    X, y = planted(300, 50)
    first, second = (TwoHeads().fit(X, y).predict_proba(X) for _ in range(2))
    assert np.array_equal(first, second)


@pytest.mark.parametrize("unknown", [0, 200])
def test_a_saved_model_predicts_exactly_the_same(unknown: int) -> None:
    head, X = fitted(500, unknown), planted(100, 100, seed=2)[0]
    encoded = skops.io.dumps(head)
    assert {*skops.io.get_untrusted_types(data=encoded)} <= {*_TRUSTED}
    loaded = skops.io.loads(encoded, trusted=list(_TRUSTED))
    assert np.array_equal(loaded.predict_proba(X), head.predict_proba(X))
    assert loaded.unknown_share_ == head.unknown_share_


@pytest.mark.parametrize("names", [(), ("energy", "conv/l2"), tuple(name for name in NAMES if name != "log_scale")])
def test_features_without_the_softmax(names: tuple[str, ...]) -> None:
    X, y = planted(100, 10)
    with pytest.raises(InputError, match=r"log_scale.*logits"):
        TwoHeads().fit(FeatureBlock(X.values[:, : len(names)], axes(*names)), y)
