"""The known head of `gradmeter.trust.known_head`, computed from tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gradmeter.trust.candidates import UNPENALISED, ConfidenceCurve, Regression
from gradmeter.trust.confidence import LARGEST_ODDS, Confidence, NormalisedLogit, SecondLook, Softmax
from gradmeter.trust.known_head import KnownHead
from gradmeter.trust.traced.arithmetic import constant, exact
from gradmeter.trust.traced.outputs import Outputs, wrong_log_odds

_TINY = float(torch.finfo(torch.float64).tiny)


@dataclass(frozen=True)
class TracedKnownFeatures:
    """What the known head sees of N predictions, as `gradmeter.trust.confidence.KnownFeatures`.

    Attributes:
        outputs: of the logits.
        groups: other features by the name of their group, [N, d] each.
        mirrored: [N] log odds of being wrong by the logits of both views.
    """

    outputs: Outputs
    groups: Mapping[str, Tensor]
    mirrored: Tensor


Doubt = Callable[[TracedKnownFeatures], Tensor]


class TracedKnownHead(nn.Module):
    """Log odds that the prediction for a known input is wrong.

    Args:
        head: the fitted head.
        by_softmax: whether to use only the softmax, even if other features improve on it.

    Attributes:
        groups: names of the groups of features that are used.
    """

    def __init__(self, head: KnownHead, *, by_softmax: bool) -> None:
        super().__init__()
        softmax = [] if head.softmax_ is None else [head.softmax_]
        learned = bool(head.members_) and not by_softmax
        curves = head.members_ if learned else softmax
        self.curves = nn.ModuleList(_TracedCurve(curve) for curve in curves)
        self.groups = {curve.group for curve in curves if isinstance(curve, Regression)}
        self._slope, self._intercept = (head.slope_, head.intercept_) if learned else (1.0, 0.0)

    def forward(self, features: TracedKnownFeatures) -> Tensor:
        """Return the log odds, [N]."""
        if not len(self.curves):
            return features.outputs.wrong_log_odds
        return self._slope * torch.stack([curve(features) for curve in self.curves]).mean(0) + self._intercept


class _TracedCurve(nn.Module):
    """A logistic curve of a confidence score, or a regression on it and a group of features."""

    weights: Tensor
    intercept: Tensor
    mean: Tensor
    deviation: Tensor

    def __init__(self, curve: ConfidenceCurve) -> None:
        super().__init__()
        self.doubt = _doubt(curve.confidence or Softmax())
        self.group = curve.group if isinstance(curve, Regression) else None
        self.register_buffer("weights", constant(curve.model_.coef_[0]))
        self.register_buffer("intercept", constant(curve.model_.intercept_[0]))
        self._centre, self._scale = curve.centre_, UNPENALISED / curve.spread_
        if isinstance(curve, Regression):
            self.register_buffer("mean", constant(curve.scaler_.mean_))
            self.register_buffer("deviation", constant(curve.scaler_.scale_))

    def forward(self, features: TracedKnownFeatures) -> Tensor:
        columns = (self.doubt(features)[:, None] - self._centre) * self._scale
        if self.group is not None:
            scaled = (features.groups[self.group] - self.mean) / self.deviation
            columns = torch.cat([columns, scaled], dim=1)
        return columns @ self.weights + self.intercept


def _doubt(confidence: Confidence) -> Doubt:
    """Return the confidence score as a function of tensors."""
    if isinstance(confidence, SecondLook):
        above = confidence.above

        def second_look(features: TracedKnownFeatures) -> Tensor:
            own = features.outputs.wrong_log_odds
            return torch.where(own > exact(above), features.mirrored, own)

        return second_look
    if isinstance(confidence, NormalisedLogit):
        p = confidence.p
        return lambda features: _normalised_logit(features.outputs.logits, p)
    temperature = confidence.temperature
    if temperature == 1:
        return lambda features: features.outputs.wrong_log_odds

    def at_temperature(features: TracedKnownFeatures) -> Tensor:
        outputs = features.outputs
        odds = wrong_log_odds(outputs.logits / temperature, outputs.prediction)
        return odds.clamp(-LARGEST_ODDS, LARGEST_ODDS)

    return at_temperature


def _normalised_logit(logits: Tensor, p: float) -> Tensor:
    """Return the doubts [N] of `NormalisedLogit`."""
    centred = logits - logits.mean(1, keepdim=True)
    size = centred.abs()
    largest = size.amax(1, keepdim=True).maximum(exact(_TINY))
    norms = largest[:, 0] * ((size / largest) ** p).sum(1) ** (1 / p)
    return -centred.amax(1) / norms.maximum(exact(_TINY))
