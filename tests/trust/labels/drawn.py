"""Labels that are drawn from the noise model, for a network whose probabilities are known to be right."""

import numpy as np
from scipy.special import log_softmax, softmax

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


def confused(rate: float, *, sharpness: float, classes: int = 40, seed: int = 0) -> tuple[LabelReadings, np.ndarray]:
    """Return readings of overlapping classes, and which labels are wrong.

    The network is `sharpness` times too sure. Wrong labels are those for which its softmax takes the right class.
    """
    random, count, axes = np.random.default_rng(seed), 4000, 32
    centres = 0.7 * random.normal(size=(classes, axes))
    truth = random.integers(0, classes, count)
    inputs = centres[truth] + random.normal(size=(count, axes))
    logits = sharpness * (inputs @ centres.T - (centres**2).sum(1) / 2)
    p = softmax(logits, axis=1)
    confusion = np.stack([p[truth == label].mean(axis=0) for label in range(classes)])
    np.fill_diagonal(confusion, 0)
    confusion /= confusion.sum(axis=1, keepdims=True)
    taken = (np.log(confusion[truth] + 1e-300) + random.gumbel(size=p.shape)).argmax(axis=1)
    wrong = random.random(count) < rate
    readings = LabelReadings(np.where(wrong, taken, truth), logits.astype(np.float32), inputs.astype(np.float32))
    return readings, wrong
