"""The distances of `gradmeter.trust.densities`, computed from tensors."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gradmeter.trust.densities import ClassDensities
from gradmeter.trust.traced.arithmetic import constant

# As in `gradmeter.trust.densities._log_distances`.
_LEAST_SQUARE = 1e-12


class TracedDensities(nn.Module):
    """Distances to classes, in several views of the same samples.

    Args:
        densities: the fitted densities of views of the same width.
    """

    classes: Tensor
    centre: Tensor
    scale: Tensor
    whitening: Tensor
    white_means: Tensor

    def __init__(self, densities: ClassDensities) -> None:
        super().__init__()
        self.register_buffer("classes", constant(densities.classes_))
        self.register_buffer("centre", constant(densities.centre_)[:, None])
        self.register_buffer("scale", constant(densities.scale_)[:, None])
        self.register_buffer("whitening", constant(densities.whitening_))
        white = constant(densities.means_)[:, :, None] @ self.whitening
        self.register_buffer("white_means", white)

    def forward(self, views: Tensor, predicted: Tensor) -> Tensor:
        """Return the logarithms of the squared distances `PREDICTED`, `NEAREST` and `NEXT`, [views, N, 3].

        Args:
            views: [views, N, d] float64.
            predicted: [N] the predicted classes.
        """
        scaled = (views - self.centre) / self.scale
        squares = self._squares(scaled)
        is_predicted = predicted[:, None] == self.classes
        own = torch.where(is_predicted, squares, 0.0).sum(2)
        own = torch.where(is_predicted.any(1), own, squares.amax(2))
        others = torch.where(is_predicted, torch.inf, squares).amin(2)
        following = torch.where(torch.isinf(others), own, others)
        return torch.stack([own, squares.amin(2), following], dim=2).clamp(min=_LEAST_SQUARE).log()

    def _squares(self, scaled: Tensor) -> Tensor:
        """Return squared distances [views, N, classes] of standardised samples [views, N, d]."""
        white = scaled[:, None] @ self.whitening
        if self.whitening.shape[1] > 1:
            return ((white - self.white_means) ** 2).sum(3).transpose(1, 2)
        # One map for all classes: the matrix product needs less memory than all differences.
        means = self.white_means[:, :, 0]
        squares = (white[:, 0] ** 2).sum(2, keepdim=True) + (means**2).sum(2)[:, None]
        return squares - 2 * white[:, 0] @ means.transpose(1, 2)
