"""Measure a batch that may contain samples without finite readings, such as a root at zero in the network."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gradmeter.reading.inputs import Inputs
from gradmeter.reading.meter import GradientMeter
from gradmeter.reading.network import NotFinite
from gradmeter.reading.readings import Readings


@dataclass(frozen=True, eq=False)
class Finite:
    """Finite readings of a batch.

    Attributes:
        readings: readings of the samples whose values are all finite; None if there are none.
        no_logits: indices of the samples whose logits are not finite.
        no_gradient: indices of the samples with finite logits and other values that are not finite.
    """

    readings: Readings | None
    no_logits: tuple[int, ...] = ()
    no_gradient: tuple[int, ...] = ()


def read_finite(meter: GradientMeter, inputs: Inputs) -> Finite:
    """Measure a batch and leave out samples without finite readings.

    Raises:
        GradmeterError: as the meter does, except for a `NotFinite` that names samples.
    """
    rows, no_logits, no_gradient = [*range(inputs.samples)], list[int](), list[int]()
    readings = None
    while rows and readings is None:
        try:
            readings = meter(inputs if len(rows) == inputs.samples else inputs.rows(rows))
        except NotFinite as error:
            if not error.rows:
                raise
            excluded = {rows[row] for row in error.rows}
            (no_gradient if error.has_logits else no_logits).extend(excluded)
            rows = [row for row in rows if row not in excluded]
    if readings is not None and not (finite := readings.finite.cpu().numpy()).all():
        no_gradient += np.array(rows)[~finite].tolist()
        readings = readings.rows(finite) if finite.any() else None
    return Finite(readings, tuple(sorted(no_logits)), tuple(sorted(no_gradient)))
