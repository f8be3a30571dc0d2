"""What a `GradientMeter` reads, in operations that torch.export can trace."""

from gradmeter.reading.traced.backward import GradientReadings, LabelGradients, TracedGradients
from gradmeter.reading.traced.forward import ForwardReadings, TracedForward

__all__ = ["ForwardReadings", "GradientReadings", "LabelGradients", "TracedForward", "TracedGradients"]
