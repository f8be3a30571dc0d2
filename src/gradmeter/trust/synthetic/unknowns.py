"""From a batch of a user's images to synthetic unknowns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from gradmeter.errors import InputError
from gradmeter.trust.synthetic.registry import KINDS


def synthetic_unknowns(
    images: Tensor, labels: Tensor, kinds: Iterable[str] | None = None, *, seed: int = 0
) -> dict[str, Tensor]:
    """One unknown of each kind for each image; `each_kind` makes them one kind after the other, for less memory.

    Args:
        images: [N, C, H, W], as the network takes them; their smallest and largest numbers, by channel, stand for
            black and white.
        labels: [N] their classes: blends are made of images of two, of one class where there is but one; a lone image
            is blended with itself.
        kinds: names of `KINDS`; all by default.
        seed: of the random numbers.

    Returns:
        {kind: [N, C, H, W]}, of the images' type and on their device.

    Raises:
        InputError: for something else than images with a label each, or an unknown kind.
    """
    return dict(each_kind(images, labels, kinds, seed=seed))


def each_kind(
    images: Tensor, labels: Tensor, kinds: Iterable[str] | None = None, *, seed: int = 0
) -> Iterator[tuple[str, Tensor]]:
    """The kinds of `synthetic_unknowns` and what it makes of them, each when it is asked for."""
    names = list(KINDS) if kinds is None else list(kinds)
    unknown = [name for name in names if name not in KINDS]
    if unknown:
        raise InputError(f"no synthetic unknowns {unknown[0]!r}; there are {', '.join(KINDS)}")
    if images.dim() != 4 or not images.numel() or not images.is_floating_point():
        raise InputError(f"images are {tuple(images.shape)} {images.dtype}; expected floating point [N, C, H, W]")
    if labels.shape != images.shape[:1]:
        raise InputError(f"labels have shape {tuple(labels.shape)}; expected one for each of {len(images)} images")
    own = images.detach().to("cpu", torch.float32)
    low = own.amin(dim=(0, 2, 3), keepdim=True)
    span = (own.amax(dim=(0, 2, 3), keepdim=True) - low).clamp_min(torch.finfo(own.dtype).tiny)
    scaled = (own - low) / span
    generator = torch.Generator().manual_seed(seed)
    others = scaled[_partners(labels.cpu(), generator)]
    for name in names:
        yield name, (KINDS[name](scaled, others, generator) * span + low).to(images)


def _partners(labels: Tensor, generator: torch.Generator) -> Tensor:
    """For each sample one of another class, if there are several, in an order that is anyone's guess."""
    order = torch.randperm(len(labels), generator=generator)
    by_class = order[labels[order].argsort(stable=True)]
    # Half way round the circle of classes; where one class is more than half of all, some find no partner.
    shift = max(len(labels) // 2, int(labels.unique(return_counts=True)[1].max()) % max(len(labels), 1))
    partners = torch.empty_like(order)
    partners[by_class] = by_class.roll(-shift)
    return partners
