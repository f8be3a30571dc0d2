"""Labels that are drawn from the noise model, for a network whose probabilities are known to be right."""

import numpy as np
from scipy.special import log_softmax

from gradmeter.trust.labels import LabelReadings


def drawn(
    rate: float, count: int = 4000, classes: int = 6, *, sharpness: float = 1.0, seed: int = 0
) -> tuple[LabelReadings, np.ndarray]:
    """Return readings of a calibrated network, or one that is `sharpness` times too sure, and which labels are wrong.

    Wrong labels are any other class.
    """
    random = np.random.default_rng(seed)
    log_p = log_softmax(3 * random.normal(size=(count, classes)), axis=1)
    truth = (log_p + random.gumbel(size=log_p.shape)).argmax(axis=1)
    wrong = random.random(count) < rate
    labels = np.where(wrong, (truth + random.integers(1, classes, count)) % classes, truth)
    logits = (sharpness * log_p).astype(np.float32)
    return LabelReadings(labels, logits, random.normal(size=(count, 4)).astype(np.float32)), wrong
