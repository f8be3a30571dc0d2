"""Geometric distortions, and blur."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from gradmeter.trust.synthetic.draws import between, coin, smooth_field
from gradmeter.trust.synthetic.registry import register_unknown

# Standard deviations of the blur, as shares of a side of the image.
_BLURS = (0.08, 0.11, 0.15, 0.2)
# If the shorter side has fewer pixels, shares of it would not blur the image, and the longer side is used.
_THIN = 7


def _sampled(images: Tensor, grid: Tensor) -> Tensor:
    """Sample images at a grid [N, H, W, 2]; points outside the image take the colour of its border."""
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _transformed(images: Tensor, matrices: Tensor) -> Tensor:
    """Apply linear maps [N, 2, 2] about the centres of the images."""
    maps = torch.cat([matrices, matrices.new_zeros(len(matrices), 2, 1)], dim=2)
    return _sampled(images, F.affine_grid(maps, list(images.shape), align_corners=False))


@register_unknown("rotation")
def rotation(images: Tensor, others: Tensor, generator: Generator) -> Tensor:
    """Rotate by 45 to 315 degrees; mirror about half of the images."""
    angle = between(math.pi / 4, 7 * math.pi / 4, images, generator).flatten()
    mirrored = torch.where(coin(images, generator).flatten(), -1.0, 1.0).to(images.dtype)
    cos, sin = angle.cos(), angle.sin()
    return _transformed(images, torch.stack([cos * mirrored, -sin, sin * mirrored, cos], dim=1).view(-1, 2, 2))


@register_unknown("affine distortion")
def affine(images: Tensor, others: Tensor, generator: Generator) -> Tensor:
    """Shear by up to the height of the image; scale each axis by a factor between 1/2.5 and 2.5."""
    shear = between(-1, 1, images, generator).flatten()
    scale = [between(-math.log(2.5), math.log(2.5), images, generator).flatten().exp() for _ in range(2)]
    other_shear = between(-0.5, 0.5, images, generator).flatten()
    return _transformed(images, torch.stack([scale[0], shear, other_shear, scale[1]], dim=1).view(-1, 2, 2))


@register_unknown("elastic distortion")
def elastic(images: Tensor, others: Tensor, generator: Generator) -> Tensor:
    """Displace each point by a smooth random field, typically by 8 to 20 % of the image (Simard et al. 2003)."""
    field = smooth_field((len(images), 2, *images.shape[2:]), 5, generator, images.dtype)
    displacement = field * between(0.15, 0.4, images, generator)
    identity = F.affine_grid(
        torch.eye(2, 3, dtype=images.dtype).repeat(len(images), 1, 1), list(images.shape), align_corners=False
    )
    return _sampled(images, identity + displacement.movedim(1, 3))


@register_unknown("blur")
def blur(images: Tensor, others: Tensor, generator: Generator) -> Tensor:
    """Blur with a Gaussian whose standard deviation is 8 to 20 % of the shorter side, or of the longer one if thin."""
    chosen = torch.randint(len(_BLURS), (len(images),), generator=generator)
    blurred = images.clone()
    shorter, longer = sorted(images.shape[2:])
    side = longer if shorter < _THIN else shorter
    for index, share in enumerate(_BLURS):
        rows = chosen == index
        if rows.any():
            blurred[rows] = _gaussian_blur(images[rows], share * side)
    return blurred


def _gaussian_blur(images: Tensor, width: float) -> Tensor:
    """Blur with a standard deviation of `width` pixels; replicate the border, and clip the kernel to the image size."""
    channels = images.shape[1]
    for dim, size in enumerate(images.shape[2:]):
        radius = min(math.ceil(3 * width), size - 1)
        offsets = torch.arange(-radius, radius + 1, dtype=images.dtype)
        kernel = torch.exp(-0.5 * (offsets / width) ** 2)
        shape = (1, 1, -1, 1) if dim == 0 else (1, 1, 1, -1)
        weights = (kernel / kernel.sum()).view(shape).repeat(channels, 1, 1, 1)
        padding = (0, 0, radius, radius) if dim == 0 else (radius, radius, 0, 0)
        images = F.conv2d(F.pad(images, padding, mode="replicate"), weights, groups=channels)
    return images
