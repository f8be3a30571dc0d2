"""From logits to the vector that is propagated back: which answer do we pretend to be true?

The derivative of -log p_y by the logits is p - e_y = s u with s = 1 - p_y. The networks here propagate u, which is of
size one, and keep log s apart in float64: p_y - 1 in float32 is zero above a logit gap of about 17, u never is. Any
loss whose derivative by the logits is known fits the same door.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from gradmeter.errors import InputError

# Classes that a counterfactual asks for.
_COUNTERFACTUALS = 5

# How far the loss of a sample alone may be from its loss in a batch, in itself and relative to it: rounding of float32.
_ROUNDED, _RELATIVELY_ROUNDED = 1e-5, 1e-3

LABELS = "labels"
"""What readings call classes that were given with the inputs, in place of a pseudo-label."""

Loss = Callable[[Tensor], Tensor]
PseudoLabel = str | int | Loss


@dataclass(frozen=True)
class StartVector:
    """The derivative of a loss by the logits, exp(log_scale) times direction.

    Attributes:
        direction: [N, C] float64, of size about one.
        log_scale: [N] float64; -inf where the derivative is zero.
    """

    direction: Tensor
    log_scale: Tensor


def given_classes(logits: Tensor, labels: Tensor) -> StartVector:
    """-log p_y for labels y [N]: u is -1 at y and the softmax over the other logits elsewhere; s = 1 - p_y.

    Raises:
        InputError: for a label that is no class.
    """
    if (wrong := labels[(labels < 0) | (labels >= logits.shape[1])]).numel():
        raise InputError(f"label {wrong[0].item()}, but the network has classes 0 to {logits.shape[1] - 1}")
    return _pretended(logits, labels)


def _pretended(logits: Tensor, labels: Tensor) -> StartVector:
    index = labels.unsqueeze(1)
    others = logits.scatter(1, index, -torch.inf)
    log_share = torch.log_softmax(others, dim=1)
    direction = log_share.exp().scatter_(1, index, -1.0)
    # logsumexp of the others, from where log_softmax has already taken it off the largest of them.
    largest, where = others.max(dim=1, keepdim=True)
    gap = largest - log_share.gather(1, where) - logits.gather(1, index)
    return StartVector(direction, torch.nn.functional.logsigmoid(gap.squeeze(1)))


def _normalised(gradient: Tensor) -> StartVector:
    """Split a derivative into its largest absolute entry and the rest."""
    scale = gradient.abs().amax(dim=1)
    direction = gradient / torch.where(scale > 0, scale, 1.0).unsqueeze(1)
    return StartVector(direction, scale.log())


def predicted(logits: Tensor) -> StartVector:
    """-log p at the predicted class (Oberdiek et al. 2018, Eq. 5); log_scale is log(1 - p)."""
    return _pretended(logits, logits.argmax(dim=1))


def uniform(logits: Tensor) -> StartVector:
    """Cross entropy to the uniform distribution (GradNorm, Huang et al. 2021): p - 1/C."""
    return _normalised(torch.softmax(logits, dim=1) - 1 / logits.shape[1])


def all_ones(logits: Tensor) -> StartVector:
    """Binary cross entropy of every logit to one, summed over classes (Lee and AlRegib 2020): sigmoid(z) - 1."""
    return _normalised(-torch.sigmoid(-logits))


def counterfactual(logits: Tensor) -> StartVector:
    """Mean of -log p over the most likely classes but the predicted one, at most five.

    What if one of those were true? After the counterfactual classes of Prabhushankar and AlRegib 2024 (GradTrust).
    """
    others = logits.scatter(1, logits.argmax(dim=1, keepdim=True), -torch.inf)
    likely = others.topk(min(_COUNTERFACTUALS, logits.shape[1] - 1), dim=1).indices
    return _normalised(torch.softmax(logits, dim=1).scatter_add(1, likely, -torch.ones_like(logits) / likely.shape[1]))


def expected(logits: Tensor) -> StartVector:
    """Expectation of -log p over the network's own classes: the entropy of its answer."""
    log_p = torch.log_softmax(logits, dim=1)
    p = log_p.exp()
    return _normalised(-p * (log_p - (p * log_p).sum(1, keepdim=True)))


NAMED: dict[str, Callable[[Tensor], StartVector]] = {
    "predicted": predicted,
    "uniform": uniform,
    "all-ones": all_ones,
    "counterfactual": counterfactual,
    "expected": expected,
}
"""Pseudo-labels by name."""


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
                    "the loss does not depend on the logits, or not differentiably; expected PyTorch operations on them"
                )
            (gradient,) = torch.autograd.grad(losses.sum(), leaf)
            _require_each_alone(loss, leaf.detach(), losses.detach())
        if not torch.isfinite(gradient).all():
            raise InputError("the derivative of the loss by the logits is not finite; expected a smooth loss there")
        return _normalised(gradient)

    return start


def _require_each_alone(loss: Loss, logits: Tensor, losses: Tensor) -> None:
    """Raise InputError if the last sample has another loss alone: how a batch is cut must not show."""
    alone = loss(logits[-1:].clone()).detach()
    if alone.shape != (1,) or not torch.allclose(alone, losses[-1:], _RELATIVELY_ROUNDED, _ROUNDED):
        raise InputError(
            f"the loss of a sample is {losses[-1].item():.6g} in its batch of {len(losses)} and "
            f"{alone.tolist()} alone; expected a loss that does not depend on other samples or on their number"
        )


def start_vector(pseudo_label: PseudoLabel) -> Callable[[Tensor], StartVector]:
    """The function that maps float64 logits [N, C] to a `StartVector`.

    Args:
        pseudo_label: a name of `NAMED`; a class index; or a loss mapping logits [N, C] to losses [N].

    Raises:
        InputError: for anything else.
    """
    if isinstance(pseudo_label, str) and pseudo_label in NAMED:
        return NAMED[pseudo_label]
    if isinstance(pseudo_label, int) and not isinstance(pseudo_label, bool) and pseudo_label >= 0:
        label = pseudo_label

        def given(logits: Tensor) -> StartVector:
            if label >= logits.shape[1]:
                raise InputError(f"pseudo_label={label}, but the network has classes 0 to {logits.shape[1] - 1}")
            return given_classes(logits, torch.full(logits.shape[:1], label, device=logits.device))

        return given
    if callable(pseudo_label):
        return _custom(pseudo_label)
    raise InputError(
        f"pseudo_label={pseudo_label!r}; expected one of {', '.join(NAMED)}, a class index or a loss of the logits"
    )


def pseudo_label_name(pseudo_label: PseudoLabel) -> str:
    """What readings call a pseudo-label: its name, the number of the class, or the name of the function."""
    return getattr(pseudo_label, "__name__", "loss") if callable(pseudo_label) else str(pseudo_label)
