"""Logarithmic, scale-free features: the metrics of confident and of doubtful predictions span many decades."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gradmeter.errors import InputError
from gradmeter.readings import Readings
from gradmeter.scores import energy, entropy

Values = NDArray[np.float64]

# The start vector has size 1: what is this much smaller, a layer without any gradient too, reads as this.
_FLOOR = np.log(1e-12)


def _size(values: Values, log_scale: Values) -> Values:
    """Of a gradient whose start vector is scaled to size 1, so that it does not tell once more what 1 - p tells."""
    with np.errstate(divide="ignore"):
        size: Values = np.logaddexp(np.log(values.clip(0)) - log_scale, _FLOOR)
    return size


# The mean says next to nothing: entries cancel.
_METRICS: dict[str, Callable[[Values, Values], Values]] = {
    "l1": _size,
    "l2": _size,
    "min": lambda values, log_scale: _size(-values, log_scale),
    "max": _size,
    "std": _size,
    "skewness": lambda values, log_scale: np.arcsinh(values),
    # At least 1, as for two entries of opposite sign.
    "kurtosis": lambda values, log_scale: np.log((values + 3).clip(1)),
}
_OUTPUTS: dict[str, Callable[[Readings], Values]] = {
    "entropy": lambda readings: np.logaddexp(np.log(entropy(readings.logits).clip(np.finfo(np.float64).tiny)), -700),
    "log_scale": lambda readings: readings.log_scale.double().cpu().numpy(),
    "energy": lambda readings: energy(readings.logits),
}


@dataclass(frozen=True)
class LogFeatures:
    """Which features a judge sees: names of the network's outputs and "layer/metric", in a fixed order.

    "entropy" is the logarithm of the normalised entropy, "log_scale" that of 1 - p, "energy" the free energy. Sizes are
    logarithms, after the gradient was divided by the scale of its start vector; skewness is under an inverse hyperbolic
    sine, and kurtosis is the logarithm of Pearson's.
    """

    names: tuple[str, ...]

    @classmethod
    def chosen(cls, readings: Readings) -> LogFeatures:
        """All features that are not constant in these readings, of every layer but the whole.

        Args:
            readings: those that the judge will be trained on.
        """
        names = [*_OUTPUTS, *(f"{layer}/{metric}" for layer in readings.layers[:-1] for metric in _METRICS)]
        constant = np.ptp(cls(tuple(names)).matrix(readings), axis=0) == 0
        return cls(tuple(name for name, same in zip(names, constant, strict=True) if not same))

    def matrix(self, readings: Readings) -> Values:
        """[N, features] float64.

        Raises:
            InputError: for readings that are not finite.
        """
        log_scale = readings.log_scale.double().cpu().numpy()
        matrix = np.empty((len(readings), len(self.names)))
        for index, name in enumerate(self.names):
            if name in _OUTPUTS:
                matrix[:, index] = _OUTPUTS[name](readings)
                continue
            layer, _, metric = name.rpartition("/")
            values = readings[layer, metric].cpu().numpy()
            if not np.isfinite(values).all():
                raise InputError(f"{name!r} is not finite for some samples; expected finite readings")
            matrix[:, index] = _METRICS[metric](values, log_scale)
        return matrix
