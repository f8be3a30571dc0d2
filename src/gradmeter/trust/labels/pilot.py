"""Whether gradients at the labels are worth reading, by a sample of the labels."""

from __future__ import annotations

import numpy as np

from gradmeter.errors import GradmeterError
from gradmeter.reading.readings import Readings
from gradmeter.trust.labels.folds import folds_of
from gradmeter.trust.labels.gradient_evidence import with_gradients
from gradmeter.trust.labels.inputs import LabelReadings, Labels
from gradmeter.trust.labels.judge import judge_labels
from gradmeter.trust.labels.scores import LabelScores
from gradmeter.trust.reads import FORWARD, PILOT, ReadsChoice


def choose_label_reads(inputs: LabelReadings, folds: int, seed: int) -> ReadsChoice:
    """Read gradients of at most `PILOT` labels, and choose whether to read them for all.

    Args:
        inputs: the labels, read without gradients.
        folds: number of folds in which the use of gradients is learned.
        seed: of all random choices.
    """
    at = inputs.at
    if at is None:
        return ReadsChoice(FORWARD, "gradients cannot be read")
    rows = np.arange(len(inputs))
    if len(rows) > PILOT:
        rows = np.sort(np.random.default_rng([seed, 5]).choice(rows, PILOT, replace=False))
    contents = None if inputs.contents is None else inputs.contents[rows]
    labels = np.asarray(inputs.labels[rows])
    if len(np.unique(labels)) < 2 or (contents is not None and len(np.unique(contents)) < folds):
        return ReadsChoice(FORWARD, "the labels are too alike to show whether gradients help")

    def at_rows(places: Labels, others: Labels) -> Readings:
        return at(rows[places], others)

    try:
        part = LabelReadings(
            labels,
            inputs.logits[rows],
            inputs.embedding[rows],
            None if inputs.probabilities is None else inputs.probabilities[rows],
            given=at(rows, labels),
            at=at_rows,
            contents=contents,
        )
        judge = judge_labels(LabelScores(part, seed=seed), seed)
        return with_gradients(judge, folds_of(part, folds, seed), seed)[1]
    except GradmeterError as error:
        return ReadsChoice(FORWARD, f"gradients cannot be read: {error}")
