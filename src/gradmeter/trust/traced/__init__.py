"""The judge as one torch.nn.Module whose operations torch.export can trace; `gradmeter export` writes it to ONNX."""

from gradmeter.trust.traced.judged import JudgedNetwork, Verdicts

__all__ = ["JudgedNetwork", "Verdicts"]
