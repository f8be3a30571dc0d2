"""Make synthetic unknowns from a batch of known images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from gradmeter.errors import InputError
from gradmeter.trust.synthetic.registry import KINDS


def synthetic_unknowns(
    images: Tensor, labels: Tensor, kinds: Iterable[str] | None = None, *, seed: int = 0
) -> dict[str, Tensor]:
    """Return an unknown of each kind for each image. `each_kind` needs less memory.

    Args:
        images: [N, C, H, W] inputs of the network; the smallest and the largest value of each channel are taken as
            black and white.
        labels: [N] their classes. Blends combine images of two classes, if there are several.
        kinds: names in `KINDS`; all by default.
        seed: of the random generator.

    Returns:
        {kind: [N, C, H, W]}, with the type and device of the images.

    Raises:
        InputError: if the images or labels have the wrong shape or type, or a kind does not exist.
    """
    return dict(each_kind(images, labels, kinds, seed=seed))


def each_kind(
    images: Tensor, labels: Tensor, kinds: Iterable[str] | None = None, *, seed: int = 0
) -> Iterator[tuple[str, Tensor]]:
    """Iterate over the items of `synthetic_unknowns`; each kind is made when it is reached."""
    names = list(KINDS) if kinds is None else list(kinds)
    unknown = [name for name in names if name not in KINDS]
    if unknown:
        raise InputError(f"no kind of synthetic unknowns is called {unknown[0]!r}; expected {', '.join(KINDS)}")
    if images.dim() != 4 or not images.numel() or not images.is_floating_point():
        raise InputError(
            f"images have shape {tuple(images.shape)} and type {images.dtype}; expected floating point [N, C, H, W]"
        )
    if labels.shape != images.shape[:1]:
        raise InputError(f"labels have shape {tuple(labels.shape)}; expected one for each of {len(images)} images")
    originals = images.detach().to("cpu", torch.float32)
    low = originals.amin(dim=(0, 2, 3), keepdim=True)
    span = (originals.amax(dim=(0, 2, 3), keepdim=True) - low).clamp_min(torch.finfo(originals.dtype).tiny)
    scaled = (originals - low) / span
    generator = torch.Generator().manual_seed(seed)
    with torch.device("cpu"):  # torch's default device may be another one
        partners = scaled[_partners(labels.cpu(), generator)]
    for name in names:
        with torch.device("cpu"), torch.autocast("cpu", enabled=False):
            unknowns = KINDS[name](scaled, partners, generator) * span + low
        yield name, unknowns.to(images)


def _partners(labels: Tensor, generator: torch.Generator) -> Tensor:
    """Return for each sample a random sample of another class, [N]; of the same class if there are too few others."""
    order = torch.randperm(len(labels), generator=generator)
    by_class = order[labels[order].argsort(stable=True)]
    # Rotate the samples, sorted by class, by at least the size of the largest class. If that is more than half of all,
    # some of its samples get partners of their own class.
    shift = max(len(labels) // 2, int(labels.unique(return_counts=True)[1].max()) % max(len(labels), 1))
    partners = torch.empty_like(order)
    partners[by_class] = by_class.roll(-shift)
    return partners
