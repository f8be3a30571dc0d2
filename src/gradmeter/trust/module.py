"""Trust: a network that says with every answer how likely it is correct."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor, nn

from gradmeter.errors import GradmeterError, InputError
from gradmeter.reading.inputs import Inputs
from gradmeter.trust.model import TrustModel


class TrustOutput(NamedTuple):
    """The answers to N samples.

    Attributes:
        logits: [N, C] the network's output.
        p_correct: [N] float64, P(the prediction is correct), on the logits' device.
    """

    logits: Tensor
    p_correct: Tensor


class Trust(nn.Module):
    """Stands in for a trained network, and gives P(correct) with the logits, from one forward and one backward pass.

    The network is its submodule "network": `.to()`, `parameters()` and `train()` reach it, and it is what
    `state_dict()` holds; a TrustModel is saved by `TrustModel.save`. What comes out has no history, under
    `torch.no_grad` and `torch.inference_mode` or without them.

    Args:
        trust: fitted; from then on the weights must stay as they are.

    Attributes:
        network: the one that `trust` was made of.
        trust: as given.

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
        # A new module is in train mode, and its network need not be.
        self.training = self.network.training

    def forward(self, *args: Any, **kwargs: Any) -> TrustOutput:
        """Answer a batch.

        Args:
            args: as the network takes them; tensors share the first axis, the N samples.
            kwargs: likewise.

        Raises:
            InputError: as the meter does; among others where BatchNorm is in train mode: call `eval()` first.
        """
        readings = self.trust.meter(Inputs(args, kwargs))
        return TrustOutput(readings.logits, self.trust.predict_proba(readings).to(readings.logits.device))
