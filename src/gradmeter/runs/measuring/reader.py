"""From a batch of samples to rows of a data set: what a worker holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from torch import Tensor

from gradmeter.reading.finite import read_finite
from gradmeter.reading.inputs import Inputs
from gradmeter.reading.meter import GradientMeter
from gradmeter.reading.network import NotFinite
from gradmeter.reading.readings import Readings
from gradmeter.runs.measuring.loading import SYSTEMATIC, Batch, processes_may_end
from gradmeter.sources.models import Classifier
from gradmeter.sources.models.answering import explained
from gradmeter.sources.models.classifier import wrong_names

_NO_LOGITS, _NO_GRADIENT = "the network's logits for it are not finite", "the network's gradient for it is not finite"


@dataclass(frozen=True)
class Reader:
    """A network with its meter, and what its readings become; it may be sent to another process.

    Attributes:
        meter: of the classifier's network.
        classifier: the network and its preprocessing.
        tabulate: from a batch and its readings to rows, one for each sample that could be read.
    """

    meter: GradientMeter
    classifier: Classifier
    tabulate: Callable[[Batch, Readings], pa.Table]

    def move(self, device: str) -> None:
        """Bring the network to a device.

        Raises:
            InputError: if there is no such device.
        """
        self.classifier.move(device)

    def readings(self, batch: Batch, device: str) -> tuple[Batch, Readings | None]:
        """What the meter reads of a batch; None where no sample of it could be read.

        Returns:
            The batch, those samples set aside for which the network's logits or its gradient are not finite; and its
            readings.

        Raises:
            InputError: if there is not one name for each class, or the network fails.
            NotFinite: if that is so for a whole batch.
        """
        if not batch.ids:
            return batch, None
        samples = f" of {batch.ids[0]} to {batch.ids[-1]}"
        # That a process ended is told wherever this one is, and is no fault of the network's.
        with explained(self.classifier, batch.inputs, samples), processes_may_end():
            finite = read_finite(self.meter, Inputs.of(_moved(batch.inputs, device)))
        count = len(batch.ids)
        reasons = dict.fromkeys(finite.no_logits, _NO_LOGITS) | dict.fromkeys(finite.no_gradient, _NO_GRADIENT)
        if len(reasons) == count >= SYSTEMATIC:  # it is not for one of them
            raise NotFinite.of(sorted(reasons), count, has_logits=not finite.no_logits)
        if reasons:
            batch = batch.without(reasons)
        if (readings := finite.readings) is None:
            return batch, None
        if len(self.classifier.classes or readings.logits[0]) != readings.logits.shape[1]:
            raise wrong_names(self.classifier, readings.logits.shape[1])
        return batch, readings

    def rows(self, batch: Batch, device: str) -> tuple[Batch, pa.Table | None]:
        """The same with the rows of the batch in place of its readings."""
        batch, readings = self.readings(batch, device)
        return batch, None if readings is None else self.tabulate(batch, readings)


def _moved(inputs: Any, device: str) -> Any:
    if isinstance(inputs, Tensor):
        return inputs.to(device)
    if isinstance(inputs, Mapping):
        return {name: _moved(value, device) for name, value in inputs.items()}
    return inputs
