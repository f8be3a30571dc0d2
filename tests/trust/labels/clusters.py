"""Inputs of three well separated classes, with wrong labels in known rows."""

from dataclasses import replace

import numpy as np

from gradmeter.trust.labels import LabelReadings

CLASSES = 3


def clusters(
    count: int = 600, wrong: int = 30, spread: float = 1.0, seed: int = 0, classes: int = CLASSES
) -> tuple[LabelReadings, np.ndarray]:
    """Return readings of Gaussian classes, and a mask of the rows with a wrong label."""
    random = np.random.default_rng(seed)
    truth = random.integers(classes, size=count)
    centres = 4 * np.eye(classes, 8)
    embedding = (centres[truth] + spread * random.normal(size=(count, 8))).astype(np.float32)
    logits = embedding @ centres.T.astype(np.float32)
    labels = truth.copy()
    rows = random.choice(count, wrong, replace=False)
    labels[rows] = (truth[rows] + random.integers(1, classes, wrong)) % classes
    return LabelReadings(labels, logits, embedding), labels != truth


def with_labels(inputs: LabelReadings, labels: np.ndarray) -> LabelReadings:
    return replace(inputs, labels=labels)
