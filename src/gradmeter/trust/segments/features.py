"""SegmentFeatures: what is known of each segment of a few images, with a name for each feature."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradmeter.errors import InputError

GRADIENTS, SOFTMAX, SHAPE, POSITION = "gradients", "softmax", "shape", "position"
CLASS, PROBABILITY, NEIGHBOURS = "class", "probability", "neighbours"
"""The sources of features."""

_HASH_BYTES = 8
# What a hash holds of the softmax in a segment.
_HASHED = ("mean_all", "variance_all")
# Steps of a number between two powers of 2, in a hash.
_STEPS = 2**13


class SegmentFeature(NamedTuple):
    """The origin of a feature.

    Attributes:
        source: "gradients", "softmax", "shape", "position", "class", "probability" or "neighbours".
        statistic: the statistic of a gradient; "entropy", "margin" or "variation_ratio" of the softmax; "size" and
            others of the shape; "x" or "y"; the number of a class, or "edge" for the edge of the image.
        layer: the layer of a gradient, "uniform:head" for a pseudo-label other than "predicted"; else empty.
        where: "mean_all", "mean_inside", "mean_boundary", the same with "variance", "relative" or "relative_inside";
            empty for what is not a value of each pixel.
    """

    source: str
    statistic: str
    layer: str = ""
    where: str = ""

    def __str__(self) -> str:
        """Return the feature's name, such as "gradients/l2/head/mean_all" or "shape/size"."""
        return "/".join(part for part in self if part)


@dataclass(frozen=True, eq=False)
class SegmentFeatures:
    """Features of the S segments of N images.

    Attributes:
        values: [S, F] float64.
        axes: the feature of each column.
        image: [S] the number of the segment's image.
        images: N.
        prediction: [S] the segment's class.
        size: [S] the number of its pixels.
        adjusted_iou: [S] in [0, 1]; None without ground truth.
        mask: [N, H, W] the number of each pixel's segment; -1 in segments that were left out. None if the images differ
            in size.
    """

    values: NDArray[np.float64]
    axes: tuple[SegmentFeature, ...]
    image: NDArray[np.int64]
    images: int
    prediction: NDArray[np.int64]
    size: NDArray[np.int64]
    adjusted_iou: NDArray[np.float64] | None
    mask: NDArray[np.int64] | None

    def __len__(self) -> int:
        """Return the number of segments."""
        return len(self.values)

    def __repr__(self) -> str:
        """Return the numbers of segments, images and features."""
        truth = "no ground truth" if self.adjusted_iou is None else "with ground truth"
        return f"SegmentFeatures({len(self)} segments of {self.images} images, {len(self.axes)} features, {truth})"

    @property
    def names(self) -> list[str]:
        """The features' names."""
        return [str(feature) for feature in self.axes]

    @property
    def wrong(self) -> NDArray[np.bool_] | None:
        """Whether a segment hits nothing of its class (IoU = 0), [S]; None without ground truth."""
        return None if self.adjusted_iou is None else self.adjusted_iou == 0

    def select(self, keep: Callable[[str], bool]) -> SegmentFeatures:
        """Keep the features whose names meet a condition."""
        return self._columns([column for column, name in enumerate(self.names) if keep(name)])

    def without_gradients(self) -> SegmentFeatures:
        """Keep what the forward pass shows."""
        return self._columns([column for column, axis in enumerate(self.axes) if axis.source != GRADIENTS])

    def named(self, axes: tuple[SegmentFeature, ...]) -> SegmentFeatures:
        """Select these features, in this order.

        Raises:
            InputError: if one is missing.
        """
        if axes == self.axes:
            return self
        columns = {axis: column for column, axis in enumerate(self.axes)}
        missing = [axis for axis in axes if axis not in columns]
        if missing:
            raise InputError(
                f"{len(missing)} of {len(axes)} features are missing, the first is '{missing[0]}'; expected features "
                "of the same network, and of a PixelMeter with the same layers, pseudo-labels and biases, as in fit; a "
                "SegmentTrust of an earlier version that leaves out biases must be fitted again"
            )
        return self._columns([columns[axis] for axis in axes])

    def of_images(self, keep: ArrayLike) -> SegmentFeatures:
        """Keep the segments of some images, whose numbers do not change.

        Args:
            keep: [N] bool.

        Raises:
            InputError: if it is something else.
        """
        kept = np.asarray(keep)
        if kept.dtype != np.bool_ or kept.shape != (self.images,):
            raise InputError(f"keep has dtype {kept.dtype} and shape {kept.shape}; expected bool, ({self.images},)")
        return self.rows(kept[self.image])

    def rows(self, keep: NDArray[np.bool_]) -> SegmentFeatures:
        """Keep some segments [S] bool, which are numbered anew."""
        # The last entry is for -1.
        numbers = np.append(np.where(keep, np.cumsum(keep) - 1, -1), -1)
        return replace(
            self,
            values=self.values[keep],
            image=self.image[keep],
            prediction=self.prediction[keep],
            size=self.size[keep],
            adjusted_iou=None if self.adjusted_iou is None else self.adjusted_iou[keep],
            mask=None if self.mask is None else numbers[self.mask],
        )

    def on_pixels(self, values: ArrayLike) -> NDArray[np.float64]:
        """Return a value for each pixel, that of its segment; NaN in segments that were left out.

        Args:
            values: [S], for example P(hit).

        Returns:
            [N, H, W].

        Raises:
            InputError: if there is not one value for each segment, or the images differ in size.
        """
        numbers = np.asarray(values, np.float64)
        if numbers.shape != (len(self),):
            raise InputError(f"values have shape {numbers.shape}; expected ({len(self)},), one for each segment")
        if self.mask is None:
            raise InputError("the images differ in size; expected the features of one size")
        return np.append(numbers, np.nan)[self.mask]

    def image_hashes(self) -> NDArray[np.uint64]:
        """Hash what is known of each image's segments, [N]; equal images have equal hashes.

        The classes and sizes of the segments count, and the mean and the spread of the softmax over the image to four
        digits, so that rounding errors do not: they depend on the batch and the number of threads. Without features of
        the softmax, all values count.
        """
        hashes = np.empty(self.images, np.uint64)
        order = np.argsort(self.image, kind="stable")
        ends = np.searchsorted(self.image[order], np.arange(self.images + 1))
        layout = np.stack([self.prediction, self.size], axis=1).astype(np.int64)
        columns = [axis.source == SOFTMAX and axis.where in _HASHED for axis in self.axes]
        softmax = self.values[:, columns]
        for number in range(self.images):
            rows = order[ends[number] : ends[number + 1]]
            values = _rounded(self.size[rows] @ softmax[rows]) if any(columns) else self.values[rows]
            digest = hashlib.blake2b(layout[rows].tobytes(), digest_size=_HASH_BYTES)
            digest.update(np.ascontiguousarray(values).tobytes())
            hashes[number] = int.from_bytes(digest.digest(), "little")
        return hashes

    @classmethod
    def concatenate(cls, parts: Iterable[SegmentFeatures]) -> SegmentFeatures:
        """Join the features of several batches of images, in order; images and segments are numbered anew.

        Raises:
            InputError: if there are none, or if they differ in their features or only some have ground truth.
        """
        batches = list(parts)
        kinds = {(batch.axes, batch.adjusted_iou is None) for batch in batches}
        if len(kinds) != 1:
            raise InputError(
                f"cannot concatenate {len(batches)} batches of {len(kinds)} kinds; expected at least one, all of one "
                "network and one set of layers, and all with ground truth or none"
            )
        first = batches[0]
        image_offsets = np.cumsum([0, *(batch.images for batch in batches)])
        offsets = np.cumsum([0, *map(len, batches)])
        masks = [
            np.where(batch.mask < 0, -1, batch.mask + offset)
            for batch, offset in zip(batches, offsets, strict=False)
            if batch.mask is not None
        ]
        sizes = {mask.shape[1:] for mask in masks}
        ious = [batch.adjusted_iou for batch in batches if batch.adjusted_iou is not None]
        return cls(
            np.concatenate([batch.values for batch in batches]),
            first.axes,
            np.concatenate([batch.image + offset for batch, offset in zip(batches, image_offsets, strict=False)]),
            int(image_offsets[-1]),
            np.concatenate([batch.prediction for batch in batches]),
            np.concatenate([batch.size for batch in batches]),
            np.concatenate(ious) if ious else None,
            np.concatenate(masks) if len(masks) == len(batches) and len(sizes) == 1 else None,
        )

    def _columns(self, columns: list[int]) -> SegmentFeatures:
        return replace(self, values=self.values[:, columns], axes=tuple(self.axes[column] for column in columns))


def _rounded(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Round numbers to about four significant digits."""
    fractions, exponents = np.frexp(values)
    rounded: NDArray[np.float64] = np.ldexp(np.round(fractions * _STEPS) / _STEPS, exponents)
    return rounded
