"""How well letters can be told from digits at all: a network that learned just that, from real letters."""

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
"""The images of a concept that the network does not learn from."""

_RECIPE = TrainingRecipe(epochs=6, peak=0.1, mirrored=False)
_BATCH = 500


def supervised_ceiling(data: Data, concept: str, run: int, path: Path) -> dict[str, NDArray[np.float64]]:
    """Log odds that an image is of a concept, by a ResNet-8 trained on half of its images and on known ones.

    Args:
        data: of the network whose test images are judged.
        concept: name of an unknown concept.
        run: number of the network; the seed.
        path: of the weights.

    Returns:
        Scores of the known test images, "known", and of the other half of the concept, under its name.
    """
    foreign = data.unknowns[concept].images
    learned = foreign[::2]
    known = data.train.images[: 2 * len(learned)]
    images = _three_channels(torch.cat([known, learned]))
    labels = torch.cat([torch.zeros(len(known)), torch.ones(len(learned))]).long()
    torch.manual_seed(run)
    network = ResNet8(2)
    if not path.exists():
        train(network, images, labels, path, _RECIPE, seed=run, on_epoch=lambda epoch: None)
    load_weights(network, path)

    def odds(of: Tensor) -> NDArray[np.float64]:
        with torch.inference_mode():
            answers = torch.cat([network(_three_channels(batch)) for batch in of.split(_BATCH)]).double()
        found: NDArray[np.float64] = (answers[:, 1] - answers[:, 0]).numpy()
        return found

    return {KNOWN: odds(data.test.images), concept: odds(foreign[HELD_OUT])}


def _three_channels(images: Tensor) -> Tensor:
    return images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images
