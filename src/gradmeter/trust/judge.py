"""From readings to a calibrated P(the prediction is correct)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import is_classifier
from threadpoolctl import threadpool_limits

from gradmeter.errors import InputError
from gradmeter.reading.readings import Readings
from gradmeter.stages import stage
from gradmeter.trust.calibrated import Calibrated
from gradmeter.trust.log_features import LogFeatures
from gradmeter.trust.meta_classifier import UNKNOWN, FittedClassifier, Judgement, MetaClassifier, TrainingData
from gradmeter.trust.neural import neural_network
from gradmeter.trust.regressions import REGRESSIONS, ridge_cv
from gradmeter.trust.two_heads import TwoHeads

CLASSIFIERS = {"gradmeter": TwoHeads, "ridge_cv": ridge_cv, **REGRESSIONS, "neural_network": neural_network}
"""Factories of meta classifiers by name."""


@dataclass(frozen=True, eq=False)
class Judge:
    """A fitted and calibrated meta classifier.

    Attributes:
        features: what it sees of the readings.
        classifier: judges features.
        right: predictions that it learned from and that were right.
        wrong: known inputs whose prediction was wrong.
        unknown: unknown inputs that were given.
        held_out: of the right + wrong + unknown samples that it was given, by judges that had not seen them; synthetic
            unknowns that were made of them they may have seen.
        synthetic: unknown inputs that were made.
        fallback: why known inputs are ranked by the softmax alone; None where they are not.
    """

    features: LogFeatures
    classifier: FittedClassifier
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
        answered = (known.predictions.cpu() == labels.cpu()).numpy()
        right, wrong, unknown = int(answered.sum()), int((~answered).sum()), sum(map(len, unknowns))
        meta_classifier.require_enough(right, wrong, unknown)
        used = list(synthetic) if meta_classifier.learns_from_synthetic else []
        readings = Readings.concatenate([known, *unknowns, *used])
        kinds = [np.full(len(part), UNKNOWN + kind) for kind, part in enumerate((*unknowns, *used))]
        # The matrices are small: threads would cost more than they bring, and much where others use them too.
        with threadpool_limits(1), stage("fitting the meta classifier", meta_classifier.steps) as advance:
            features = meta_classifier.features(readings)
            data = TrainingData(
                features.block(readings),
                np.concatenate([answered.astype(np.int64), *kinds]),
                -readings.log_scale.double().cpu().numpy(),
                np.arange(len(known) + unknown, dtype=np.uint64) if contents is None else contents,
            )
            fitted = meta_classifier.cross_fit(data, advance)
        return cls(
            features,
            fitted.classifier,
            right,
            wrong,
            unknown,
            fitted.held_out,
            sum(map(len, used)),
            fitted.fallback,
        )

    @property
    def unknown_share(self) -> float:
        """The share of unknown inputs that is presumed."""
        return self.classifier.presumed_share

    @property
    def known_loss(self) -> float | None:
        """What known inputs lose of P(known) on average where unknown ones are as common as that allows; else None."""
        return self.classifier.borne_loss

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
        return self.classifier.judge(self.features.block(readings))

    def probability(self, readings: Readings) -> NDArray[np.float64]:
        """[N] P(correct)."""
        return self.judge(readings).p_correct


def named_classifier(given: Any) -> MetaClassifier:
    """A meta classifier from a name, from a classifier of scikit-learn, or as it is.

    Raises:
        InputError: for anything else.
    """
    if isinstance(given, str):
        if given not in CLASSIFIERS:
            raise InputError(f"classifier={given!r}; expected {', '.join(CLASSIFIERS)}, or a scikit-learn classifier")
        given = CLASSIFIERS[given]()
    if isinstance(given, type) or not is_classifier(given):
        raise InputError(
            f"classifier is a {type(given).__name__}; expected {', '.join(CLASSIFIERS)}, or a scikit-learn classifier"
        )
    return given if hasattr(given, "cross_fit") else Calibrated(given)
