"""Functions of the logits in float64: what `gradmeter.reading.scores` and the second look compute."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from gradmeter.trust.traced.arithmetic import exact, log1p, log_above, logsumexp, softplus

# The floor of the entropy in `gradmeter.trust.feature_sources`, before the logarithm.
_LEAST_ENTROPY = math.exp(-700)


@dataclass(frozen=True)
class Outputs:
    """The softmax of N samples.

    Attributes:
        logits: [N, C] float64.
        prediction: [N] the predicted class.
        others: [N] logsumexp of the other logits.
        highest: [N] the largest logit.
    """

    logits: Tensor
    prediction: Tensor
    others: Tensor
    highest: Tensor

    @classmethod
    def of(cls, logits: Tensor) -> Outputs:
        """Compute them from logits [N, C] of any dtype."""
        exact = logits.double()
        prediction = exact.argmax(dim=1)
        return cls(exact, prediction, others_of(exact, prediction), exact.amax(dim=1))

    @property
    def probabilities(self) -> Tensor:
        """The softmax, [N, C]."""
        shifted = (self.logits - self.highest[:, None]).exp()
        return shifted / shifted.sum(1, keepdim=True)

    @property
    def log_scale(self) -> Tensor:
        """log(1 - p) of the predicted class, [N]."""
        return -softplus(self.highest - self.others)

    @property
    def wrong_log_odds(self) -> Tensor:
        """The log odds that the prediction is wrong, [N]."""
        return self.others - self.highest

    @property
    def log_entropy(self) -> Tensor:
        """The logarithm of the normalised entropy, [N], as `gradmeter.trust.feature_sources` takes it."""
        # As in `scores.entropy`: the predicted class contributes nothing to the expected distance.
        distance = (self.highest[:, None] - self.logits).clamp(max=1000.0)
        weights = (-distance).exp()
        others = (self.others - self.highest).exp()
        nats = log1p(others) + (weights * distance).sum(1) / (1 + others)
        return log_above((nats / exact(math.log(self.logits.shape[1]))).clamp(max=1.0), _LEAST_ENTROPY)

    @property
    def energy(self) -> Tensor:
        """The free energy, [N]."""
        return -(self.highest + log1p((self.others - self.highest).exp()))


def others_of(logits: Tensor, classes: Tensor) -> Tensor:
    """Return the logsumexp [N] of all logits [N, C] but that of one class per sample."""
    is_class = torch.arange(logits.shape[1]) == classes[:, None]
    return logsumexp(logits.masked_fill(is_class, -torch.inf))


def wrong_log_odds(logits: Tensor, classes: Tensor) -> Tensor:
    """Return the log odds [N] that one class per sample is wrong, by the softmax of logits [N, C]."""
    return others_of(logits, classes) - logits.gather(1, classes[:, None])[:, 0]
