"""The interface between `Judge` and the meta classifiers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from gradmeter.errors import InputError
from gradmeter.reading.readings import Readings
from gradmeter.stages import Advance
from gradmeter.trust.features import FeatureBlock
from gradmeter.trust.folds import distinct_rows
from gradmeter.trust.layer_ranges import LayerValues
from gradmeter.trust.log_features import LogFeatures

P_CORRECT, P_KNOWN, P_CORRECT_IF_KNOWN = "p_correct", "p_known", "p_correct_if_known"
SCORES = (P_CORRECT, P_KNOWN, P_CORRECT_IF_KNOWN)
"""Probabilities of a judgement that a risk guarantee can put a threshold on."""

WRONG, CORRECT, UNKNOWN = 0, 1, 2
"""Classes of a training target: a known input with a wrong or a correct prediction, or an unknown input.

Several kinds of unknown inputs are `UNKNOWN`, `UNKNOWN` + 1 and so on.
"""


@dataclass(frozen=True, eq=False)
class Judgement:
    """The output of a meta classifier for N predictions.

    Attributes:
        p_correct: [N] P(correct).
        familiar: [N] False for inputs that look less known than all but one in a thousand of the known inputs; always
            True for meta classifiers that do not tell known from unknown inputs.
        p_known: [N] P(the input is of the kind that the network has learned); None if the meta classifier does not
            tell known from unknown inputs.
        p_correct_if_known: [N] P(correct | known); None likewise.
    """

    p_correct: NDArray[np.float64]
    familiar: NDArray[np.bool_]
    p_known: NDArray[np.float64] | None = None
    p_correct_if_known: NDArray[np.float64] | None = None

    @classmethod
    def concatenate(cls, judgements: Sequence[Judgement]) -> Judgement:
        """Join judgements that give the same probabilities."""
        return cls(
            np.concatenate([judgement.p_correct for judgement in judgements]),
            np.concatenate([judgement.familiar for judgement in judgements]),
            _joined([judgement.p_known for judgement in judgements]),
            _joined([judgement.p_correct_if_known for judgement in judgements]),
        )

    def rows(self, selected: NDArray[np.generic]) -> Judgement:
        """Select predictions, by their indices or by [N] bool."""
        p_known, p_correct_if_known = (
            None if values is None else values[selected] for values in (self.p_known, self.p_correct_if_known)
        )
        return Judgement(self.p_correct[selected], self.familiar[selected], p_known, p_correct_if_known)

    def require_probabilities(self) -> None:
        """Check that all probabilities are numbers from 0 to 1.

        Raises:
            ValueError: if one is not.
        """
        for name in SCORES:
            values = getattr(self, name)
            if values is not None and not ((values >= 0) & (values <= 1)).all():
                raise ValueError(f"the meta classifier gives {name}={values.min():g}")

    def score(self, name: str = P_CORRECT) -> NDArray[np.float64]:
        """Return one of `SCORES`, [N], and -1 for unfamiliar inputs, so that no threshold accepts them.

        Raises:
            InputError: if the meta classifier does not give this score.
        """
        values = getattr(self, name) if name in SCORES else None
        if values is None:
            available = [known for known in SCORES if getattr(self, known) is not None]
            raise InputError(f"score={name!r}; expected {' or '.join(available)}, which the meta classifier gives")
        return np.where(self.familiar, values, -1.0)

    def unfamiliar_first(self, score: str) -> NDArray[np.bool_]:
        """Return whether a low score is due to P(known) more than to P(correct | known), [N] bool.

        False for meta classifiers that do not tell known from unknown inputs.
        """
        if self.p_correct_if_known is None:
            return np.zeros(len(self.p_correct), np.bool_)
        if score == P_KNOWN:
            return np.ones(len(self.p_correct), np.bool_)
        if score == P_CORRECT_IF_KNOWN:
            return ~self.familiar
        # P(correct) is P(correct | known) times a factor for P(known): is the factor the smaller one?
        return ~self.familiar | (self.p_correct < self.p_correct_if_known**2)


def _joined(parts: Sequence[NDArray[np.float64] | None]) -> NDArray[np.float64] | None:
    """Concatenate the same probability of several judgements; None if the meta classifier does not give it."""
    values = [part for part in parts if part is not None]
    return np.concatenate(values) if values else None


@dataclass(frozen=True, eq=False)
class TrainingData:
    """Training samples of a meta classifier: known inputs, then given unknown inputs, then synthetic ones.

    Attributes:
        block: features of all samples.
        target: [n] `WRONG`, `CORRECT`, or `UNKNOWN` plus the number of the kind.
        softmax: [n] a score that grows with the maximum softmax probability.
        contents: [given] equal numbers for equal inputs, for the samples that are not synthetic.
    """

    block: FeatureBlock
    target: NDArray[np.int64]
    softmax: NDArray[np.float64]
    contents: NDArray[np.uint64]

    @property
    def given(self) -> int:
        """The number of samples that are not synthetic."""
        return len(self.contents)

    @property
    def known(self) -> int:
        """The number of known inputs."""
        return int(np.count_nonzero(self.target < UNKNOWN))

    def distinct(self) -> tuple[TrainingData, NDArray[np.intp]]:
        """Return the samples without copies of one input and target, and the new row [given] of each given sample."""
        first, numbers = distinct_rows(self.contents, self.target[: self.given])
        rows = np.concatenate([first, np.arange(self.given, len(self.target))])
        data = TrainingData(self.block.rows(rows), self.target[rows], self.softmax[rows], self.contents[first])
        return data, numbers


class FittedClassifier(Protocol):
    """A meta classifier after training."""

    @property
    def assumed_unknown_share(self) -> float:
        """The share of unknown inputs for which P(correct) is a probability."""

    @property
    def known_loss(self) -> float | None:
        """The average loss of P(known) of known inputs that the assumed share costs; None if it is not derived so."""

    @property
    def second_look(self) -> float | None:
        """Log odds of the softmax above which the mirror image is needed, too; None for never."""

    def judge(self, block: FeatureBlock) -> Judgement:
        """Judge N predictions."""

    def unfamiliar_origins(self, block: FeatureBlock) -> list[tuple[str, ...]]:
        """Return for each prediction where its input looks least known: layers, or other origins of features.

        At most three, the least known first; none for meta classifiers that do not tell known from unknown inputs.
        """

    def layer_distances(self, block: FeatureBlock) -> list[LayerValues]:
        """Return the distance of each layer's output from those of known inputs, if the meta classifier takes them."""


@dataclass(frozen=True, eq=False)
class CrossFit:
    """A fitted meta classifier, and held-out judgements of its training samples.

    Attributes:
        classifier: fitted to all samples.
        held_out: judgements of the samples that are not synthetic, by classifiers that were not fitted to them; these
            may have been fitted to synthetic unknowns made from them.
        folds: [n] the fold of each of these samples; another classifier judged each fold.
        fallback: why known inputs are ranked by the softmax alone; None if they are not.
    """

    classifier: FittedClassifier
    held_out: Judgement
    folds: NDArray[np.int64]
    fallback: str | None


class MetaClassifier(Protocol):
    """A meta classifier before training. Fitting leaves it unchanged, as scikit-learn's `clone` expects."""

    @property
    def learns_from_synthetic(self) -> bool:
        """Whether it uses synthetic unknowns."""

    @property
    def steps(self) -> int | None:
        """How many steps `cross_fit` reports; None if it reports none."""

    def features(self, readings: Readings) -> LogFeatures:
        """Select the features to use, given the training readings."""

    def require_enough(self, right: int, wrong: int, unknown: int) -> None:
        """Check that there are enough samples of each class, without copies of an input.

        Raises:
            InputError: if there are not.
        """

    def cross_fit(self, data: TrainingData, advance: Advance) -> CrossFit:
        """Fit to all samples, and to four fifths of them five times."""
