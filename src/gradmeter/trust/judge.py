"""Fit a meta classifier to readings; predict a calibrated P(the prediction is correct)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import is_classifier

from gradmeter.errors import InputError
from gradmeter.reading.readings import Readings
from gradmeter.stages import stage
from gradmeter.trust.calibrated import Calibrated
from gradmeter.trust.folds import distinct_rows
from gradmeter.trust.layer_ranges import GradientRanges, LayerValues, gradient_values
from gradmeter.trust.log_features import LogFeatures
from gradmeter.trust.meta_classifier import (
    CORRECT,
    P_CORRECT,
    UNKNOWN,
    WRONG,
    FittedClassifier,
    Judgement,
    MetaClassifier,
    TrainingData,
)
from gradmeter.trust.neural import neural_network
from gradmeter.trust.one_thread import one_thread
from gradmeter.trust.reasons import DOUBTFUL, unfamiliar_in
from gradmeter.trust.regressions import REGRESSIONS, ridge_cv
from gradmeter.trust.two_heads import TwoHeads

CLASSIFIERS = {"gradmeter": TwoHeads, "ridge_cv": ridge_cv, **REGRESSIONS, "neural_network": neural_network}
"""Factories of meta classifiers by name."""


@dataclass(frozen=True, eq=False)
class Judge:
    """A fitted and calibrated meta classifier.

    Attributes:
        features: the features of readings that it uses.
        classifier: the fitted meta classifier.
        right: number of right predictions in training.
        wrong: number of wrong predictions for known inputs in training.
        unknown: number of given unknown inputs in training.
        held_out: judgements of these right + wrong + unknown samples by classifiers that were not fitted to them;
            these may have been fitted to synthetic unknowns made from them.
        synthetic: number of synthetic unknowns in training.
        fallback: why known inputs are ranked by the softmax alone; None if they are not.
        gradient_ranges: the range of each layer's gradient for right predictions; None if gradients were not read, or
            for a TrustModel that was saved by an earlier version.
        folds: [n] the fold of each sample of `held_out`; None if the judge was loaded.
    """

    features: LogFeatures
    classifier: FittedClassifier
    right: int
    wrong: int
    unknown: int
    held_out: Judgement
    synthetic: int = 0
    fallback: str | None = None
    gradient_ranges: GradientRanges | None = None
    folds: NDArray[np.int64] | None = None

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
        """Fit to known inputs with labels and to unknown inputs, if there are any.

        Args:
            known: readings of N inputs that the network was not trained on.
            labels: [N] their classes.
            unknowns: readings of unknown inputs, whose predictions all count as wrong.
            classifier: a name in `CLASSIFIERS`, or a scikit-learn classifier.
            synthetic: readings of synthetic unknowns; only "gradmeter" uses them.
            contents: equal numbers for equal inputs, known inputs first, then unknown ones; None if all inputs differ.
                Copies of an input are kept in the same fold.

        Raises:
            InputError: if the classifier is invalid, the labels have the wrong shape, or there are too few different
                inputs: at least 10 right predictions and 10 wrong or unknown ones; for "gradmeter" 50 right ones.
        """
        if labels.shape != known.predictions.shape:
            raise InputError(f"labels have shape {tuple(labels.shape)}; expected {tuple(known.predictions.shape)}")
        meta_classifier = resolve_classifier(classifier)
        correct = (known.predictions.cpu() == labels.cpu()).numpy()
        right, wrong, unknown = int(correct.sum()), int((~correct).sum()), sum(map(len, unknowns))
        contents = np.arange(len(known) + unknown, dtype=np.uint64) if contents is None else contents
        target = np.concatenate([correct.astype(np.int64), np.full(unknown, UNKNOWN)])
        distinct = target[distinct_rows(contents, target)[0]]
        meta_classifier.require_enough(*(int((distinct == kind).sum()) for kind in (CORRECT, WRONG, UNKNOWN)))
        used = list(synthetic) if meta_classifier.learns_from_synthetic else []
        parts = [known, *unknowns, *used]
        # Earlier readings may lack a score that others have.
        scores = set.intersection(*({*part.scores} for part in parts))
        readings = Readings.concatenate([part.with_scores(scores) for part in parts])
        kinds = [np.full(len(part), UNKNOWN + kind) for kind, part in enumerate((*unknowns, *used))]
        # The matrices are small: threads would cost more time than they save, and much more on a busy machine.
        with (
            one_thread(),
            np.errstate(under="ignore"),
            stage("fitting the meta classifier", meta_classifier.steps) as advance,
        ):
            features = meta_classifier.features(readings)
            data = TrainingData(
                features.block(readings),
                np.concatenate([correct.astype(np.int64), *kinds]),
                -readings.log_scale.double().cpu().numpy(),
                contents,
            )
            fit = meta_classifier.cross_fit(data, advance)
        ranges = GradientRanges.of(known.rows(np.flatnonzero(correct)))
        counts = right, wrong, unknown
        synthetic_count = sum(map(len, used))
        return cls(features, fit.classifier, *counts, fit.held_out, synthetic_count, fit.fallback, ranges, fit.folds)

    @property
    def unknown_share(self) -> float:
        """The assumed share of unknown inputs."""
        return self.classifier.assumed_unknown_share

    @property
    def known_loss(self) -> float | None:
        """The average loss of P(known) of known inputs that the assumed share costs; None if it is not derived so."""
        return self.classifier.known_loss

    @property
    def meaning(self) -> str:
        """For which inputs P(correct) is a probability, and whether it ranks known inputs as the softmax does."""
        if self.known_loss is not None:
            ranking = "" if self.fallback is None else f" It ranks known inputs as the softmax does: {self.fallback}."
            return (
                "P(correct) is a probability for known inputs, except that it is lower by "
                f"{100 * self.known_loss:.2g} % on average, because each input may be unknown.{ranking}"
            )
        if not self.unknown_share:
            return "P(correct) is a probability for known inputs."
        return f"P(correct) is a probability if {100 * self.unknown_share:.3g} % of the inputs are unknown."

    def judge(self, readings: Readings) -> Judgement:
        """Judge N predictions."""
        with np.errstate(under="ignore"):
            return self.classifier.judge(self.features.block(readings))

    def unfamiliar_origins(self, readings: Readings) -> list[tuple[str, ...]]:
        """Return for each prediction where its input looks least known, as `FittedClassifier` does."""
        return self.classifier.unfamiliar_origins(self.features.block(readings))

    def reasons(
        self, readings: Readings, judgement: Judgement, accepted: NDArray[np.bool_], score: str = P_CORRECT
    ) -> list[str | None]:
        """Return why predictions are not accepted, [N], as `TrustModel.verdicts` does; None for accepted ones.

        Args:
            readings: of N predictions.
            judgement: of these readings.
            accepted: [N] whether each prediction is accepted.
            score: the probability that decided this.
        """
        reasons: list[str | None] = [None if row_accepted else DOUBTFUL for row_accepted in accepted]
        unfamiliar = np.flatnonzero(~accepted & judgement.unfamiliar_first(score))
        if len(unfamiliar):
            origins = self.unfamiliar_origins(readings.rows(unfamiliar))
            for index, layers in zip(unfamiliar, origins, strict=True):
                reasons[index] = unfamiliar_in(layers)
        return reasons

    def layer_values(self, readings: Readings) -> list[LayerValues]:
        """Return what each layer shows for N predictions: the size of its gradient and the distance of its output.

        Each measure is there only if it is read; the distances only if the meta classifier takes them.
        """
        distances = self.classifier.layer_distances(self.features.block(readings))
        return [*gradient_values(readings, self.gradient_ranges), *distances]

    def probability(self, readings: Readings) -> NDArray[np.float64]:
        """Return P(correct) [N]."""
        return self.judge(readings).p_correct


def resolve_classifier(classifier: Any) -> MetaClassifier:
    """Return the meta classifier for a name in `CLASSIFIERS`, a scikit-learn classifier, or a meta classifier.

    Raises:
        InputError: if it is none of these, or says only which class it predicts.
    """
    if isinstance(classifier, str):
        if classifier not in CLASSIFIERS:
            raise InputError(
                f"classifier={classifier!r}; expected {', '.join(CLASSIFIERS)}, or a scikit-learn classifier"
            )
        classifier = CLASSIFIERS[classifier]()
    if isinstance(classifier, type) or not _is_classifier(classifier):
        raise InputError(
            f"classifier is a {type(classifier).__name__}; expected {', '.join(CLASSIFIERS)}, or a scikit-learn "
            "classifier"
        )
    if hasattr(classifier, "cross_fit"):
        own: MetaClassifier = classifier
        return own
    has_score = hasattr(classifier, "decision_function") or hasattr(classifier, "predict_proba")
    if not (has_score and hasattr(classifier, "predict")):
        raise InputError(
            f"classifier is a {type(classifier).__name__}, which lacks a method with these settings; expected predict, "
            "and decision_function or predict_proba: a voting classifier needs voting='soft', for example, and a "
            "stacking classifier a final_estimator"
        )
    return Calibrated(classifier)


def _is_classifier(value: Any) -> bool:
    try:
        return bool(is_classifier(value))
    except AttributeError:  # not an estimator
        return False
