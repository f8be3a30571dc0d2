"""Scores of every pixel, from the logits alone and from the gradient's statistics; a high one means: do not trust."""

from __future__ import annotations

import torch
from torch import Tensor

from gradmeter.reading.pixels.readings import PixelReadings
from gradmeter.reading.scores import energy, entropy

SOFTMAX, ENTROPY, MAX_LOGIT, ENERGY = "maximum softmax", "entropy", "max logit", "energy"
CONFIDENCES = (SOFTMAX, ENTROPY, MAX_LOGIT, ENERGY)
"""Names of the scores of the logits."""
PREDICTED, UNIFORM = "predicted", "uniform"
# Statistics that are negative, or larger where the network is sure, for the predicted class.
_FALLING = ("min",)


def confidence_scores(logits: Tensor) -> dict[str, Tensor]:
    """Return the scores of the logits.

    Args:
        logits: [N, C, H, W]; with C = 1, that of the second of two classes.

    Returns:
        Float64 [N, H, W] by the names in `CONFIDENCES`: log(1 - p) of the maximum softmax probability p (Hendrycks and
        Gimpel 2016), which does not round where p rounds to 1; the entropy; the negative maximum logit (Hendrycks et
        al. 2022); the free energy (Liu et al. 2020).

    Raises:
        InputError: if logits are not finite.
    """
    values = logits.detach().double()
    if values.shape[1] == 1:
        values = torch.cat([torch.zeros_like(values), values], dim=1)
    samples, classes, height, width = values.shape
    highest, top = values.max(dim=1, keepdim=True)
    others = values.scatter(1, top, -torch.inf).logsumexp(dim=1)
    flat = values.permute(0, 2, 3, 1).reshape(-1, classes)
    of_flat = {ENTROPY: entropy(flat), ENERGY: energy(flat)}
    return {
        SOFTMAX: others - values.logsumexp(dim=1),
        MAX_LOGIT: -highest[:, 0],
        **{name: torch.from_numpy(score).reshape(samples, height, width) for name, score in of_flat.items()},
    }


def gradient_scores(readings: PixelReadings) -> dict[str, Tensor]:
    """Return every statistic of every layer and pseudo-label as a score.

    For the predicted class a large gradient means little trust. For the uniform distribution the opposite holds: there,
    a sure prediction is what the network would have to unlearn.

    Returns:
        Float64 [N, H, W] by `score_name`; 0 where a statistic is not defined.
    """
    scores = {}
    for label in readings.pseudo_labels:
        part = readings.for_pseudo_label(label)
        for layer in part.layers:
            for statistic in part.metrics:
                sign = -1 if (label == UNIFORM) != (statistic in _FALLING) else 1
                values = torch.nan_to_num(part[layer, statistic].double())
                scores[score_name(statistic, label, layer)] = sign * values
    return scores


def score_name(statistic: str, label: str, layer: str) -> str:
    """Return the name of a statistic's score."""
    return f"{statistic}, {label}, {layer}"
