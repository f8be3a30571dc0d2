"""All scores of one set of labels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from gradmeter.research.label_study.cleanlab_scores import confident_learning
from gradmeter.research.label_study.names import COMBINED, CONFIDENT, FORWARD, SINGLE
from gradmeter.research.label_study.sheet import Sheet
from gradmeter.trust.evaluation.resampling import Interval
from gradmeter.trust.labels import LabelCheck, LabelReadings, scores
from gradmeter.trust.reads import GRADIENTS

Labels = NDArray[np.int64]


def scored(inputs: LabelReadings, ids: Labels, labels: Labels, predictions: Labels) -> Sheet:
    """Check labels, and compute all scores.

    Args:
        inputs: the readings, with gradients, and the given labels.
        ids: [N] numbers of the samples.
        labels: [N] labels as the data give them; where they differ from the given ones, the error was planted.
        predictions: [N] what the network itself predicts, for the share of errors that it has learned.
    """
    given = inputs.labels
    verdicts = LabelCheck(reads=GRADIENTS).fit_predict(inputs)
    without = LabelCheck().fit_predict(inputs)
    probabilities = softmax(inputs.logits.astype(np.float64), axis=1)
    if inputs.probabilities is not None:
        probabilities = inputs.probabilities
    confident, share = confident_learning(given, probabilities)
    values = scores(inputs)
    named = {title: values[name] for name, title in SINGLE.items()}
    planted = given != labels
    return Sheet(
        ids,
        labels,
        given,
        verdicts.suggestion,
        verdicts.reason,
        {COMBINED: verdicts.log_odds, FORWARD: without.log_odds, **named, CONFIDENT: confident},
        {
            COMBINED: verdicts.rate,
            FORWARD: without.rate,
            CONFIDENT: Interval(share, share, share),
        },
        float((predictions == given)[planted].mean()) if planted.any() else float("nan"),
    )
