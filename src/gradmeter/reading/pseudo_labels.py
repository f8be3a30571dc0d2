"""Pseudo-labels: the start vector of the backward pass, computed from the logits.

The derivative of -log p_y with respect to the logits is p - e_y = s u with s = 1 - p_y. The backward pass starts from
u, whose size is about one, and log s is kept separately in float64: in float32 p_y - 1 is zero above a logit gap of
about 17, while u never is. Other losses are split in the same way.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from gradmeter.errors import InputError

# Largest number of counterfactual classes.
_COUNTERFACTUALS = 5

# Largest difference between the loss of a sample alone and in a batch, for rounding in float32.
_ABSOLUTE_TOLERANCE, _RELATIVE_TOLERANCE = 1e-5, 1e-3

LABELS = "labels"
"""The pseudo-label of readings whose classes were given with the inputs."""

Loss = Callable[[Tensor], Tensor]
PseudoLabel = str | int | Loss
_PseudoLabelT = TypeVar("_PseudoLabelT", bound=Callable[[Tensor], "StartVector"])


@dataclass(frozen=True)
class StartVector:
    """The derivative of a loss with respect to the logits: exp(log_scale) times direction.

    Attributes:
        direction: [N, C] float64; its largest absolute entry is about one.
        log_scale: [N] float64; -inf where the derivative is zero.
    """

    direction: Tensor
    log_scale: Tensor


PSEUDO_LABELS: dict[str, Callable[[Tensor], StartVector]] = {}
"""The registered pseudo-labels by name: functions that map float64 logits [N, C] to a start vector."""


def register_pseudo_label(name: str) -> Callable[[_PseudoLabelT], _PseudoLabelT]:
    """Register a pseudo-label; the decorated function maps float64 logits [N, C] to a `StartVector`.

    Args:
        name: name of the pseudo-label; readings use it in the names of columns.

    Raises:
        InputError: if the name is empty, taken or reserved, or contains a colon or a slash.
    """
    reserved = name in PSEUDO_LABELS or name in (LABELS, "activation", "score")
    if reserved or not name or name.isdecimal() or {":", "/"} & {*name}:
        raise InputError(f"invalid name of a pseudo-label: {name!r}; expected a new name without colons and slashes")

    def register(start: _PseudoLabelT) -> _PseudoLabelT:
        PSEUDO_LABELS[name] = start
        return start

    return register


def normalised(gradient: Tensor) -> StartVector:
    """The start vector for a derivative [N, C] of a loss: its scale is the largest absolute entry."""
    scale = gradient.abs().amax(dim=1)
    direction = gradient / torch.where(scale > 0, scale, 1.0).unsqueeze(1)
    return StartVector(direction, scale.log())


def given_classes(logits: Tensor, labels: Tensor) -> StartVector:
    """-log p_y for labels y [N]: u is -1 at y and the softmax over the other logits elsewhere; s = 1 - p_y.

    Raises:
        InputError: if a label is not a class of the network.
    """
    if (invalid := labels[(labels < 0) | (labels >= logits.shape[1])]).numel():
        raise InputError(f"label {invalid[0].item()} is not a class; expected 0 to {logits.shape[1] - 1}")
    return _cross_entropy(logits, labels)


def _cross_entropy(logits: Tensor, labels: Tensor) -> StartVector:
    index = labels.unsqueeze(1)
    others = logits.scatter(1, index, -torch.inf)
    log_share = torch.log_softmax(others, dim=1)
    direction = log_share.exp().scatter_(1, index, -1.0)
    # largest - log_share is the logsumexp of the other logits, which log_softmax has already computed.
    largest, argmax = others.max(dim=1, keepdim=True)
    gap = largest - log_share.gather(1, argmax) - logits.gather(1, index)
    return StartVector(direction, _log_sigmoid(gap.squeeze(1)))


def _log_sigmoid(x: Tensor) -> Tensor:
    """log(sigmoid(x)) as PyTorch computes it; onnxruntime takes the logarithm of a sigmoid that is 0 for x < -37."""
    return x.clamp(max=0) - (-x.abs()).exp().log1p()


@register_pseudo_label("predicted")
def predicted(logits: Tensor) -> StartVector:
    """-log p at the predicted class (Oberdiek et al. 2018, Eq. 5); log_scale is log(1 - p)."""
    return _cross_entropy(logits, logits.argmax(dim=1))


@register_pseudo_label("uniform")
def uniform(logits: Tensor) -> StartVector:
    """Cross entropy to the uniform distribution (GradNorm, Huang et al. 2021): p - 1/C."""
    return normalised(torch.softmax(logits, dim=1) - 1 / logits.shape[1])


@register_pseudo_label("all-ones")
def all_ones(logits: Tensor) -> StartVector:
    """Binary cross entropy of every logit to one, summed over classes (Lee and AlRegib 2020): sigmoid(z) - 1."""
    return normalised(-_log_sigmoid(-logits).exp())


@register_pseudo_label("counterfactual")
def counterfactual(logits: Tensor) -> StartVector:
    """Mean of -log p over up to five most likely classes other than the predicted one.

    After the counterfactual classes of Prabhushankar and AlRegib 2024 (GradTrust).
    """
    others = logits.scatter(1, logits.argmax(dim=1, keepdim=True), -torch.inf)
    likely = others.topk(min(_COUNTERFACTUALS, logits.shape[1] - 1), dim=1).indices
    # Of the shape of the indices, as onnxruntime needs it.
    shares = -torch.ones_like(likely, dtype=logits.dtype) / likely.shape[1]
    return normalised(torch.softmax(logits, dim=1).scatter_add(1, likely, shares))


@register_pseudo_label("expected")
def expected(logits: Tensor) -> StartVector:
    """Expectation of -log p under the softmax probabilities, which is their entropy."""
    log_p = torch.log_softmax(logits, dim=1)
    p = log_p.exp()
    return normalised(-p * (log_p - (p * log_p).sum(1, keepdim=True)))


def _custom(loss: Loss) -> Callable[[Tensor], StartVector]:
    def start(logits: Tensor) -> StartVector:
        with torch.enable_grad():
            leaf = logits.detach().requires_grad_()
            losses = loss(leaf)
            if not isinstance(losses, Tensor) or losses.shape != logits.shape[:1]:
                given = tuple(losses.shape) if isinstance(losses, Tensor) else type(losses).__name__
                raise InputError(
                    f"the loss returned {given}; expected one loss per sample, a tensor of shape ({len(logits)},)"
                )
            if not losses.requires_grad:
                raise InputError(
                    "the loss does not depend differentiably on the logits; expected PyTorch operations on them"
                )
            (gradient,) = torch.autograd.grad(losses.sum(), leaf)
            if losses.isnan().any() or not torch.isfinite(gradient).all():
                raise InputError(
                    "the loss or its derivative is not finite at these logits; expected a differentiable loss"
                )
            _require_independent_losses(loss, leaf.detach(), losses.detach())
        return normalised(gradient)

    return start


def _require_independent_losses(loss: Loss, logits: Tensor, losses: Tensor) -> None:
    """Raise InputError if the loss of the last sample depends on its batch, because readings must not."""
    alone = loss(logits[-1:].clone().requires_grad_()).detach()  # it may itself take a gradient
    if alone.shape != (1,) or not torch.allclose(alone, losses[-1:], _RELATIVE_TOLERANCE, _ABSOLUTE_TOLERANCE):
        raise InputError(
            f"the loss of a sample is {losses[-1].item():.6g} in a batch of {len(losses)} and {alone.tolist()} alone; "
            "expected a loss that does not depend on the other samples or their number"
        )


def start_vector(pseudo_label: PseudoLabel) -> Callable[[Tensor], StartVector]:
    """The function that maps float64 logits [N, C] to a `StartVector`.

    Args:
        pseudo_label: a registered name; a class index; or a loss mapping logits [N, C] to losses [N].

    Raises:
        InputError: if it is none of these.
    """
    if isinstance(pseudo_label, str) and pseudo_label in PSEUDO_LABELS:
        return PSEUDO_LABELS[pseudo_label]
    if isinstance(pseudo_label, int) and not isinstance(pseudo_label, bool) and pseudo_label >= 0:
        label = pseudo_label

        def start(logits: Tensor) -> StartVector:
            if label >= logits.shape[1]:
                raise InputError(f"pseudo_label={label} is not a class; expected 0 to {logits.shape[1] - 1}")
            return given_classes(logits, torch.full(logits.shape[:1], label, device=logits.device))

        return start
    if callable(pseudo_label):
        return _custom(pseudo_label)
    raise InputError(
        f"pseudo_label={pseudo_label!r}; expected one of {', '.join(PSEUDO_LABELS)}, a class index or a loss function"
    )


def pseudo_label_name(pseudo_label: PseudoLabel) -> str:
    """The name of a pseudo-label in readings: its own, the class index, or the name of the loss function."""
    return getattr(pseudo_label, "__name__", "loss") if callable(pseudo_label) else str(pseudo_label)
