"""A supervised reference: boosted trees that learn from real images of CIFAR-100, from what the judge reads."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from torch import Tensor, nn

from gradmeter.reading.meter import GradientMeter
from gradmeter.reading.readings import Readings
from gradmeter.research.ood_benchmark.ceiling import CEILING
from gradmeter.research.ood_benchmark.fitting import BATCH
from gradmeter.research.ood_benchmark.real.images import CIFAR100, RealImages
from gradmeter.research.ood_benchmark.scores import KNOWN
from gradmeter.trust.log_features import LogFeatures

REFERENCE = f"{CEILING} {CIFAR100}"


def supervised_reference(network: nn.Module, images: RealImages) -> Iterator[dict[str, NDArray[np.float64]]]:
    """Yield, for each draw, log odds that an image shows CIFAR-100, learned from images on which settings were chosen.

    Args:
        network: the network.
        images: the images of the task. Right predictions of a draw's validation half are the known ones.

    Yields:
        Scores of the draw's test images as `KNOWN`, and of `CIFAR100`.
    """
    meter = GradientMeter(network).for_trust_model(gradients=False)

    def read(images: Tensor) -> Readings:
        return Readings.concatenate([meter(batch) for batch in images.split(BATCH)])

    known = read(images.known.images)
    features = LogFeatures.everything(known)
    values = features.block(known).values
    learned, scored = (
        features.block(read(unknown)).values for unknown in (images.chosen_on, images.unknowns[CIFAR100])
    )
    right = (known.predictions == images.known.labels).numpy()
    for draw in images.draws:
        of_draw = values[draw.validation[right[draw.validation]]]
        trees = HistGradientBoostingClassifier(
            learning_rate=0.03, max_iter=300, max_leaf_nodes=8, l2_regularization=10, random_state=0
        ).fit(np.concatenate([of_draw, learned]), np.repeat([0, 1], [len(of_draw), len(learned)]))
        yield {KNOWN: trees.decision_function(values[draw.test]), CIFAR100: trees.decision_function(scored)}
