"""Trust: a network that returns P(the prediction is correct) with its logits."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor, nn

from gradmeter.errors import GradmeterError, InputError, warn
from gradmeter.reading.inputs import Inputs
from gradmeter.reading.untraced import untraced
from gradmeter.trust.fitted_weights import CHANGED
from gradmeter.trust.model import TrustModel


class TrustOutput(NamedTuple):
    """The output for N samples.

    Attributes:
        logits: [N, C] the network's output.
        p_correct: [N] float64, P(the prediction is correct), on the logits' device.
    """

    logits: Tensor
    p_correct: Tensor


class Trust(nn.Module):
    """A trained network that also returns P(correct), from one forward and one backward pass.

    The network is the submodule "network": `.to()`, `parameters()`, `train()` and `state_dict()` act on it. Save the
    TrustModel with `TrustModel.save`. The outputs are detached from the autograd graph, with or without
    `torch.no_grad` or `torch.inference_mode`.

    Args:
        trust: a fitted TrustModel; the weights of its network must not change afterwards.

    Attributes:
        network: the network of `trust`.
        trust: the given TrustModel.

    Raises:
        GradmeterError: if `trust` is not fitted.

    Example:
        >>> model = Trust(TrustModel.load("trust/", model))
        >>> logits, p_correct = model(images)
    """

    def __init__(self, trust: TrustModel) -> None:
        super().__init__()
        if not isinstance(trust, TrustModel):
            raise InputError(f"trust is a {type(trust).__name__}; expected a TrustModel")
        if trust.judge is None:
            raise GradmeterError("the TrustModel is not fitted; call fit(validation_loader) before Trust(...)")
        self.trust = trust
        self.network = trust.meter.model
        # nn.Module starts in train mode; the network usually is in eval mode.
        self.training = self.network.training

    @untraced
    def forward(self, *args: Any, **kwargs: Any) -> TrustOutput:
        """Return logits and P(correct) of a batch.

        Args:
            args: the network's arguments; the first axis of each tensor is that of the N samples.
            kwargs: its keyword arguments.

        Raises:
            InputError: if the meter raises it, for example because BatchNorm is in train mode: call `eval()` first.
            UnsupportedModelError: if torch.jit.trace or torch.export traces it.
        """
        if self.trust.weights is not None and self.trust.weights.have_changed(self.network):
            warn(CHANGED)
        readings = self.trust.meter(Inputs(args, kwargs))
        return TrustOutput(readings.logits, self.trust.predict_proba(readings).to(readings.logits.device))
