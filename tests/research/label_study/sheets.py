"""Sheets made of random numbers."""

import numpy as np

from gradmeter.research.label_study.names import COMBINED, CONFIDENT, FORWARD, SINGLE
from gradmeter.research.label_study.sheet import Sheet
from gradmeter.trust.evaluation.resampling import Interval

SAMPLES = 400


def sheet(seed: int, rate: float, combined: float = 4.0, estimate: float | None = None) -> Sheet:
    """A sheet where P(label is right) separates errors by `combined`, and the other scores by less."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 10, SAMPLES)
    given = labels.copy()
    wrong = random.choice(SAMPLES, round(rate * SAMPLES), replace=False)
    given[wrong] = (given[wrong] + 1) % 10
    noise = random.normal(size=SAMPLES)
    strengths = dict.fromkeys((*SINGLE.values(), CONFIDENT), 1.0) | {FORWARD: 2.0, COMBINED: combined}
    scores = {name: 1 / (1 + np.exp(-strength * (given != labels) - noise)) for name, strength in strengths.items()}
    value = rate if estimate is None else estimate
    rates = {name: Interval(value, 0.9 * value, 1.1 * value) for name in (COMBINED, FORWARD, CONFIDENT)}
    ids = 1000 + np.arange(SAMPLES)
    reason = np.where(scores[COMBINED] > 0.5, "wrong label", "")
    return Sheet(ids, labels, given, labels, reason, {name: scores[name] for name in strengths}, rates, 0.25)
