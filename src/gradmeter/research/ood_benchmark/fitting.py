"""Making and fitting a detector, with the search for its settings."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gradmeter.research.ood_benchmark.detectors import DETECTORS, make_detector
from gradmeter.research.ood_benchmark.parts import Parts
from gradmeter.research.ood_benchmark.tasks import Images
from gradmeter.trust.synthetic import synthetic_unknowns

BATCH = 200
"""Number of images in a batch."""

_TRAINING_IMAGES = 20_000
_SEARCH_IMAGES = 5000
TUNING_IMAGES = 200
"""Number of known images on which settings are compared."""

Batches = list[tuple[Tensor, Tensor]]


@dataclass(frozen=True, eq=False)
class FittingData:
    """What a detector learns from: images, or what the network makes of them (`DetectorEntry.start`).

    Attributes:
        known: images to fit the detector to.
        search: images to fit candidates to, none of which is in `tuning`.
        tuning: batches of known images, and of synthetic unknowns with the label -1, on which settings are compared.
    """

    known: Images
    search: Images
    tuning: Callable[[], Batches]


def fitted(name: str, parts: Parts, data: FittingData) -> Any:
    """Return a detector that is fitted, with the settings that its search chooses.

    Args:
        name: a name in `DETECTORS`.
        parts: the network, from where the detector starts.
        data: what it learns from.
    """
    from pytorch_ood.utils import GridSearch

    torch.manual_seed(0)
    detector = make_detector(name, parts)
    if space := DETECTORS[name].search_space(detector, parts, min(len(data.search), _SEARCH_IMAGES)):
        search = GridSearch(detector, batches(data.search, _SEARCH_IMAGES), data.tuning(), space)
        with warnings.catch_warnings():
            # If all scores are equal, a measure other than AUROC is undefined.
            warnings.filterwarnings("ignore", message="AUTC is undefined", category=UserWarning)
            search.run()
    if getattr(detector, "requires_fit", False):
        detector.fit(batches(data.known, _TRAINING_IMAGES))
    return detector


def batches(images: Images, count: int) -> Batches:
    """Return the first images in batches, with their labels."""
    return list(
        zip(images.images[:count].split(BATCH), images.labels[:count].split(BATCH), strict=True),
    )


def known_and_synthetic(known: Images, made_from: int = TUNING_IMAGES) -> Batches:
    """Return batches of known images, and of synthetic unknowns made from them, with the label -1.

    Args:
        known: the first `TUNING_IMAGES` are used.
        made_from: number of images that each kind of synthetic unknowns is made from.
    """
    synthetic = torch.cat([*synthetic_unknowns(known.images[:made_from], known.labels[:made_from]).values()])
    unknown = Images(synthetic, torch.full((len(synthetic),), -1))
    return [*batches(known, TUNING_IMAGES), *batches(unknown, len(unknown))]
