"""Connected components of classes, and which of their pixels lie at the boundary."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Map = NDArray[np.int64]

# Pixels that touch at a corner are connected, as in MetaSeg.
_NEIGHBOURS = np.ones((3, 3), np.int64)


@dataclass(frozen=True, eq=False)
class Components:
    """The connected components of one map, numbered from 0 in the order of their first pixels.

    Attributes:
        mask: [H, W] the number of each pixel's component; -1 outside of all.
        classes: [S] the class of each component.
        sizes: [S] the number of pixels.
    """

    mask: Map
    classes: NDArray[np.int64]
    sizes: NDArray[np.int64]

    @classmethod
    def of(cls, classes: Map) -> Components:
        """Find the components of equal classes [H, W]; pixels with a negative class belong to none."""
        mask = np.full(classes.shape, -1, np.int64)
        count = 0
        for label in np.unique(classes[classes >= 0]):
            numbers, found = ndimage.label(classes == label, _NEIGHBOURS)
            inside = numbers > 0
            mask[inside] = numbers[inside] + (count - 1)
            count += found
        mask = _in_order(mask, count)
        flat, own = mask.ravel(), mask.ravel() >= 0
        labels = np.zeros(count, np.int64)
        labels[flat[own]] = classes.ravel()[own]
        return cls(mask, labels, np.bincount(flat[own], minlength=count))

    def boundary(self) -> NDArray[np.bool_]:
        """Whether one of the up to eight neighbours of a pixel lies outside of its component, [H, W]."""
        at_boundary = np.zeros(self.mask.shape, np.bool_)
        for here, there in _pairs(corners=True):
            differs = self.mask[here] != self.mask[there]
            at_boundary[here] |= differs
            at_boundary[there] |= differs
        return at_boundary

    def contacts(self, classes: int) -> NDArray[np.float64]:
        """How a component's contour is shared, in edges of pixels.

        Args:
            classes: the number of classes.

        Returns:
            [S, classes + 1] the share with neighbours of each class, and the share at the edge of the image, which is
            1 for a component that fills the image.
        """
        count, labels = len(self.sizes), self.classes[self.mask]
        cells = [
            self.mask[one][differs] * (classes + 1) + labels[other][differs]
            for here, there in _pairs(corners=False)
            for differs in [self.mask[here] != self.mask[there]]
            for one, other in ((here, there), (there, here))
        ]
        rim = np.concatenate([self.mask[0], self.mask[-1], self.mask[:, 0], self.mask[:, -1]])
        cells.append(rim * (classes + 1) + classes)
        edges = np.bincount(np.concatenate(cells), minlength=count * (classes + 1)).reshape(count, classes + 1)
        shares: NDArray[np.float64] = edges / edges.sum(1, keepdims=True)
        return shares


def _in_order(mask: Map, count: int) -> Map:
    """Renumber components in the order of their first pixels."""
    flat = mask.ravel()
    pixels = np.flatnonzero(flat >= 0)[::-1]
    first = np.zeros(count, np.int64)
    # Of several pixels of a component, the last one assigned remains: the first of the map.
    first[flat[pixels]] = pixels
    # The last entry is for -1.
    numbers = np.append(np.argsort(np.argsort(first)), -1)
    return numbers[mask]


def _pairs(*, corners: bool) -> Iterator[tuple[tuple[slice, slice], tuple[slice, slice]]]:
    """Views of all pixels and of their neighbours below or to the right, and at the corners below."""
    most, least, whole = slice(None, -1), slice(1, None), slice(None)
    yield (most, whole), (least, whole)
    yield (whole, most), (whole, least)
    if corners:
        yield (most, most), (least, least)
        yield (most, least), (least, most)
