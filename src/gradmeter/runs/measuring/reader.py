"""From a batch of samples to rows of a data set; each worker holds one reader."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from torch import Tensor

from gradmeter.reading.finite import Finite, read_finite
from gradmeter.reading.inputs import Inputs
from gradmeter.reading.meter import GradientMeter
from gradmeter.reading.network import NotFinite
from gradmeter.reading.readings import Readings
from gradmeter.runs.measuring.loading import SYSTEMATIC, Batch, explain_dead_workers
from gradmeter.sources.models import Classifier
from gradmeter.sources.models.answering import ClassifierFailed, explained, failures_alone
from gradmeter.sources.models.classifier import wrong_names

_NO_LOGITS, _NO_GRADIENT = "the network's logits for it are not finite", "the network's gradient for it is not finite"


@dataclass(frozen=True)
class Reader:
    """A network, its meter, and a function that turns readings into rows; it can be pickled.

    Attributes:
        meter: the meter of the classifier's network.
        classifier: the network and its preprocessing.
        tabulate: returns the rows of a batch and its readings, one row for each sample that could be read.
        classes: returns the classes [N] at which the gradients of a batch are read; None for the meter's pseudo-label.
    """

    meter: GradientMeter
    classifier: Classifier
    tabulate: Callable[[Batch, Readings], pa.Table]
    classes: Callable[[Batch], Tensor] | None = None

    def move(self, device: str) -> None:
        """Move the network to a device.

        Raises:
            InputError: if there is no such device.
        """
        self.classifier.move(device)

    def readings(self, batch: Batch, device: str) -> tuple[Batch, Readings | None]:
        """Measure a batch.

        Returns:
            The batch, without samples on which the network fails or whose logits or gradient are not finite, and its
            readings; None for the readings if no sample is left.

        Raises:
            InputError: if the number of class names is not the number of logits, or the network fails on the samples
                together but not alone, or on all of at least `SYSTEMATIC` samples.
            NotFinite: if all of at least `SYSTEMATIC` samples have logits or gradients that are not finite.
        """
        if not batch.ids:
            return batch, None
        count = len(batch.ids)
        try:
            finite = self._finite(batch, device)
        except ClassifierFailed:
            reasons = failures_alone(self.classifier, Inputs.of(_moved(batch.inputs, device)))
            if not reasons or len(reasons) == count >= SYSTEMATIC:  # no single sample is the cause
                raise
            return self.readings(batch.without(reasons), device)
        reasons = dict.fromkeys(finite.no_logits, _NO_LOGITS) | dict.fromkeys(finite.no_gradient, _NO_GRADIENT)
        if len(reasons) == count >= SYSTEMATIC:  # no single sample is the cause
            raise NotFinite.of(sorted(reasons), count, has_logits=not finite.no_logits)
        if reasons:
            batch = batch.without(reasons)
        if (readings := finite.readings) is None:
            return batch, None
        if len(self.classifier.classes or readings.logits[0]) != readings.logits.shape[1]:
            raise wrong_names(self.classifier, readings.logits.shape[1])
        return batch, readings

    def _finite(self, batch: Batch, device: str) -> Finite:
        samples = f" for the samples {batch.ids[0]} to {batch.ids[-1]}"
        # The inner block comes first: a dead loading process must not be reported as an error of the network.
        with explained(self.classifier, batch.inputs, samples), explain_dead_workers():
            labels = None if self.classes is None else self.classes(batch).to(device)
            return read_finite(self.meter, Inputs.of(_moved(batch.inputs, device), labels))

    def rows(self, batch: Batch, device: str) -> tuple[Batch, pa.Table | None]:
        """Measure a batch as `readings` does, and return the rows of its readings instead of them."""
        batch, readings = self.readings(batch, device)
        return batch, None if readings is None else self.tabulate(batch, readings)


def _moved(inputs: Any, device: str) -> Any:
    if isinstance(inputs, Tensor):
        return inputs.to(device)
    if isinstance(inputs, Mapping):
        return {name: _moved(value, device) for name, value in inputs.items()}
    return inputs
