"""The backward pass from the logits to every operation that uses a parameter, and the sample axis of each."""

from gradmeter.reading.capture.backward import Unplanned, hand_over_arrived, propagate
from gradmeter.reading.capture.calls import Call, recorded_calls
from gradmeter.reading.capture.graph import Graph, metadata, output_shapes
from gradmeter.reading.capture.operation import Operation
from gradmeter.reading.capture.ownership import TOLD_APART
from gradmeter.reading.capture.plan import TRANSPOSED, Plan, Planned, Smaller, make_plan
from gradmeter.reading.capture.sample_axis import OwnedRows, SampleAxis, Scattered, growing_dimension

__all__ = [
    "TOLD_APART",
    "TRANSPOSED",
    "Call",
    "Graph",
    "Operation",
    "OwnedRows",
    "Plan",
    "Planned",
    "SampleAxis",
    "Scattered",
    "Smaller",
    "Unplanned",
    "growing_dimension",
    "hand_over_arrived",
    "make_plan",
    "metadata",
    "output_shapes",
    "propagate",
    "recorded_calls",
]
