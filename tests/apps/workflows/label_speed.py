"""Print what a check of labels costs: python label_speed.py.

CPU time of one thread, per image of ResNet-18 at 64 x 64 pixels, medians of rounds in which the steps take turns.
"""

import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
import torch
import torchvision

from gradmeter import GradientMeter
from gradmeter.reading.content import content_hashes
from gradmeter.trust.labels import LabelCheck, LabelReadings
from gradmeter.trust.labels.corruption import SHARE

BATCH, ROUNDS, LABELS, CLASSES, DIMENSIONS = 64, 7, 10_000, 10, 512


def reading() -> dict[str, float]:
    """Seconds per image of each way to read a batch."""
    network = torchvision.models.resnet18(num_classes=CLASSES).eval()
    images, labels = torch.rand(BATCH, 3, 64, 64), torch.arange(BATCH) % CLASSES
    forward, meter, bare = (
        GradientMeter(network, gradients=False, embedding=True),
        GradientMeter(network, embedding=True),
        GradientMeter(network),
    )

    def plain() -> None:
        with torch.no_grad():
            network(images)

    steps: dict[str, Callable[[], Any]] = {
        "forward pass": plain,
        "reading for a check": lambda: (forward(images, labels), content_hashes(images)),
        "meter with gradients": lambda: bare(images, labels),
        "reading for a check with gradients": lambda: (meter(images, labels), content_hashes(images)),
    }
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(1 + ROUNDS):
        for name, step in steps.items():
            started = time.process_time()
            step()
            seconds[name].append((time.process_time() - started) / BATCH)
    return {name: median(times[1:]) for name, times in seconds.items()}  # the first round makes the meters' plans


def judging() -> float:
    """Seconds per label of the check itself, without gradients; one of 20 labels is wrong."""
    random = np.random.default_rng(0)
    true = random.integers(0, CLASSES, LABELS)
    labels = np.where(np.arange(LABELS) % 20 == 0, (true + 1) % CLASSES, true)
    logits = random.normal(0, 1, (LABELS, CLASSES))
    logits[np.arange(LABELS), true] += random.normal(4, 2, LABELS)
    embedding = random.normal(0, 1, (LABELS, DIMENSIONS)) + 0.6 * random.normal(0, 1, (CLASSES, DIMENSIONS))[true]
    inputs = LabelReadings(labels, logits.astype(np.float32), embedding.astype(np.float32))
    started = time.process_time()
    LabelCheck().fit_predict(inputs)
    return (time.process_time() - started) / LABELS


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.manual_seed(0)
    times, check = reading(), judging()
    for name, value in {**times, "judging": check}.items():
        print(f"{name}: {1e3 * value:.2f} ms")
    plain, read, meter, with_gradients = times.values()
    print(f"check / forward pass: {(read + check) / plain:.2f}")
    print(f"check with gradients / meter with gradients: {((1 + SHARE) * with_gradients + check) / meter:.2f}")
