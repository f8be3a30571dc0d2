"""From readings to a calibrated P(the prediction is correct)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import clone, is_classifier
from sklearn.calibration import CalibratedClassifierCV
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from threadpoolctl import threadpool_limits

from gradmeter.errors import InputError
from gradmeter.reading.readings import Readings
from gradmeter.stages import Advance, stage
from gradmeter.trust.folds import FOLDS, Fold, plain_folds, stratified_folds
from gradmeter.trust.log_features import LogFeatures
from gradmeter.trust.neural import neural_network
from gradmeter.trust.regressions import REGRESSIONS, ridge_cv
from gradmeter.trust.smoothing import fit_smoothed
from gradmeter.trust.two_heads import CORRECT, RANKINGS, UNKNOWN, TwoHeads

CLASSIFIERS = {"gradmeter": TwoHeads, "ridge_cv": ridge_cv, **REGRESSIONS, "neural_network": neural_network}
"""Factories of meta classifiers by name."""

# With fewer of either kind a fold holds one or none: neither calibration nor comparison would mean anything.
LEAST = 10
# Fewer say nothing of how readings of known inputs spread.
LEAST_KNOWN = 50


@dataclass(frozen=True, eq=False)
class Judgement:
    """What a judge says of N predictions.

    Attributes:
        p_correct: [N] P(correct).
        familiar: [N] whether more than one in a thousand of the known inputs are as unfamiliar; always true for judges
            that do not say whether an input is known.
    """

    p_correct: NDArray[np.float64]
    familiar: NDArray[np.bool_]

    @property
    def score(self) -> NDArray[np.float64]:
        """[N] P(correct), and -1 for what is not familiar: no threshold accepts it."""
        return np.where(self.familiar, self.p_correct, -1.0)


@dataclass(frozen=True, eq=False)
class Judge:
    """A fitted and calibrated meta classifier.

    Attributes:
        features: what it sees of the readings.
        estimator: the calibrated scikit-learn classifier; class 1 is "correct".
        right: predictions that it learned from and that were right.
        wrong: known inputs whose prediction was wrong.
        unknown: unknown inputs that were given.
        synthetic: unknown inputs that were made.
        held_out: of the right + wrong + unknown samples that it was given, by judges that had not seen them; synthetic
            unknowns that were made of them they may have seen.
        fallback: why known inputs are ranked by the softmax alone; None where they are not.
    """

    features: LogFeatures
    estimator: Any
    right: int
    wrong: int
    unknown: int
    held_out: Judgement
    synthetic: int = 0
    fallback: str | None = None

    @classmethod
    def fit(
        cls,
        known: Readings,
        labels: torch.Tensor,
        unknowns: Sequence[Readings] = (),
        classifier: Any = "gradmeter",
        synthetic: Sequence[Readings] = (),
        contents: NDArray[np.uint64] | None = None,
    ) -> Judge:
        """Fit on known inputs with labels, and on unknown inputs where there are some.

        Args:
            known: of N inputs that the network did not learn from.
            labels: [N] their classes.
            unknowns: readings of inputs of no class; every prediction for them is wrong.
            classifier: a name of `CLASSIFIERS`, or a scikit-learn classifier.
            synthetic: readings of synthetic unknowns; "gradmeter" learns from them, other classifiers do not.
            contents: equal numbers for equal inputs, of the known ones and then of the unknown ones; None where all
                differ. No held-out fold has a copy of what its judge learned from.

        Raises:
            InputError: for another classifier, labels that do not fit, or too few right or wrong predictions: 10 of
                either, unknown inputs among the wrong ones; "gradmeter" needs 50 right ones and none that is wrong.
        """
        if labels.shape != known.predictions.shape:
            raise InputError(f"labels have shape {tuple(labels.shape)}; expected {tuple(known.predictions.shape)}")
        meta_classifier = named_classifier(classifier)
        two_heads = isinstance(meta_classifier, TwoHeads)
        answered = (known.predictions.cpu() == labels.cpu()).numpy()
        right, wrong, unknown = int(answered.sum()), int((~answered).sum()), sum(map(len, unknowns))
        if two_heads and right < LEAST_KNOWN:
            raise InputError(
                f"{right} predictions are right; expected at least {LEAST_KNOWN} to tell what is known: give more data"
            )
        if not two_heads and (right < LEAST or wrong + unknown < LEAST):
            raise InputError(
                f"{right} predictions are right, {wrong} are wrong and {unknown} inputs are unknown; expected at least "
                f"{LEAST} that are right and {LEAST} that are not: give more data, or unknown inputs"
            )
        made, fallback = list(synthetic) if two_heads else [], None
        readings = Readings.concatenate([known, *unknowns, *made])
        given = len(known) + unknown
        correct = np.concatenate([answered, np.zeros(unknown, np.bool_)])
        contents = np.arange(given, dtype=np.uint64) if contents is None else contents
        # The matrices are small: threads would cost more than they bring, and much where others use them too.
        with threadpool_limits(1), stage("fitting the meta classifier", FOLDS + 1 if two_heads else None) as advance:
            if two_heads:
                features = LogFeatures.everything(readings)
                kinds = [np.full(len(one), UNKNOWN + kind) for kind, one in enumerate((*unknowns, *made))]
                target = np.concatenate([answered.astype(np.int64), *kinds])
                heads = clone(meta_classifier).set_params(names=features.names, ranking="learned")
                matrix = features.matrix(readings)
                by_ranking, folds = _held_out_of_heads(heads, matrix, target, plain_folds(contents, correct), advance)
                p_correct = by_ranking["learned"].p_correct[: len(known)]
                softmax = -known.log_scale.double().cpu().numpy()
                fallback = _fallback(p_correct, softmax, ~answered, folds[: len(known)])
                heads.set_params(ranking="learned" if fallback is None else "softmax")
                held_out = by_ranking[heads.ranking]
                estimator = heads.fit(matrix, target)
            else:
                features = LogFeatures.chosen(readings)
                target = correct.astype(np.int64)
                matrix = features.matrix(readings)
                stratified = stratified_folds(contents, target)
                # P(correct) is the output mapped by a logistic curve fitted to out-of-fold outputs (Platt 1999).
                calibrated = CalibratedClassifierCV(meta_classifier, method="sigmoid", cv=stratified, ensemble=False)
                p_correct = _held_out(meta_classifier, matrix, target, stratified)
                held_out = Judgement(p_correct, np.ones(given, np.bool_))
                # It is saved, and needs the rows of its folds no more.
                estimator = calibrated.fit(matrix, target).set_params(
                    cv=StratifiedKFold(FOLDS, shuffle=True, random_state=0)
                )
        return cls(features, estimator, right, wrong, unknown, held_out, sum(map(len, made)), fallback)

    @property
    def unknown_share(self) -> float:
        """The share of unknown inputs that is presumed."""
        if isinstance(self.estimator, TwoHeads):
            return float(self.estimator.unknown_share_)
        return self.unknown / (self.right + self.wrong + self.unknown)

    @property
    def known_loss(self) -> float | None:
        """What known inputs lose of P(known) on average where unknown ones are as common as that allows; else None."""
        heads = self.estimator
        return heads.known_loss_ if isinstance(heads, TwoHeads) and heads.unknown_share is None else None

    @property
    def meaning(self) -> str:
        """For which inputs P(correct) is a probability, and whether it ranks known inputs as the softmax does."""
        if self.known_loss is not None:
            ranking = (
                "" if self.fallback is None else f" Among known inputs it ranks as the softmax does: {self.fallback}."
            )
            return (
                f"P(correct) is a probability for known inputs, but for {100 * self.known_loss:.2g} % that they lose "
                f"on average to what may be unknown.{ranking}"
            )
        share = f"where {100 * self.unknown_share:.3g} % of the inputs are unknown"
        return f"P(correct) is a probability {share if self.unknown_share else 'for known inputs'}."

    def judge(self, readings: Readings) -> Judgement:
        """What it says of N predictions."""
        return self.judge_features(self.features.matrix(readings))

    def judge_features(self, matrix: NDArray[np.float64]) -> Judgement:
        """The same of a matrix of features, [N, features]."""
        if isinstance(self.estimator, TwoHeads):
            probabilities, familiar = self.estimator.judge(matrix)
        else:
            probabilities, familiar = self.estimator.predict_proba(matrix), np.ones(len(matrix), np.bool_)
        return Judgement(probabilities[:, CORRECT], familiar)

    def probability(self, readings: Readings) -> NDArray[np.float64]:
        """[N] P(correct)."""
        return self.judge(readings).p_correct


def _held_out_of_heads(
    heads: TwoHeads, matrix: NDArray[np.float64], target: NDArray[np.int64], split: Sequence[Fold], advance: Advance
) -> tuple[dict[str, Judgement], NDArray[np.int64]]:
    """Judgements under each ranking by heads that learned from the other folds and from all that was made, and the
    fold of each sample, [given].
    """
    given = sum(len(own) for _, own in split)
    p_correct = {ranking: np.empty(given) for ranking in RANKINGS}
    familiar, folds = np.empty(given, np.bool_), np.empty(given, np.int64)
    made = np.arange(given, len(matrix))
    for fold, (others, own) in enumerate(split):
        rows = np.concatenate([others, made])
        fitted = clone(heads).fit(matrix[rows], target[rows])
        folds[own] = fold
        for ranking in RANKINGS:
            probabilities, familiar[own] = fitted.set_params(ranking=ranking).judge(matrix[own])
            p_correct[ranking][own] = probabilities[:, CORRECT]
        advance(1)
    return {ranking: Judgement(values, familiar) for ranking, values in p_correct.items()}, folds


def _fallback(
    p_correct: NDArray[np.float64],
    softmax: NDArray[np.float64],
    wrong: NDArray[np.bool_],
    folds: NDArray[np.int64],
) -> str | None:
    """Why the softmax should rank known inputs; None where P(correct) does it at least as well.

    Args:
        p_correct: [N] held-out P(correct) of known inputs.
        softmax: [N] a score that grows with the largest softmax output.
        wrong: [N] whether the prediction was wrong.
        folds: [N] by which judge P(correct) was made; those of different judges are not compared.
    """
    errors = np.count_nonzero(wrong)
    if errors < LEAST:
        return f"{errors} predictions are wrong, and {LEAST} are needed to show that another ranking is better"
    ours, theirs = (_auroc_within(-score, wrong, folds) for score in (p_correct, softmax))
    if ours >= theirs:
        return None
    return (
        f"on held-out folds the learned ranking finds wrong predictions worse, AUROC {100 * ours:.2f} against "
        f"{100 * theirs:.2f} %"
    )


def _auroc_within(score: NDArray[np.float64], wrong: NDArray[np.bool_], folds: NDArray[np.int64]) -> float:
    """AUROC over all pairs of a wrong and a right prediction in the same fold."""
    area, pairs = 0.0, 0.0
    for fold in np.unique(folds):
        own = folds == fold
        count = float(np.count_nonzero(wrong[own]) * np.count_nonzero(~wrong[own]))
        if count:
            area += count * roc_auc_score(wrong[own], score[own])
            pairs += count
    return area / pairs if pairs else 0.5


def _held_out(
    meta_classifier: Any, matrix: NDArray[np.float64], target: NDArray[np.int64], folds: Sequence[Fold]
) -> NDArray[np.float64]:
    """[N] P(correct) by classifiers that learned from the other folds, calibrated on the other folds' outputs."""
    method = "decision_function" if hasattr(meta_classifier, "decision_function") else "predict_proba"
    outputs = cross_val_predict(meta_classifier, matrix, target, cv=folds, method=method)
    outputs = outputs if outputs.ndim == 1 else outputs[:, 1]
    found = np.empty(len(target))
    for others, own in folds:
        found[own] = _calibrated(outputs[others], target[others], outputs[own])
    return found


def _calibrated(
    outputs: NDArray[np.float64], target: NDArray[np.int64], new: NDArray[np.float64]
) -> NDArray[np.float64]:
    """[M] P(correct) of new outputs, by Platt's logistic curve with his smoothed targets, fitted to outputs [N]."""
    size = outputs.std() or 1.0
    curve = fit_smoothed(LogisticRegression(C=np.inf, tol=1e-8, max_iter=1000), outputs[:, None] / size, target == 1)
    p_correct: NDArray[np.float64] = curve.predict_proba(new[:, None] / size)[:, 1]
    return p_correct


def named_classifier(given: Any) -> Any:
    """A meta classifier from its name; one that is given comes back.

    Raises:
        InputError: for anything else.
    """
    if isinstance(given, str):
        if given not in CLASSIFIERS:
            raise InputError(f"classifier={given!r}; expected {', '.join(CLASSIFIERS)}, or a scikit-learn classifier")
        return CLASSIFIERS[given]()
    if isinstance(given, type) or not is_classifier(given):
        raise InputError(
            f"classifier is a {type(given).__name__}; expected {', '.join(CLASSIFIERS)}, or a scikit-learn classifier"
        )
    return given
