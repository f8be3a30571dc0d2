"""Connected components of classes, and which of their pixels lie at the boundary."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Map = NDArray[np.int64]

# For a stack of one map for each class: pixels of a map that touch at a corner are connected, as in MetaSeg.
_NEIGHBOURS = np.zeros((3, 3, 3), np.int64)
_NEIGHBOURS[1] = 1


@dataclass(frozen=True, eq=False)
class Components:
    """The connected components of one map, numbered from 0, by class, and then in the order of their pixels.

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
        present = np.unique(classes)
        present = present[present >= 0]
        numbers, count = ndimage.label(classes == present[:, None, None], _NEIGHBOURS)
        # Each pixel is in the map of one class at most; 0 is for none, there and in the sums.
        mask = numbers.sum(0, dtype=np.int64) - 1
        labels = np.zeros(count + 1, np.int64)
        labels[mask] = classes
        return cls(mask, labels[:-1], np.bincount(mask.ravel() + 1, minlength=count + 1)[1:])

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


def _pairs(*, corners: bool) -> Iterator[tuple[tuple[slice, slice], tuple[slice, slice]]]:
    """Views of all pixels and of their neighbours below or to the right, and at the corners below."""
    most, least, whole = slice(None, -1), slice(1, None), slice(None)
    yield (most, whole), (least, whole)
    yield (whole, most), (whole, least)
    if corners:
        yield (most, most), (least, least)
        yield (most, least), (least, most)
