"""Logarithmic, scale-free features: the metrics of confident and of doubtful predictions span many decades."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from gradmeter.errors import InputError
from gradmeter.reading.readings import Readings
from gradmeter.reading.scores import energy, entropy

Values = NDArray[np.float64]

# The start vector has size 1: what is this much smaller, a layer without any gradient too, reads as this.
_FLOOR = np.log(1e-12)


def _size(values: Values, log_scale: Values) -> Values:
    """Of a gradient whose start vector is scaled to size 1, so that it does not tell once more what 1 - p tells."""
    # A start vector of size 0, as "uniform" has for equal logits, leaves no gradient.
    scale = np.where(np.isneginf(log_scale), 0.0, log_scale)
    with np.errstate(divide="ignore"):
        size: Values = np.logaddexp(np.log(values.clip(0)) - scale, _FLOOR)
    return size


def _kurtosis(values: Values) -> Values:
    # At least 1, as for two entries of opposite sign.
    found: Values = np.log((values + 3).clip(1))
    return found


# The mean says next to nothing: entries cancel.
_METRICS: dict[str, Callable[[Values, Values], Values]] = {
    "l1": _size,
    "l2": _size,
    "min": lambda values, log_scale: _size(-values, log_scale),
    "max": _size,
    "std": _size,
    "skewness": lambda values, log_scale: np.arcsinh(values),
    "kurtosis": lambda values, log_scale: _kurtosis(values),
}
LOG_SCALE = "log_scale"
_OUTPUTS: dict[str, Callable[[Readings], Values]] = {
    "entropy": lambda readings: np.logaddexp(np.log(entropy(readings.logits).clip(np.finfo(np.float64).tiny)), -700),
    LOG_SCALE: lambda readings: readings.log_scale.double().cpu().numpy(),
    "energy": lambda readings: energy(readings.logits),
}
_ACTIVATIONS: dict[str, Callable[[Values], Values]] = {
    **dict.fromkeys(("l1", "l2", "std"), lambda values: _size(values, np.zeros(1))),
    **dict.fromkeys(("min", "max", "mean", "skewness"), np.arcsinh),
    "kurtosis": _kurtosis,
    "positive": lambda values: values,
}
ACTIVATION, EMBEDDING, LOGIT, SCORE = "activation:", "embedding:", "logit:", "score:"
"""What the names of features that are no gradient's begin with."""


@dataclass(frozen=True)
class LogFeatures:
    """Which features a judge sees, by name, in a fixed order.

    "entropy" is the logarithm of the normalised entropy, "log_scale" that of 1 - p, "energy" the free energy.
    "layer/metric" is of the gradient for the first pseudo-label, "uniform:layer/metric" for another one,
    "activation:layer/metric" of a layer's output. Sizes are logarithms, those of gradients after division by the scale
    of the start vector; skewness is under an inverse hyperbolic sine, as are extremes and means of outputs, and
    kurtosis is the logarithm of Pearson's. "logit:3", "embedding:3" and "score:odin" are as they are.
    """

    names: tuple[str, ...]

    @classmethod
    def chosen(cls, readings: Readings) -> LogFeatures:
        """All features of the logits' distribution and of the first pseudo-label's gradients, the whole's aside.

        Args:
            readings: those that the judge will be trained on; what is constant in them is left out.
        """
        return cls._varying([*_OUTPUTS, *_gradients(readings)], readings)

    @classmethod
    def everything(cls, readings: Readings) -> LogFeatures:
        """All features that there are, what is constant in these readings left out."""
        names = [*_OUTPUTS, *(f"{LOGIT}{number}" for number in range(readings.logits.shape[1])), *_gradients(readings)]
        for label in readings.further:
            names += [f"{label}:{name}" for name in _gradients(readings)]
        if readings.activations is not None:
            names += [
                f"{ACTIVATION}{layer}/{metric}" for layer in readings.activations.layers for metric in _ACTIVATIONS
            ]
        if readings.embedding is not None:
            names += [f"{EMBEDDING}{number}" for number in range(readings.embedding.shape[1])]
        names += [f"{SCORE}{name}" for name in readings.scores]
        return cls._varying(names, readings)

    @classmethod
    def _varying(cls, names: list[str], readings: Readings) -> LogFeatures:
        constant = np.ptp(cls(tuple(names)).matrix(readings), axis=0) == 0
        # All logits, so that the largest of them tells the prediction; and the softmax, which every judge begins with.
        return cls(
            tuple(
                name
                for name, same in zip(names, constant, strict=True)
                if not same or name.startswith(LOGIT) or name == LOG_SCALE
            )
        )

    def matrix(self, readings: Readings) -> Values:
        """[N, features] float64.

        Raises:
            InputError: for readings that are not finite, or lack what a feature is made of.
        """
        matrix = np.empty((len(readings), len(self.names)))
        for index, name in enumerate(self.names):
            try:
                column = _column(readings, name)
            except (KeyError, IndexError) as error:
                raise _missing(repr(name)) from error
            matrix[:, index] = column
            _require_finite(matrix[:, index], name)
        return matrix


def source_of(name: str, layers: Sequence[str]) -> str:
    """What a feature is read from: one of the network's layers, a layer's output, the logits or the embedding."""
    if name.startswith((LOGIT, EMBEDDING)):
        return {LOGIT: "logits", EMBEDDING: "embedding"}[name.partition(":")[0] + ":"]
    path, slash, _ = name.rpartition("/")
    if not slash:
        return name
    if name.startswith(ACTIVATION):
        return f"{path.removeprefix(ACTIVATION)} (output)"
    # A layer's name may have a colon, too.
    return path if path in layers else path.partition(":")[2]


def _gradients(readings: Readings) -> list[str]:
    return [f"{layer}/{metric}" for layer in readings.layers[:-1] for metric in _METRICS]


def _column(readings: Readings, name: str) -> Values:
    if name in _OUTPUTS:
        return _OUTPUTS[name](readings)
    if name.startswith(LOGIT):
        return _numbers(readings.logits[:, int(name.removeprefix(LOGIT))], name)
    if name.startswith(EMBEDDING):
        _require(readings.embedding is not None, "embedding")
        assert readings.embedding is not None
        return _numbers(readings.embedding[:, int(name.removeprefix(EMBEDDING))], name)
    if name.startswith(SCORE):
        score = name.removeprefix(SCORE)
        _require(score in readings.scores, f"score {score!r}")
        return _numbers(readings.scores[score], name)
    path, _, metric = name.rpartition("/")
    if name.startswith(ACTIVATION):
        _require(readings.activations is not None, "activations")
        assert readings.activations is not None
        return _ACTIVATIONS[metric](_numbers(readings.activations[path.removeprefix(ACTIVATION), metric], name))
    label, colon, layer = path.partition(":")
    if not colon or path in readings.layers:
        own, layer = readings, path
    else:
        _require(label in readings.further, f"pseudo-label {label!r}")
        own = readings.further[label]
    log_scale = own.log_scale.double().cpu().numpy()
    _require_finite(log_scale[~np.isneginf(log_scale)], name)
    return _METRICS[metric](_numbers(own[layer, metric], name), log_scale)


def _require(present: bool, what: str) -> None:
    if not present:
        raise _missing(what)


def _missing(what: str) -> InputError:
    return InputError(f"the readings have no {what}, which the judge learned from; read with the TrustModel's meter")


def _numbers(tensor: Tensor, name: str) -> Values:
    """What is read, before a logarithm or a limit makes it look finite."""
    found: Values = tensor.detach().double().cpu().numpy()
    _require_finite(found, name)
    return found


def _require_finite(values: Values, name: str) -> None:
    if not np.isfinite(values).all():
        raise InputError(f"{name!r} is not finite for some samples; expected finite readings")
