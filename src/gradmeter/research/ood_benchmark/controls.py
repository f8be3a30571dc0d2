"""What the judge is without one of its parts: whatever is claimed for gradients has to hold beside these."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from torch import Tensor

from gradmeter.trust.features import ACTIVATIONS, EMBEDDING, GRADIENTS, LOGITS, OUTPUTS, Feature

Names = Sequence[str]

PIXELS = "pixel statistics only"
ALL_LABELS = "all pseudo-labels"


def _is_gradient(feature: Feature) -> bool:
    return feature.source == GRADIENTS


@dataclass(frozen=True)
class Control:
    """A judge that reads, or learns from, less or more than the default.

    Attributes:
        reads: which features it keeps; the logits serve in any case, to tell the predicted class.
        outputs: whether what the logits say is a feature.
        kinds: which kinds of synthetic unknowns it learns from; None for all.
        known_unknowns: concepts 200 images of which it learns from as well.
    """

    reads: Callable[[Feature], bool] = field(default=lambda feature: True)
    outputs: bool = True
    kinds: Callable[[str], bool] = field(default=lambda kind: True)
    known_unknowns: Callable[[str], bool] = field(default=lambda concept: False)

    def keeps(self, feature: Feature) -> bool:
        """Whether a feature stays."""
        return feature.source in (OUTPUTS, LOGITS) or self.reads(feature)


def controls(layers: Names, pseudo_labels: Names, kinds: Names, concepts: Names) -> dict[str, Control]:
    """The controls by name.

    Args:
        layers: names of the network's layers.
        pseudo_labels: that were read.
        kinds: of synthetic unknowns.
        concepts: of which there are known unknowns.
    """
    of_layer = {layer: _of_layer(layer) for layer in layers}
    return {
        "without gradients": Control(lambda feature: not _is_gradient(feature)),
        "without activations": Control(lambda feature: feature.source != ACTIVATIONS),
        "without the embedding": Control(lambda feature: feature.source != EMBEDDING),
        "gradients only": Control(_is_gradient, outputs=False),
        "activations only": Control(lambda feature: feature.source == ACTIVATIONS, outputs=False),
        "class-aware logits only": Control(lambda feature: False),
        **{f"layer {layer} alone": Control(keep, outputs=False) for layer, keep in of_layer.items()},
        **{f"pseudo-label {label} alone": Control(_of_label(label), outputs=False) for label in pseudo_labels},
        **{f"without {kind}": Control(kinds=_other_than(kind)) for kind in kinds},
        "without any noise": Control(kinds=lambda kind: "noise" not in kind),
        ALL_LABELS: Control(),
        "no synthetic unknowns": Control(kinds=lambda kind: False),
        **{f"with 200 known {concept}": Control(known_unknowns=_same_as(concept)) for concept in concepts},
        **{
            f"with 200 known of each but {concept}": Control(known_unknowns=_other_than(concept))
            for concept in concepts
        },
    }


def _of_layer(layer: str) -> Callable[[Feature], bool]:
    return lambda feature: feature.layer == layer


def _of_label(label: str) -> Callable[[Feature], bool]:
    # Features of the first pseudo-label are not named after it.
    return lambda feature: _is_gradient(feature) and (feature.pseudo_label or "predicted") == label


def _same_as(given: str) -> Callable[[str], bool]:
    return lambda one: one == given


def _other_than(given: str) -> Callable[[str], bool]:
    return lambda one: one != given


def pixel_statistics(images: Tensor) -> NDArray[np.float64]:
    """Mean, standard deviation and total variation of each channel, [N, 3 C], of images [N, C, H, W]."""
    variation = images.diff(dim=2).abs().mean(dim=(2, 3)) + images.diff(dim=3).abs().mean(dim=(2, 3))
    found = torch.cat([images.mean(dim=(2, 3)), images.std(dim=(2, 3)), variation], dim=1)
    return found.double().numpy()


def pixel_judge(known: Tensor, unknown: Tensor) -> HistGradientBoostingClassifier:
    """A judge of unknown inputs that never sees the network."""
    matrix = np.concatenate([pixel_statistics(known), pixel_statistics(unknown)])
    target = np.repeat([0, 1], [len(known), len(unknown)])
    return HistGradientBoostingClassifier(class_weight="balanced", random_state=0).fit(matrix, target)
