"""Controls: judges without some of the features or training data, which show what each of them contributes."""

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
    """A judge that uses other features, or learns from other unknowns, than the default judge.

    Attributes:
        reads: whether it reads a feature; it reads the logits in any case, to know the predicted class.
        outputs: whether it also uses the logits as features.
        kinds: whether it learns from a kind of synthetic unknowns.
        known_unknowns: whether it also learns from 200 images of a concept.
    """

    reads: Callable[[Feature], bool] = field(default=lambda feature: True)
    outputs: bool = True
    kinds: Callable[[str], bool] = field(default=lambda kind: True)
    known_unknowns: Callable[[str], bool] = field(default=lambda concept: False)

    def keeps(self, feature: Feature) -> bool:
        """Return whether the judge reads a feature."""
        return feature.source in (OUTPUTS, LOGITS) or self.reads(feature)


def controls(layers: Names, pseudo_labels: Names, kinds: Names, concepts: Names) -> dict[str, Control]:
    """Return the controls by name.

    Args:
        layers: names of the network's layers.
        pseudo_labels: pseudo-labels of the readings.
        kinds: kinds of synthetic unknowns.
        concepts: concepts that have known unknowns.
    """
    return {
        "without gradients": Control(lambda feature: not _is_gradient(feature)),
        "without activations": Control(lambda feature: feature.source != ACTIVATIONS),
        "without the embedding": Control(lambda feature: feature.source != EMBEDDING),
        "gradients only": Control(_is_gradient, outputs=False),
        "activations only": Control(lambda feature: feature.source == ACTIVATIONS, outputs=False),
        "class-aware logits only": Control(lambda feature: False),
        **{f"layer {layer} alone": Control(_of_layer(layer), outputs=False) for layer in layers},
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
    # The first pseudo-label is not part of the names of its features.
    return lambda feature: _is_gradient(feature) and (feature.pseudo_label or "predicted") == label


def _same_as(name: str) -> Callable[[str], bool]:
    return lambda other: other == name


def _other_than(name: str) -> Callable[[str], bool]:
    return lambda other: other != name


def pixel_statistics(images: Tensor) -> NDArray[np.float64]:
    """Return mean, standard deviation and total variation of each channel, [N, 3 C], for images [N, C, H, W]."""
    variation = images.diff(dim=2).abs().mean(dim=(2, 3)) + images.diff(dim=3).abs().mean(dim=(2, 3))
    return torch.cat([images.mean(dim=(2, 3)), images.std(dim=(2, 3)), variation], dim=1).double().numpy()


def pixel_judge(known: Tensor, unknown: Tensor) -> HistGradientBoostingClassifier:
    """Fit a classifier of unknown images to pixel statistics; it does not use the network."""
    matrix = np.concatenate([pixel_statistics(known), pixel_statistics(unknown)])
    target = np.repeat([0, 1], [len(known), len(unknown)])
    return HistGradientBoostingClassifier(class_weight="balanced", random_state=0).fit(matrix, target)
