"""PixelReadings: the results of a pixel meter, by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from gradmeter.errors import InputError
from gradmeter.reading.activations import select
from gradmeter.reading.columns import plain_numbers
from gradmeter.reading.parts import part_of
from gradmeter.reading.statistics import METRICS, STATISTICS, Moments, PowerSums


@dataclass(frozen=True, eq=False)
class PixelReadings:
    """Gradient statistics of every pixel of N images, per layer.

    Attributes:
        logits: [N, C, H, W] the network's output; C = 1 for a binary network, whose second class has the logit 0.
        log_scale: [N, H, W] float64; log(1 - p) of the predicted class for the pseudo-label "predicted", else the
            logarithm of the start vector's size.
        layers: names of the measured layers.
        values: [N, layers, metrics, H, W] float64; statistics of the gradient of the pixel's own loss, including its
            scale.
        pseudo_label: name of the pseudo-label of `values`.
        further: readings of the same pixels for the meter's other pseudo-labels, by name; see `for_pseudo_label`.
        metrics: names of the statistics, in the order of the third axis of `values`.
        biases: whether the gradients include those of biases.
    """

    logits: Tensor
    log_scale: Tensor
    layers: tuple[str, ...]
    values: Tensor
    pseudo_label: str = "predicted"
    further: Mapping[str, PixelReadings] = field(default_factory=dict)
    metrics: tuple[str, ...] = METRICS
    biases: bool = True

    @property
    def pseudo_labels(self) -> tuple[str, ...]:
        """Names of the pseudo-labels; `values` belong to the first."""
        return (self.pseudo_label, *self.further)

    @property
    def predictions(self) -> Tensor:
        """Predicted classes, [N, H, W] int64; 0 or 1 for a binary network."""
        # Four times as fast as argmax, for the order of logits [N, C, H, W].
        return self.logits.max(dim=1).indices if self.logits.shape[1] > 1 else (self.logits[:, 0] > 0).long()

    def __len__(self) -> int:
        """The number of images."""
        return len(self.logits)

    def __getitem__(self, key: tuple[str, str]) -> Tensor:
        """One statistic of one layer, [N, H, W] float64: readings["classifier.4", "l2"].

        Raises:
            InputError: if there is no such layer or statistic.
        """
        return select(self.values, self.layers, self.metrics, key)

    def __repr__(self) -> str:
        """The shape and the names of the layers, without the values."""
        samples, classes, height, width = self.logits.shape
        return f"PixelReadings({samples} images, {height} x {width}, {classes} classes, {', '.join(self.layers)})"

    def for_pseudo_label(self, pseudo_label: str | int) -> PixelReadings:
        """The readings for one of the pseudo-labels.

        Raises:
            InputError: if the pseudo-label was not measured.
        """
        return part_of(self, str(pseudo_label))

    @classmethod
    def concatenate(cls, parts: Sequence[PixelReadings]) -> PixelReadings:
        """Concatenate readings of images of one size, of the same network and meter settings, in order.

        Raises:
            InputError: if there are none, or if their sizes, layers, pseudo-labels, statistics or biases differ.
        """
        kinds = {(part.logits.shape[1:], part.layers, part.pseudo_labels, part.metrics, part.biases) for part in parts}
        if len(kinds) != 1:
            raise InputError(
                f"cannot concatenate {len(parts)} readings of {len(kinds)} kinds; expected at least one, all of one "
                "meter and image size"
            )
        first = parts[0]
        if len(parts) == 1:
            return first
        logits = torch.cat([part.logits for part in parts])

        def joined(name: str) -> PixelReadings:
            pieces = [part.for_pseudo_label(name) for part in parts]
            log_scale = torch.cat([piece.log_scale for piece in pieces])
            values = torch.cat([piece.values for piece in pieces])
            return cls(logits, log_scale, first.layers, values, name, metrics=first.metrics, biases=first.biases)

        return replace(joined(first.pseudo_label), further={name: joined(name) for name in first.further})

    def to_numpy(self) -> dict[str, np.ndarray]:
        """Arrays by name, as for `numpy.savez`.

        "prediction" and "log_scale" [N, H, W], "logits" [N, C, H, W], "layer/metric" [N, H, W]; "uniform:log_scale" and
        "uniform:layer/metric" for a further pseudo-label.
        """
        arrays = {"prediction": self.predictions.cpu().numpy(), "logits": plain_numbers(self.logits)}
        for prefix, part in (("", self), *((f"{name}:", further) for name, further in self.further.items())):
            arrays[f"{prefix}log_scale"] = part.log_scale.cpu().numpy()
            for layer in part.layers:
                for metric in part.metrics:
                    arrays[f"{prefix}{layer}/{metric}"] = part[layer, metric].cpu().numpy()
        return arrays


def write_statistics(group: PowerSums, factor: Tensor, metrics: Sequence[str], out: Tensor) -> None:
    """Write the statistics of P pixels to `out`, [metrics, P], multiplied by the factor [P] if they scale."""
    moments = Moments(group.numbers, group.count)
    for metric, values in zip(metrics, out, strict=True):
        statistic = STATISTICS[metric]
        if statistic.scales:
            torch.mul(statistic.of(moments), factor, out=values)
        else:
            values.copy_(statistic.of(moments))
