"""What a judge asks of a meta classifier, whichever it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from gradmeter.reading.readings import Readings
from gradmeter.stages import Advance
from gradmeter.trust.features import FeatureBlock
from gradmeter.trust.log_features import LogFeatures

WRONG, CORRECT, UNKNOWN = 0, 1, 2
"""The classes of a target: of a known input the prediction is wrong, or correct; or the input is unknown.

Several kinds of unknown inputs are `UNKNOWN`, `UNKNOWN` + 1 and so on.
"""


@dataclass(frozen=True, eq=False)
class Judgement:
    """What is said of N predictions.

    Attributes:
        p_correct: [N] P(correct).
        familiar: [N] whether more than one in a thousand of the known inputs are as unfamiliar; always true for meta
            classifiers that do not say whether an input is known.
    """

    p_correct: NDArray[np.float64]
    familiar: NDArray[np.bool_]

    @property
    def score(self) -> NDArray[np.float64]:
        """[N] P(correct), and -1 for what is not familiar: no threshold accepts it."""
        return np.where(self.familiar, self.p_correct, -1.0)


@dataclass(frozen=True, eq=False)
class TrainingData:
    """What a meta classifier learns from: known inputs, then unknown ones that were given, then synthetic ones.

    Attributes:
        block: features of all samples.
        target: [n] `WRONG`, `CORRECT`, or `UNKNOWN` and the number of the kind.
        softmax: [n] a score of each prediction that grows with the largest softmax output.
        contents: [given] equal numbers for equal inputs, for the samples that were given.
    """

    block: FeatureBlock
    target: NDArray[np.int64]
    softmax: NDArray[np.float64]
    contents: NDArray[np.uint64]

    @property
    def given(self) -> int:
        """How many samples are not synthetic."""
        return len(self.contents)

    @property
    def known(self) -> int:
        """How many samples are known inputs."""
        return int(np.count_nonzero(self.target < UNKNOWN))


class FittedClassifier(Protocol):
    """Says how likely predictions are correct."""

    @property
    def presumed_share(self) -> float:
        """The share of unknown inputs for which P(correct) is a probability."""

    @property
    def borne_loss(self) -> float | None:
        """What known inputs lose of P(known) on average where unknown ones are as common as that allows; else None."""

    def judge(self, block: FeatureBlock) -> Judgement:
        """Judge N predictions."""


@dataclass(frozen=True, eq=False)
class CrossFit:
    """What came of fitting, and of judging each given sample by a meta classifier that had not seen it.

    Attributes:
        classifier: fitted to all samples.
        held_out: [given] judgements; of synthetic unknowns, those that were made of the sample may have been seen.
        fallback: why known inputs are ranked by the softmax alone; None where they are not.
    """

    classifier: FittedClassifier
    held_out: Judgement
    fallback: str | None


class MetaClassifier(Protocol):
    """Can be fitted; by scikit-learn's rules it comes out of that as it was."""

    @property
    def learns_from_synthetic(self) -> bool:
        """Whether it has use for synthetic unknowns."""

    @property
    def steps(self) -> int | None:
        """How often `cross_fit` advances; None where it does not say."""

    def features(self, readings: Readings) -> LogFeatures:
        """Which features it wants to see of readings like those that it will be fitted to."""

    def require_enough(self, right: int, wrong: int, unknown: int) -> None:
        """Check that there are enough samples of each kind.

        Raises:
            InputError: if not.
        """

    def cross_fit(self, data: TrainingData, advance: Advance) -> CrossFit:
        """Fit to all samples, and five times to four fifths of them."""
