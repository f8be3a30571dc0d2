"""From the logits to the gradient of every operation that uses a parameter, with the samples told apart."""

from gradmeter.capture.backward import Unplanned, propagate
from gradmeter.capture.calls import Call, recorded_calls
from gradmeter.capture.graph import Graph, metadata, output_shapes
from gradmeter.capture.operation import Operation
from gradmeter.capture.plan import TRANSPOSED, Plan, Planned, Smaller, make_plan
from gradmeter.capture.sample_axis import SampleAxis, Scattered, growing_dimension

__all__ = [
    "TRANSPOSED",
    "Call",
    "Graph",
    "Operation",
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
]
