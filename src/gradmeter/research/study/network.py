"""The paper's convolutional network, with Keras' defaults where the paper gives no value."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_DROPOUT = 1 / 3
_SLOPE = 0.1
# A filter is dead if its kernel's norm is below this share of the median norm of its layer. Filters that learn keep a
# quarter of the median or more; weight decay shrinks the others to a fiftieth or less.
_DEAD = 0.05
# A network is damaged if a layer has lost this share of its filters; docs/study.md gives the reason.
_DAMAGED = 1 / 8


class Dropout(nn.Module):
    """Dropout at rate 1/3 that draws 16 random bits per unit.

    The Bernoulli draws of nn.Dropout take half of this network's training time on a CPU; this class takes a tenth.
    """

    def forward(self, activation: Tensor) -> Tensor:
        """Zero a third of the units and scale the others by 3/2 in train mode; return the input in eval mode."""
        if not self.training:
            return activation
        words = torch.empty(-(-activation.numel() // 4), dtype=torch.int64, device=activation.device)
        bits = words.random_(-(2**63), None).view(torch.int16)[: activation.numel()]
        kept = bits < round(2**16 * (1 - _DROPOUT)) - 2**15
        mask = torch.empty_like(activation)  # in the memory order of the activation, so that the product is one pass
        mask.as_strided(kept.shape, (1,)).copy_(kept).mul_(1 / (1 - _DROPOUT))
        return activation * mask


class Standardised(nn.Module):
    """Standardisation of images by the mean and standard deviation of the training pixels."""

    def __init__(self, mean: float, deviation: float) -> None:
        super().__init__()
        self.mean, self.deviation = mean, deviation

    def forward(self, images: Tensor) -> Tensor:
        """Standardise images of any shape."""
        return (images - self.mean) / self.deviation


class PaperCNN(nn.Module):
    """Three convolutions of 16 filters 3x3 and a dense layer; 6,250 weights without padding, 12,650 with padding.

    Leaky ReLU (0.1) and 2x2 max pooling follow the first two convolutions; dropout follows the first and the third.

    Args:
        classes: number of classes.
        padding: "valid" (Keras' default) or "same".
        first_dropout: dropout "after" or "before" the first pooling.
        standard: mean and standard deviation for the standardisation of pixels; None for no standardisation.
    """

    def __init__(
        self,
        classes: int = 10,
        padding: str = "valid",
        first_dropout: str = "after",
        standard: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        self.first_dropout = first_dropout
        self.inputs = nn.Identity() if standard is None else Standardised(*standard)
        self.conv1 = nn.Conv2d(1, 16, 3, padding=padding)
        self.conv2 = nn.Conv2d(16, 16, 3, padding=padding)
        self.conv3 = nn.Conv2d(16, 16, 3, padding=padding)
        self.dropout = Dropout()
        self.dense = nn.Linear(16 * (3 if padding == "valid" else 7) ** 2, classes)
        for layer in (self.conv1, self.conv2, self.conv3, self.dense):
            nn.init.xavier_uniform_(layer.weight)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits [N, classes] for images [N, 1, 28, 28] in [0, 1]."""
        images = self.inputs(images)
        if self.first_dropout == "before":
            x = F.max_pool2d(self.dropout(F.leaky_relu(self.conv1(images), _SLOPE)), 2)
        else:
            # Pooling before the monotone activation gives the same result with a quarter of the activations.
            x = self.dropout(F.leaky_relu(F.max_pool2d(self.conv1(images), 2), _SLOPE))
        x = F.leaky_relu(F.max_pool2d(self.conv2(x), 2), _SLOPE)
        x = self.dropout(self.conv3(x))
        logits: Tensor = self.dense(x.flatten(1))
        return logits

    def dead_filters(self) -> tuple[int, ...]:
        """Return the number of dead filters of each convolution."""
        norms = torch.stack([layer.weight.flatten(1).norm(dim=1) for layer in (self.conv1, self.conv2, self.conv3)])
        return tuple((norms < _DEAD * norms.median(dim=1, keepdim=True).values).sum(dim=1).tolist())

    @property
    def damaged(self) -> bool:
        """Whether a convolution has lost an eighth of its filters."""
        return max(self.dead_filters()) >= _DAMAGED * len(self.conv1.weight)
