"""P(the prediction is wrong | the input is known), from validation labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.base import BaseEstimator, clone
from sklearn.model_selection import StratifiedKFold

from gradmeter.trust.candidates import FEW, ConfidenceCurve, Regression, regression
from gradmeter.trust.confidence import (
    Confidence,
    KnownFeatures,
    NormalisedLogit,
    ScoredFeatures,
    SecondLook,
    Softmax,
    softmax_log_odds,
)
from gradmeter.trust.smoothing import fit_smoothed

Values = NDArray[np.float64]
Folds = list[tuple[NDArray[np.intp], NDArray[np.intp]]]

FOLDS = 5
# A model joins the average if it lowers the held-out log loss by more than this many standard errors ...
_STANDARD_ERRORS = 2.0
# ... and no more than this many join.
_MOST_MEMBERS = 6
_TEMPERATURES, _NORMS = (1.0, 2.0), (4.0,)
# Share of the known images that get a second look. On ResNet-20 and ResNet-32 (CIFAR-10) a larger share
# would gain little more: a share of 0.2 gains 1.4 points of AUROC on wrong predictions, 0.3 gains 1.8, 1.0 gains 2.2.
_SECOND_LOOKS = 0.3


class KnownHead(BaseEstimator):  # type: ignore[misc]
    """An average of models, chosen by the log loss of held-out folds.

    It starts from the best confidence score: the softmax at some temperature, the p-norm of the logits, or a second
    look at doubtful images. Then, one after the other, the regression joins that lowers the log loss most (greedy
    ensemble selection, Caruana et al. 2004). Each gain must exceed two standard errors over the samples: from a few
    dozen wrong predictions, other features mislead as often as they help. In no member does P(wrong) rise with
    confidence, all else equal. Weak and penalised members make the average too cautious: where this lowers the log
    loss, by as clear a gain, its log odds are scaled (Platt 1999). If no regression joins and the confidence says
    nothing, or all predictions are right, the log odds keep the order of the softmax, and P(wrong) is right on average
    (`ConfidenceCurve.fit_level`).

    Args:
        strengths: for each group of features the inverse penalties to try in a regression.

    Attributes:
        softmax_: the softmax alone; None in heads of earlier versions that return 1 minus the maximum softmax
            probability.
        members_: the models whose log odds are averaged; empty for the softmax alone.
        slope_, intercept_: the log odds are the slope times the average, plus the intercept.
    """

    # Those of heads that earlier versions saved.
    slope_, intercept_ = 1.0, 0.0

    def __init__(self, strengths: Mapping[str, tuple[float, ...]] | None = None) -> None:
        self.strengths = strengths

    def fit(self, X: KnownFeatures, wrong: NDArray[np.bool_]) -> Self:
        """Fit to the features of known predictions, and whether these were wrong [n]."""
        self.fit_held_out(X, wrong)
        return self

    def fit_held_out(self, X: KnownFeatures, wrong: NDArray[np.bool_]) -> Values:
        """Fit as `fit`; return the log odds [n] of these predictions, by members fitted without their fold."""
        self.members_: list[ConfidenceCurve] = []
        self.slope_, self.intercept_ = 1.0, 0.0
        least = min(np.count_nonzero(wrong), np.count_nonzero(~wrong))
        softmax, scored = ConfidenceCurve(), X.scored(None)
        if not least or (not softmax.fit(scored, wrong).rises_ and least < FEW):
            # Too few to say that the slope of the softmax is not 1.
            softmax.fit_level(scored, wrong)
        self.softmax_: ConfidenceCurve | None = softmax
        if least >= FEW:
            members, held_out = self._selected(X, wrong)
            if members:
                self.members_ = members
                return self._fit_scale(held_out, wrong)
        return self.log_odds(X)

    def _fit_scale(self, average: Values, wrong: NDArray[np.bool_]) -> Values:
        """Fit slope and intercept to averages of held-out log odds [n], and return these scaled.

        The targets are smoothed, because the averages may separate the samples.
        """
        model = fit_smoothed(regression(np.inf), average[:, None], wrong)
        slope, intercept = float(model.coef_[0, 0]), float(model.intercept_[0])
        scaled = slope * average + intercept
        if slope <= 0 or not _improves(_log_losses(wrong, average), _log_losses(wrong, scaled)):
            return average
        self.slope_, self.intercept_ = slope, intercept
        return scaled

    @property
    def softmax_only_(self) -> bool:
        """Whether only the softmax is used."""
        return not self.members_

    @property
    def groups(self) -> set[str]:
        """Names of the groups of features that are used."""
        return {member.group for member in self.members_ if isinstance(member, Regression)}

    @property
    def second_look_(self) -> float | None:
        """Log odds of the softmax above which an image gets a second look; None for never."""
        looks = [member.confidence for member in self.members_ if isinstance(member.confidence, SecondLook)]
        return looks[0].above if looks else None

    def log_odds(self, X: KnownFeatures, *, by_softmax: bool = False) -> Values:
        """Return the log odds of P(wrong), [n].

        Args:
            X: features of the predictions.
            by_softmax: use only the softmax, even if other features improve on it.
        """
        if self.members_ and not by_softmax:
            average = np.mean([_log_odds(member, X) for member in self.members_], axis=0)
            return np.asarray(self.slope_ * average + self.intercept_)
        return softmax_log_odds(X.log_scale) if self.softmax_ is None else _log_odds(self.softmax_, X)

    def probability(self, X: KnownFeatures, *, by_softmax: bool = False) -> Values:
        """Return P(wrong) [n]; see `log_odds`."""
        return np.asarray(expit(self.log_odds(X, by_softmax=by_softmax)))

    def _selected(self, X: KnownFeatures, wrong: NDArray[np.bool_]) -> tuple[list[ConfidenceCurve], Values]:
        """Return the models to average, and their held-out log odds [n].

        There are none if the softmax alone is as good.
        """
        folds = _folds(wrong)
        scores = [ConfidenceCurve(confidence) for confidence in _confidences(X)]
        scored = [X.scored(score.confidence) for score in scores]
        odds = [_held_out(*each, wrong, folds) for each in zip(scores, scored, strict=True)]
        losses = [_log_losses(wrong, score_odds).mean() for score_odds in odds]
        order = sorted(range(len(scores)), key=losses.__getitem__)
        best = next((n for n in order if scores[n].fit(scored[n], wrong).rises_), 0)
        if not _improves(_log_losses(wrong, odds[0]), _log_losses(wrong, odds[best])):
            best = 0
        features = scored[best]
        members, member_odds, total = [scores[best].fit(features, wrong)], [odds[best]], odds[best]
        candidates = [*self._candidates(X, scores[best].confidence)]
        odds = [_held_out(candidate, features, wrong, folds) for candidate in candidates]
        while candidates and len(members) < _MOST_MEMBERS:
            losses = [_log_losses(wrong, (total + candidate) / (len(members) + 1)) for candidate in odds]
            chosen = int(np.argmin([loss.mean() for loss in losses]))
            if not _improves(_log_losses(wrong, total / len(members)), losses[chosen]):
                break
            if candidates[chosen] not in members:
                candidates[chosen].fit(features, wrong)
            members.append(candidates[chosen])
            member_odds.append(odds[chosen])
            total = total + odds[chosen]
        average: Values = np.mean(member_odds, axis=0)
        return ([] if members == [scores[0]] else members), average

    def _candidates(self, X: KnownFeatures, confidence: Confidence | None) -> Iterator[ConfidenceCurve]:
        for group, strengths in (self.strengths or {}).items():
            if group in X.groups:
                yield from (Regression(confidence, group, strength) for strength in strengths)


def _confidences(X: KnownFeatures) -> list[Confidence]:
    """Return the scores to choose from, the softmax first."""
    confidences: list[Confidence] = [*map(Softmax, _TEMPERATURES), *map(NormalisedLogit, _NORMS)]
    if X.mirrored is not None:
        above = float(np.quantile(softmax_log_odds(X.log_scale), 1 - _SECOND_LOOKS))
        confidences.append(SecondLook(above))
    return confidences


def _folds(wrong: NDArray[np.bool_]) -> Folds:
    return list(StratifiedKFold(FOLDS, shuffle=True, random_state=0).split(wrong, wrong))


def _log_odds(model: ConfidenceCurve, X: KnownFeatures) -> Values:
    return model.log_odds(X.scored(model.confidence))


def _held_out(candidate: ConfidenceCurve, X: ScoredFeatures, wrong: NDArray[np.bool_], folds: Folds) -> Values:
    """Return the log odds [n] by models that are fitted without the fold of each prediction."""
    odds = np.empty(len(wrong))
    for train, test in folds:
        odds[test] = clone(candidate).fit(X.rows(train), wrong[train]).log_odds(X.rows(test))
    return odds


def _improves(before: Values, after: Values) -> bool:
    """Whether losses [n] fall on average by clearly more than chance explains."""
    gain = before - after
    return bool(gain.mean() > _STANDARD_ERRORS * gain.std(ddof=1) / np.sqrt(len(gain)))


def _log_losses(wrong: NDArray[np.bool_], log_odds: Values) -> Values:
    """Return the log loss of each sample, [n]."""
    losses: Values = np.logaddexp(0, np.where(wrong, -log_odds, log_odds))
    return losses
