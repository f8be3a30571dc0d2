"""What a `GradientMeter` reads, in operations that torch.export can trace."""

from gradmeter.reading.traced.backward import GradientReadings, LabelGradients, TracedGradients
from gradmeter.reading.traced.forward import ForwardReadings, TracedForward
from gradmeter.reading.traced.program import FIXED_BATCH

__all__ = ["FIXED_BATCH", "ForwardReadings", "GradientReadings", "LabelGradients", "TracedForward", "TracedGradients"]
