"""LabelCheck: the probability that each given label is right."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import expit

from gradmeter.errors import InputError
from gradmeter.reading.meter_warnings import warn_of_probabilities
from gradmeter.reading.readings import Readings
from gradmeter.trust.evaluation.resampling import Interval
from gradmeter.trust.labels.conflicts import Conflicts
from gradmeter.trust.labels.folds import folds_of, require_folds
from gradmeter.trust.labels.gradient_evidence import with_gradients
from gradmeter.trust.labels.inputs import LabelReadings, Labels, Values
from gradmeter.trust.labels.judge import Judge, judge_labels
from gradmeter.trust.labels.pilot import choose_label_reads
from gradmeter.trust.labels.reasons import layer_objections, reasons_of, suggestions_of
from gradmeter.trust.labels.scores import LabelScores
from gradmeter.trust.one_thread import one_thread
from gradmeter.trust.reads import AUTO, FORWARD, GRADIENTS, READS, ReadsChoice

# Rows of logits that show whether they are probabilities.
_SHOWN = 1000


@dataclass(frozen=True, eq=False)
class LabelVerdicts:
    """Verdicts on N given labels.

    Attributes:
        p_label: [N] probability that the given label is right.
        log_odds: [N] log odds that it is wrong, which do not round.
        suggestion: [N] most likely class other than the given one.
        reason: [N] "wrong label", "unfamiliar input", "ambiguous", or "" for a label that is likely right.
        rank: [N] 1 for the label that is most likely wrong.
        layers: [N] layers whose gradient at the given label exceeds 95 % of those at labels that are likely right,
            the largest first; empty without gradients.
        rate: estimated share of wrong labels, with a 95 % interval; it assumes a network whose probabilities are
            calibrated but for a temperature, and is too high for one that is often certain and wrong.
        neighbours: [N, k] rows of the nearest neighbours in the embedding; -1 where there is none.
        choice: whether gradients count, and why; None if only the forward pass was to be used.
        conflicts: number of inputs that occur with different labels.
    """

    p_label: Values
    log_odds: Values
    suggestion: Labels
    reason: NDArray[np.str_]
    rank: Labels
    layers: list[tuple[str, ...]]
    rate: Interval
    neighbours: NDArray[np.int32]
    choice: ReadsChoice | None = None
    conflicts: int = 0

    def __len__(self) -> int:
        """Return the number of labels."""
        return len(self.p_label)


class LabelCheck:
    """Estimate for each given label the probability that it is right.

    A noise model says how likely each label is if some labels are wrong, how many, and how sharp the network and the
    embedding are; see `gradmeter.trust.labels.judge`. With gradients, a part of the labels is corrupted in three ways,
    and the gradients count if they help to find these; see `gradmeter.trust.labels.gradient_evidence`. If the readings
    have out-of-fold probabilities, the network has learned the labels, and the embedding decides more.

    Args:
        reads: "forward" for the forward pass only. "gradients" also reads gradients at all given labels and at
            corrupted ones, which count if they help. "auto" reads them for at most 1,000 labels first, and for the
            others only if they help there; if gradients cannot be read, it uses the forward pass only.
        folds: number of folds in which the use of gradients is learned.
        seed: of all random choices.

    Example:
        >>> verdicts = LabelCheck().fit_predict(read_labels(GradientMeter(model), images, labels))
        >>> verdicts.p_label.argsort()[:10]
    """

    def __init__(self, *, reads: str = FORWARD, folds: int = 5, seed: int = 0) -> None:
        if reads not in READS:
            raise InputError(f"reads={reads!r}; expected {', '.join(map(repr, READS))}")
        for name, number, least in (("folds", folds, 2), ("seed", seed, 0)):
            if not isinstance(number, int) or isinstance(number, bool) or number < least:
                raise InputError(f"{name}={number!r}; expected an integer of at least {least}")
        self.reads, self.folds, self.seed = reads, folds, seed

    def fit_predict(self, inputs: LabelReadings) -> LabelVerdicts:
        """Return verdicts on the given labels.

        Raises:
            InputError: if readings are not finite, all labels are of one class, there are fewer distinct inputs than
                folds, or gradients are wanted and the readings have none.
        """
        if not isinstance(inputs, LabelReadings):
            raise InputError(f"inputs are a {type(inputs).__name__}; expected LabelReadings, those of read_labels")
        inputs.require_numbers()
        require_folds(inputs, self.folds)
        if inputs.probabilities is None:
            warn_of_probabilities(torch.from_numpy(np.array(inputs.logits[:_SHOWN], np.float64)))
        if self.reads == GRADIENTS and inputs.at is None:
            raise InputError("the readings cannot read gradients; read with read_labels(...)")
        inputs.require_two_classes()
        choice = None
        with one_thread(), np.errstate(under="ignore"):
            if self.reads == AUTO and inputs.given is None:
                choice = choose_label_reads(inputs, self.folds, self.seed)
            if self.reads != FORWARD and inputs.at is not None and (choice is None or choice.reads == GRADIENTS):
                if inputs.given is None:
                    inputs = replace(inputs, given=inputs.at(np.arange(len(inputs)), inputs.labels))
                judge = judge_labels(LabelScores(inputs, seed=self.seed), self.seed)
                log_odds, choice = with_gradients(judge, folds_of(inputs, self.folds, self.seed), self.seed)
                return self._verdicts(judge, log_odds, choice, inputs.given)
            judge = judge_labels(LabelScores(inputs, seed=self.seed), self.seed)
            return self._verdicts(judge, judge.log_odds(inputs.labels), choice, None)

    def _verdicts(
        self, judge: Judge, log_odds: Values, choice: ReadsChoice | None, given: Readings | None
    ) -> LabelVerdicts:
        scores, conflicts = judge.scores, Conflicts.of(judge.scores.inputs)
        log_odds = conflicts.judged(log_odds)
        p_label = expit(-log_odds)
        rank = np.empty(len(p_label), np.int64)
        rank[np.argsort(-log_odds, kind="stable")] = np.arange(1, len(p_label) + 1)
        return LabelVerdicts(
            p_label,
            log_odds,
            suggestions_of(scores),
            reasons_of(scores, p_label),
            rank,
            layer_objections(given, p_label),
            conflicts.raised(judge.rate),
            scores.neighbours.rows,
            choice,
            len(conflicts.inputs),
        )
