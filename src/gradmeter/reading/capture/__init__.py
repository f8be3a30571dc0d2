"""The backward pass from the logits to every operation that uses a parameter, and the sample axis of each."""

from gradmeter.reading.capture.backward import Unplanned, propagate, replay
from gradmeter.reading.capture.calls import Call, recorded_calls
from gradmeter.reading.capture.graph import Graph, metadata, output_shapes
from gradmeter.reading.capture.operation import Operation
from gradmeter.reading.capture.ownership import SAMPLES_PER_PASS
from gradmeter.reading.capture.plan import TRANSPOSED, Plan, Planned, Smaller, make_plan
from gradmeter.reading.capture.sample_axis import OwnedRows, SampleAxis, Scattered, growing_dimension

__all__ = [
    "SAMPLES_PER_PASS",
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
    "make_plan",
    "metadata",
    "output_shapes",
    "propagate",
    "recorded_calls",
    "replay",
]
