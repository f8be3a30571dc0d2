"""A supervised reference: a network trained on real letters to distinguish letters from digits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gradmeter.research.ood_benchmark.networks import ResNet8
from gradmeter.research.ood_benchmark.scores import KNOWN
from gradmeter.research.ood_benchmark.tasks import Data
from gradmeter.research.ood_benchmark.training import TrainingRecipe, load_weights, train

CEILING = "supervised ceiling"
HELD_OUT = slice(1, None, 2)
"""The images of a concept that the network is not trained on."""

_RECIPE = TrainingRecipe(epochs=6, peak=0.1, mirrored=False)
_BATCH = 500


def supervised_ceiling(data: Data, concept: str, run: int, path: Path) -> dict[str, NDArray[np.float64]]:
    """Return log odds that an image shows a concept, from a ResNet-8 trained on half of its images and on known ones.

    Args:
        data: images of the network whose test images are scored.
        concept: name of an unknown concept.
        run: number of the network, and the seed.
        path: file of the weights.

    Returns:
        Scores of the known test images as "known", and of the other half of the concept by its name.
    """
    unknown = data.unknowns[concept].images
    training_unknown = unknown[::2]
    training_known = data.train.images[: 2 * len(training_unknown)]
    images = _three_channels(torch.cat([training_known, training_unknown]))
    labels = torch.cat([torch.zeros(len(training_known)), torch.ones(len(training_unknown))]).long()
    torch.manual_seed(run)
    network = ResNet8(2)
    if not path.exists():
        train(network, images, labels, path, _RECIPE, seed=run, on_epoch=lambda epoch: None)
    load_weights(network, path)

    def log_odds(images: Tensor) -> NDArray[np.float64]:
        with torch.inference_mode():
            logits = torch.cat([network(_three_channels(batch)) for batch in images.split(_BATCH)]).double()
        odds: NDArray[np.float64] = (logits[:, 1] - logits[:, 0]).numpy()
        return odds

    return {KNOWN: log_odds(data.test.images), concept: log_odds(unknown[HELD_OUT])}


def _three_channels(images: Tensor) -> Tensor:
    return images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images
