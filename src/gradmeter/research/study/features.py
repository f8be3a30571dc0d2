"""From readings to the features of a meta classifier: entropy and the metrics of every layer (A7)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gradmeter.errors import InputError
from gradmeter.reading.readings import Readings
from gradmeter.reading.scores import entropy
from gradmeter.research.study.names import PAPER_METRICS

# A mean whose entries cancel to this share of the mean absolute entry, in every sample, is rounding noise.
_CANCELLATION = 1e-5


@dataclass(frozen=True)
class Features:
    """Which features a meta classifier sees: "entropy" and names "layer/metric", in a fixed order."""

    names: tuple[str, ...]

    @classmethod
    def chosen(
        cls, readings: Readings, layers: Sequence[str] | None = None, *, whole_gradient: bool = False
    ) -> Features:
        """The features of the given layers, less those that hold nothing but rounding noise in these readings.

        The mean of a softmax layer's gradient is zero in exact arithmetic, because p - e_y sums to zero; z-scoring
        its rounding noise would turn it into a feature of full size (A18).

        Args:
            readings: those that the classifier will be trained on.
            layers: names of layers; by default all of them.
            whole_gradient: also the metrics of the whole gradient, "all".

        Raises:
            InputError: for a layer that the readings do not have.
        """
        wanted = list(layers if layers is not None else readings.layers[:-1])
        if whole_gradient:
            wanted.append("all")
        names = [
            f"{layer}/{metric}"
            for layer in wanted
            for metric in PAPER_METRICS
            if not _is_noise(readings, layer, metric)
        ]
        return cls(("entropy", *names))

    def matrix(self, readings: Readings) -> np.ndarray:
        """[N, features] float64."""
        columns = [
            entropy(readings.logits.double().cpu().numpy())
            if name == "entropy"
            else readings[_split(name)].cpu().numpy()
            for name in self.names
        ]
        matrix = np.stack(columns, axis=1)
        if not np.isfinite(matrix).all():
            bad = self.names[int(np.flatnonzero(~np.isfinite(matrix).all(axis=0))[0])]
            raise InputError(f"feature {bad!r} is not finite for some samples; expected finite readings")
        return matrix


def _split(name: str) -> tuple[str, str]:
    layer, _, metric = name.rpartition("/")
    return layer, metric


def _is_noise(readings: Readings, layer: str, metric: str) -> bool:
    """Whether a metric is constant, or a mean that is zero but for rounding."""
    values = readings[layer, metric].cpu().numpy()
    if np.ptp(values) == 0:
        return True
    if metric != "mean":
        return False
    # mean = sum / n and l1 = n * mean absolute entry; l2^2 = n (mean^2 + std^2) gives n without asking the network.
    square = readings[layer, "mean"] ** 2 + readings[layer, "std"] ** 2
    count = (readings[layer, "l2"] ** 2 / square.clamp_min(np.finfo(np.float64).tiny)).cpu().numpy()
    size = readings[layer, "l1"].cpu().numpy()
    return bool(np.all(np.abs(values) * count <= _CANCELLATION * size))
