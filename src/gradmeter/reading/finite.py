"""Readings of those samples of a batch for which there are any: the gradient of a root at zero, say, is no number."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gradmeter.reading.inputs import Inputs
from gradmeter.reading.meter import GradientMeter
from gradmeter.reading.network import NotFinite
from gradmeter.reading.readings import Readings


@dataclass(frozen=True, eq=False)
class Finite:
    """What was read of a batch.

    Attributes:
        readings: of the samples all of whose numbers are finite; None where there is none.
        no_logits: rows of the batch for which the logits are not finite.
        no_gradient: rows for which they are, and something else that was read is not.
    """

    readings: Readings | None
    no_logits: tuple[int, ...] = ()
    no_gradient: tuple[int, ...] = ()


def read_finite(meter: GradientMeter, inputs: Inputs) -> Finite:
    """Measure a batch, and leave out samples for which there are no finite readings.

    Raises:
        Those of the meter, but for `NotFinite` that names samples.
    """
    rows, no_logits, no_gradient = [*range(inputs.samples)], list[int](), list[int]()
    readings = None
    while rows and readings is None:
        try:
            readings = meter(inputs if len(rows) == inputs.samples else inputs.rows(rows))
        except NotFinite as error:
            if not error.rows:
                raise
            left_out = {rows[row] for row in error.rows}
            (no_gradient if error.has_logits else no_logits).extend(left_out)
            rows = [row for row in rows if row not in left_out]
    if readings is not None and not (finite := readings.finite.cpu().numpy()).all():
        no_gradient += np.array(rows)[~finite].tolist()
        readings = readings.rows(finite) if finite.any() else None
    return Finite(readings, tuple(sorted(no_logits)), tuple(sorted(no_gradient)))
