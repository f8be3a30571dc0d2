"""The default meta classifier: is the input known, and if it is, is the prediction right?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit, logsumexp
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.model_selection import KFold

from gradmeter.errors import InputError
from gradmeter.trust.densities import NEAREST, NEXT, OWN, ClassDensities
from gradmeter.trust.kind_shares import bearable_loss, kind_log_odds, unknown_log_odds
from gradmeter.trust.known_head import FOLDS, KnownHead
from gradmeter.trust.log_features import ACTIVATION, EMBEDDING, LOG_SCALE, LOGIT, SCORE
from gradmeter.trust.unknown_head import KNOWN, UnknownHead

Values = NDArray[np.float64]

WRONG, CORRECT, UNKNOWN = 0, 1, 2
"""The classes of a target: of a known input the prediction is wrong, or correct; or the input is unknown.

Several kinds of unknown inputs are `UNKNOWN`, `UNKNOWN` + 1 and so on.
"""

UNFAMILIAR_SHARE = 0.001
"""Share of the known inputs that are less familiar than all inputs that count as familiar."""

RANKINGS = ("learned", "softmax")
# With "softmax" P(known) is the same for all known inputs but this share of them. On a ResNet-20 with CIFAR-10, 0.001
# gained 0.03 points of AUROC on wrong predictions over 0.01, and lost 0.8 on Tiny-ImageNet.
_UNUSUAL_SHARE = 0.01

# With as many known inputs the fitted ratios are as good as held-out ones, which take five times as long.
_MANY = 5000
# With more classes than this, single logits and the predicted class are no features of the known head.
_MOST_CLASSES = 100
_SORTED = 10
# Single layers' distances are left to the other head: there are many, and wrong predictions are few.
_KNOWN_VIEWS = ("embedding", "gradients", "activations")


class TwoHeads(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """P(correct) = P(correct | known) (1 - P(unknown)).

    P(correct | known) is learned from validation labels (`KnownHead`). P(unknown) is learned from class-conditional
    densities of the readings, and from unknown inputs where there are some, synthetic ones at least (`UnknownHead`).
    It needs shares of the kinds of unknown inputs to be a probability. Each is taken to be as common as known inputs
    bear: of P(known) they lose, on average, a fifth of the rate of wrong predictions, and at most 1 %, but for the
    oddest of them (`kind_log_odds`). So P(correct) is a probability for known inputs but for that loss, and what is
    easily told from them is presumed to be common.

    Args:
        names: of the features, as `LogFeatures` names them.
        unknown_share: of all kinds together, each as common as the others, for which P(correct) is a probability; None
            for what known inputs bear.
        outputs: whether what the logits say is learned from, beside distances of readings to the predicted class and
            to the others: False for a control.
        ranking: "learned"; or "softmax": P(correct | known) is a function of the softmax alone and P(known) is the same
            for the 99 % most familiar known inputs, so that P(correct) ranks these as the softmax does.

    Attributes:
        classes_: `WRONG`, `CORRECT`, `UNKNOWN`.
        kind_log_odds_: [kinds] logarithms of the share of a kind over the share of known inputs.
        unknown_share_: of all kinds together, as it is presumed.
        known_loss_: what known inputs lose of P(known), on average.
        familiar_log_odds_: largest log odds of being unknown of an input that counts as familiar: all but a share of
            `UNFAMILIAR_SHARE` of the known inputs do.
        usual_log_odds_: the same for all but 1 % of the known inputs.
        densities_: by view: "embedding", "gradients", "activations", and each layer's activations.
    """

    def __init__(
        self,
        names: Sequence[str] = (),
        unknown_share: float | None = None,
        outputs: bool = True,
        ranking: str = "learned",
    ) -> None:
        self.names = names
        self.unknown_share = unknown_share
        self.outputs = outputs
        self.ranking = ranking

    def fit(self, X: Values, y: NDArray[np.int64]) -> Self:
        """Learn from features [n, d] and their classes [n]; there must be correct ones.

        Raises:
            InputError: for names that do not tell the logits, an impossible share or an unknown ranking.
        """
        if self.ranking not in RANKINGS:
            raise InputError(f"ranking={self.ranking!r}; expected {' or '.join(RANKINGS)}")
        if self.unknown_share is not None and not 0 < self.unknown_share < 1:
            raise InputError(f"unknown_share={self.unknown_share!r}; expected a share strictly between 0 and 1")
        if LOG_SCALE not in self.names or not self._columns(LOGIT):
            raise InputError("names have no log_scale and logits; expected those of LogFeatures.everything")
        known = y < UNKNOWN
        self.classes_ = np.array([WRONG, CORRECT, UNKNOWN])
        predicted = self._predicted(X)
        self.densities_, distances = {}, {}
        for view, columns in self._views().items():
            right = y == CORRECT
            self.densities_[view] = ClassDensities().fit(X[right][:, columns], predicted[right])
            found = self.densities_[view].distances(X[:, columns], predicted)
            # A sample is nearer to densities that were fitted to it.
            for rest, rows in _folds(known):
                rest = rest[y[rest] == CORRECT]
                apart = ClassDensities().fit(X[rest][:, columns], predicted[rest])
                found[rows] = apart.distances(X[rows][:, columns], predicted[rows])
            distances[view] = found
        wrong = y[known] == WRONG
        outputs = self._outputs(X)
        self.known_ = KnownHead().fit(
            self._known_features(X[known], {view: found[known] for view, found in distances.items()}),
            self._log_scale(X[known]),
            wrong,
        )
        far, others = self._far(distances, len(X)), self._others(distances, outputs)
        kinds = np.where(known, KNOWN, y - UNKNOWN)
        self.unknown_ = UnknownHead().fit(far, others, kinds)
        ratios = _ratios_of_known(self.unknown_, far, others, kinds)
        if self.unknown_share is None:
            self.kind_log_odds_ = kind_log_odds(ratios, bearable_loss(wrong))
        else:
            count = ratios.shape[1]
            self.kind_log_odds_ = np.full(count, logit(self.unknown_share) - np.log(count))
        self.unknown_share_ = float(expit(logsumexp(self.kind_log_odds_)))
        odds = unknown_log_odds(ratios, self.kind_log_odds_)
        self.known_loss_ = float(expit(odds).mean())
        self.familiar_log_odds_, self.usual_log_odds_ = (
            float(np.quantile(odds, 1 - share, method="higher")) for share in (UNFAMILIAR_SHARE, _UNUSUAL_SHARE)
        )
        return self

    def predict_proba(self, X: Values) -> Values:
        """[n, 3] P(known and wrong), P(known and correct), P(unknown)."""
        return self.judge(X)[0]

    def judge(self, X: Values) -> tuple[Values, NDArray[np.bool_]]:
        """Of samples [n, d] the probabilities as of `predict_proba`, [n, 3], and whether they are familiar, [n]."""
        distances = self._distances(X)
        by_softmax = self.ranking == "softmax"
        p_wrong = self.known_.probability(self._known_features(X, distances), self._log_scale(X), by_softmax=by_softmax)
        ratios = self.unknown_.log_ratios(self._far(distances, len(X)), self._others(distances, self._outputs(X)))
        odds = unknown_log_odds(ratios, self.kind_log_odds_)
        familiar = odds <= self.familiar_log_odds_
        if by_softmax:
            usual = min(float(logit(self.known_loss_)), self.usual_log_odds_)
            odds = usual + (odds - self.usual_log_odds_).clip(0)
        p_known = expit(-odds)
        return np.stack([p_wrong * p_known, (1 - p_wrong) * p_known, expit(odds)], axis=1), familiar

    def predict(self, X: Values) -> NDArray[np.int64]:
        """[n], the likeliest of `classes_`."""
        found: NDArray[np.int64] = self.classes_[self.predict_proba(X).argmax(axis=1)]
        return found

    def _views(self) -> dict[str, list[int]]:
        """Columns of the readings in which distances are taken, by view."""
        views: dict[str, list[int]] = {}
        for number, name in enumerate(self.names):
            if name.startswith(EMBEDDING):
                views.setdefault("embedding", []).append(number)
            elif name.startswith(ACTIVATION):
                views.setdefault("activations", []).append(number)
                views.setdefault(name.rpartition("/")[0], []).append(number)
            elif "/" in name:
                views.setdefault("gradients", []).append(number)
        return views

    def _columns(self, prefix: str) -> list[int]:
        return [number for number, name in enumerate(self.names) if name.startswith(prefix)]

    def _predicted(self, X: Values) -> NDArray[np.int64]:
        found: NDArray[np.int64] = X[:, self._columns(LOGIT)].argmax(axis=1)
        return found

    def _log_scale(self, X: Values) -> Values:
        """[n] log(1 - p) of the predicted class, where the known head begins; without outputs all are alike."""
        if not self.outputs:
            return np.full(len(X), np.log(0.5))
        found: Values = X[:, list(self.names).index(LOG_SCALE)]
        return found

    def _distances(self, X: Values) -> dict[str, Values]:
        predicted, views = self._predicted(X), self._views()
        return {view: density.distances(X[:, views[view]], predicted) for view, density in self.densities_.items()}

    def _outputs(self, X: Values) -> Values:
        """What the logits and the probes say: their distribution, and the largest of them in order."""
        if not self.outputs:
            return np.empty((len(X), 0))
        logits = np.sort(X[:, self._columns(LOGIT)], axis=1)[:, ::-1][:, :_SORTED]
        others = [
            number
            for number, name in enumerate(self.names)
            if name.startswith(SCORE) or (":" not in name and "/" not in name)
        ]
        return np.hstack([X[:, others], logits, logits[:, :1] - logits[:, 1:2]])

    @staticmethod
    def _far(distances: dict[str, Values], samples: int) -> Values:
        """Distances to the nearest class, by which what is farther is less known."""
        return np.hstack([np.empty((samples, 0)), *(found[:, NEAREST, None] for found in distances.values())])

    @staticmethod
    def _others(distances: dict[str, Values], outputs: Values) -> Values:
        """How much farther the predicted class is, and the next one; and the outputs."""
        farther = [np.diff(found[:, [NEAREST, OWN, NEXT]], axis=1) for found in distances.values()]
        return np.hstack([*farther, outputs])

    def _known_features(self, X: Values, distances: dict[str, Values]) -> Values:
        parts = [self._outputs(X), *(distances[view] for view in _KNOWN_VIEWS if view in distances)]
        logits = self._columns(LOGIT)
        if self.outputs and len(logits) <= _MOST_CLASSES:
            parts += [X[:, logits], np.eye(len(logits))[self._predicted(X)]]
        return np.hstack(parts)


def _ratios_of_known(head: UnknownHead, far: Values, others: Values, kinds: NDArray[np.int64]) -> Values:
    """[known, kinds] of a fitted head; of few known inputs those of heads that had not seen them."""
    known = kinds == KNOWN
    if np.count_nonzero(known) >= _MANY:
        return head.log_ratios(far[known], others[known])
    ratios = np.empty((len(kinds), len(head.models_)))
    for rest, rows in _folds(known):
        rest = np.concatenate([rest, np.flatnonzero(~known)])
        apart = UnknownHead().fit(far[rest], others[rest], kinds[rest])
        ratios[rows] = apart.log_ratios(far[rows], others[rows])
    found: Values = ratios[known]
    return found


def _folds(known: NDArray[np.bool_]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Rows of the known samples, in five parts: those of the others and those of the part."""
    rows = np.flatnonzero(known)
    for others, own in KFold(FOLDS, shuffle=True, random_state=0).split(rows):
        yield rows[others], rows[own]
