"""The features of `gradmeter.trust.log_features`, computed from tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from gradmeter.reading.probes.mirror import MIRROR, MIRROR_LOGIT
from gradmeter.reading.statistics import ACTIVATION_METRICS, METRICS
from gradmeter.reading.traced import LabelGradients
from gradmeter.trust.feature_sources import LEAST_ENERGY
from gradmeter.trust.features import ACTIVATIONS, EMBEDDING, GRADIENTS, LOGITS, OUTPUTS, SCORES, Feature, FeatureAxes
from gradmeter.trust.traced.arithmetic import asinh, exact, log_above
from gradmeter.trust.traced.outputs import Outputs, wrong_log_odds

# The floor of sizes in `gradmeter.trust.feature_sources`, before the logarithm.
_LEAST_SIZE = 1e-12


def _size(values: Tensor) -> Tensor:
    return log_above(values.clamp(min=0), _LEAST_SIZE)


def _kurtosis(values: Tensor) -> Tensor:
    return (values + 3).clamp(min=1).log()


_OF_ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    **dict.fromkeys(("l1", "l2", "std"), _size),
    **dict.fromkeys(("min", "max", "mean", "skewness"), asinh),
    "kurtosis": _kurtosis,
    "positive": lambda values: values,
}
# Scale-free statistics of gradients, and scores of the logits, as in `gradmeter.trust.feature_sources`.
_SHAPES: Mapping[str, Callable[[Tensor], Tensor]] = {"skewness": asinh, "kurtosis": _kurtosis}
_OF_OUTPUTS: Mapping[str, Callable[[Outputs], Tensor]] = {
    "entropy": lambda outputs: outputs.log_entropy,
    "log_scale": lambda outputs: outputs.log_scale,
    "energy": lambda outputs: torch.where(outputs.energy.abs() < exact(LEAST_ENERGY), 0.0, outputs.energy),
}


@dataclass(frozen=True)
class TracedReadings:
    """What features are computed from, for N samples.

    Attributes:
        outputs: of the logits.
        activations: [N, layers, 9] float64, of `layers`.
        layers: names of the layers.
        embedding: [N, D] float64.
        views: [N, C] logits, averaged with those of the mirror image where it was predicted.
        gradients: of `gradient_layers`, by pseudo-label; those of the meter's first pseudo-label under "".
        gradient_layers: names of the layers.
    """

    outputs: Outputs
    activations: Tensor
    layers: Sequence[str]
    embedding: Tensor
    views: Tensor
    gradients: Mapping[str, LabelGradients] = field(default_factory=dict)
    gradient_layers: Sequence[str] = ()


class TracedFeatures(nn.Module):
    """Turns readings into the values of a `FeatureBlock`.

    Args:
        axes: the features.
    """

    order: Tensor

    def __init__(self, axes: FeatureAxes) -> None:
        super().__init__()
        self._axes = axes
        self._parts = axes.groups
        columns = [column for group in self._parts.values() for column in group.tolist()]
        # The parts are computed one after the other, and then put into the order of the features.
        self.register_buffer("order", torch.tensor(columns).argsort())

    @property
    def layers(self) -> list[str]:
        """The layers whose outputs are read."""
        return list(dict.fromkeys(feature.layer for feature in self._axes.features if feature.source == ACTIVATIONS))

    @property
    def gradient_layers(self) -> list[str]:
        """The layers whose gradients are read."""
        return list(dict.fromkeys(feature.layer for feature in self._axes.features if feature.source == GRADIENTS))

    @property
    def pseudo_labels(self) -> list[str]:
        """The pseudo-labels whose gradients are read; "" is the meter's first."""
        return [label for source, label in self._parts if source == GRADIENTS]

    @property
    def embedding(self) -> bool:
        """Whether the embedding is read."""
        return bool(len(self._axes.of(EMBEDDING)))

    def forward(self, readings: TracedReadings) -> Tensor:
        """Return the features, [N, features] float64."""
        parts = []
        for (source, _), columns in self._parts.items():
            features = [self._axes.features[column] for column in columns]
            parts.append(_READERS[source](readings, features))
        return torch.cat(parts, dim=1)[:, self.order]


def _outputs(readings: TracedReadings, features: Sequence[Feature]) -> Tensor:
    return torch.stack([_OF_OUTPUTS[feature.statistic](readings.outputs) for feature in features], dim=1)


def _logits(readings: TracedReadings, features: Sequence[Feature]) -> Tensor:
    return _entries(readings.outputs.logits, features)


def _embedding(readings: TracedReadings, features: Sequence[Feature]) -> Tensor:
    return _entries(readings.embedding, features)


def _scores(readings: TracedReadings, features: Sequence[Feature]) -> Tensor:
    mirrored = {
        MIRROR: wrong_log_odds(readings.views, readings.outputs.prediction),
        MIRROR_LOGIT: readings.views.amax(dim=1),
    }
    return torch.stack([mirrored[feature.statistic] for feature in features], dim=1)


def _activations(readings: TracedReadings, features: Sequence[Feature]) -> Tensor:
    transformed = [
        _OF_ACTIVATIONS[statistic](readings.activations[:, :, index])
        for index, statistic in enumerate(ACTIVATION_METRICS)
    ]
    rows = {layer: row for row, layer in enumerate(readings.layers)}
    places = [ACTIVATION_METRICS.index(feature.statistic) * len(rows) + rows[feature.layer] for feature in features]
    return torch.cat(transformed, dim=1)[:, torch.tensor(places)]


def _gradients(readings: TracedReadings, features: Sequence[Feature]) -> Tensor:
    gradients = readings.gradients[features[0].pseudo_label]
    # Sizes relative to that of the start vector; 0 where it is too small for float64, as in the readings of a meter.
    factor = gradients.log_scale.exp()[:, None]
    is_zero = factor == 0
    transformed = []
    for index, statistic in enumerate(METRICS):
        values = gradients.values[:, :, index]
        if statistic not in _SHAPES:
            values = -values if statistic == "min" else values
            values = _size(torch.where(is_zero, 0.0, values * factor / torch.where(is_zero, 1.0, factor)))
        else:
            values = _SHAPES[statistic](values)
        transformed.append(values)
    rows = {layer: row for row, layer in enumerate(readings.gradient_layers)}
    places = [METRICS.index(feature.statistic) * len(rows) + rows[feature.layer] for feature in features]
    return torch.cat(transformed, dim=1)[:, torch.tensor(places)]


def _entries(vectors: Tensor, features: Sequence[Feature]) -> Tensor:
    indices = [int(feature.statistic) for feature in features]
    return vectors if indices == list(range(vectors.shape[1])) else vectors[:, torch.tensor(indices)]


_READERS: dict[str, Callable[[TracedReadings, Sequence[Feature]], Tensor]] = {
    OUTPUTS: _outputs,
    LOGITS: _logits,
    EMBEDDING: _embedding,
    SCORES: _scores,
    ACTIVATIONS: _activations,
    GRADIENTS: _gradients,
}
