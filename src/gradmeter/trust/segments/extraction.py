"""From the readings of every pixel to features of every segment (MetaSeg: Rottmann et al. 2020, arXiv 1811.00648)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from gradmeter.errors import InputError, warn
from gradmeter.reading.pixels import PixelReadings
from gradmeter.reading.pixels.scores import PREDICTED
from gradmeter.trust.segments.components import Components
from gradmeter.trust.segments.dispersions import softmax_maps
from gradmeter.trust.segments.features import (
    CLASS,
    GRADIENTS,
    NEIGHBOURS,
    POSITION,
    PROBABILITY,
    SHAPE,
    SOFTMAX,
    SegmentFeature,
    SegmentFeatures,
)
from gradmeter.trust.segments.overlap import adjusted_iou

Values = NDArray[np.float64]

_DISPERSIONS = ("entropy", "margin", "variation_ratio")
# A variance below this share of the squared mean is 0: it is of rounding errors of the network, in float32, which
# depend on the batch.
_ROUNDING = 1e-13
_SIZES = ("size", "size_inside", "size_boundary", "size_relative", "size_relative_inside")
_EDGE = "edge"
# The class of pixels without a label in Cityscapes, PASCAL VOC and many other data sets.
_VOID = 255
_WHERE = (
    *("mean_all", "mean_inside", "mean_boundary"),
    *("variance_all", "variance_inside", "variance_boundary"),
    *("relative", "relative_inside"),
)


def segments(
    readings: PixelReadings, ground_truth: Tensor | None = None, ignore: int | None = None, gradients: bool = True
) -> SegmentFeatures:
    """Return the features of the segments of N images: the connected components of the predicted classes.

    Pixels that touch at a corner are connected. A pixel lies at the boundary of its segment if one of its up to eight
    neighbours belongs to another segment, else inside. The features are

    - gradients, softmax: of each statistic of each layer's gradient, and of the softmax's entropy, margin (1 minus the
      difference of the two largest probabilities) and variation ratio (1 minus the largest), mean and variance over the
      segment, its inside and its boundary; relative: the mean times size / boundary size, and the mean of the inside
      times inside size / boundary size. Without an inside, all its numbers are 0.
    - shape: the sizes of the segment, its inside and its boundary in pixels, and the two ratios.
    - position: the centre, from 0 to 1.
    - class: 1 for the predicted class, else 0. probability: the mean of each class's probability. neighbours: the share
      of its contour with each class, and with the edge of the image.

    MetaSeg has no gradients, variances, positions and neighbours. Its program removes ignored pixels from the
    prediction; here, the ground truth never changes a segment or its features.

    Args:
        readings: of N images.
        ground_truth: [N, H, W] true classes, int64; classes that the network does not know are allowed.
        ignore: the class of pixels that are not labelled. They do not count in the adjusted IoU, and a segment that has
            no other pixels is left out.
        gradients: whether to read gradients.

    Raises:
        InputError: if an argument has another type, the ground truth does not have the predictions' shape or is not of
            integers, or readings are not finite.
    """
    if not isinstance(readings, PixelReadings):
        raise InputError(f"readings are a {type(readings).__name__}; expected PixelReadings, those of a PixelMeter")
    if ignore is not None and (not isinstance(ignore, int) or isinstance(ignore, bool)):
        raise InputError(f"ignore={ignore!r}; expected a class, an integer, or None")
    truth = _checked(ground_truth, readings, ignore)
    predictions = readings.predictions.cpu().numpy()
    axes = _axes(readings, gradients)
    # What is not finite is reported below.
    with np.errstate(invalid="ignore", over="ignore"):
        parts = [
            _of_image(readings, number, prediction, None if truth is None else truth[number], ignore, axes, gradients)
            for number, prediction in enumerate(predictions)
        ]
    joined = SegmentFeatures.concatenate(parts)
    finite = np.isfinite(joined.values).all(0)
    if not finite.all():
        raise InputError(f"'{axes[int(np.argmin(finite))]}' is not finite for some segments; expected finite readings")
    return joined if joined.adjusted_iou is None else joined.rows(~np.isnan(joined.adjusted_iou))


def _checked(ground_truth: Tensor | None, readings: PixelReadings, ignore: int | None) -> NDArray[np.int64] | None:
    if ground_truth is None:
        if ignore is not None:
            raise InputError(f"ignore={ignore} without ground_truth; expected both, or ignore=None")
        return None
    expected = tuple(readings.log_scale.shape)
    if not isinstance(ground_truth, Tensor) or ground_truth.is_floating_point() or ground_truth.is_complex():
        given = ground_truth.dtype if isinstance(ground_truth, Tensor) else type(ground_truth).__name__
        raise InputError(f"ground_truth is of {given}; expected a tensor of integers of shape {expected}")
    if tuple(ground_truth.shape) != expected:
        raise InputError(
            f"ground_truth has shape {tuple(ground_truth.shape)}; expected {expected}, that of the predictions: resize "
            "it, or read with PixelMeter(model, size='input')"
        )
    truth: NDArray[np.int64] = ground_truth.long().cpu().numpy()
    if (negative := truth[truth < 0]).size and not (negative == ignore).all():
        value = int(negative[negative != ignore][0])
        raise InputError(f"ground_truth contains {value}; expected classes from 0, or ignore={value} if it has none")
    if ignore is None and readings.logits.shape[1] <= _VOID and (truth == _VOID).any():
        warn(
            f"ground_truth contains {_VOID}, which is no class of the network and counts as one that it does not know; "
            f"give ignore={_VOID} if such pixels have no label, and divide masks of 0 and {_VOID} by {_VOID}"
        )
    return truth


def _axes(readings: PixelReadings, gradients: bool) -> tuple[SegmentFeature, ...]:
    classes = [str(label) for label in range(max(2, readings.logits.shape[1]))]
    axes = [SegmentFeature(SOFTMAX, name, "", where) for name in _DISPERSIONS for where in _WHERE]
    axes += [SegmentFeature(SHAPE, name) for name in _SIZES]
    axes += [SegmentFeature(POSITION, name) for name in ("y", "x")]
    axes += [SegmentFeature(CLASS, label) for label in classes]
    axes += [SegmentFeature(PROBABILITY, label) for label in classes]
    axes += [SegmentFeature(NEIGHBOURS, label) for label in (*classes, _EDGE)]
    if gradients:
        axes += [
            SegmentFeature(GRADIENTS, metric, f"{prefix}{layer}", where)
            for prefix, part in _parts(readings)
            for layer in part.layers
            for metric in part.metrics
            for where in _WHERE
        ]
    return tuple(axes)


def _parts(readings: PixelReadings) -> Iterator[tuple[str, PixelReadings]]:
    """The readings for each pseudo-label, and the prefix of its layers, empty for a meter's defaults."""
    biases = "" if readings.biases else "without biases:"
    for name in readings.pseudo_labels:
        yield biases + ("" if name == PREDICTED else f"{name}:"), readings.for_pseudo_label(name)


def _of_image(
    readings: PixelReadings,
    number: int,
    prediction: NDArray[np.int64],
    truth: NDArray[np.int64] | None,
    ignore: int | None,
    axes: tuple[SegmentFeature, ...],
    gradients: bool,
) -> SegmentFeatures:
    found = Components.of(prediction)
    logits = readings.logits[number].detach().double().cpu().numpy().reshape(readings.logits.shape[1], -1)
    if len(logits) == 1:
        logits = np.concatenate([np.zeros_like(logits), logits])
    zones = _Zones(found)
    probabilities, softmax = softmax_maps(logits)
    maps = np.stack([softmax[name] for name in _DISPERSIONS], axis=1)
    blocks = [zones.features(maps), zones.shape(), zones.position()]
    blocks.append(np.eye(len(logits))[found.classes])
    blocks.append(zones.means(probabilities.T))
    blocks.append(found.contacts(len(logits)))
    if gradients:
        for _, part in _parts(readings):
            values = part.values[number].detach().double().cpu().numpy()
            blocks.append(zones.features(np.ascontiguousarray(values.reshape(-1, prediction.size).T)))
    iou = None
    if truth is not None:
        iou = adjusted_iou(found, truth, np.ones(truth.shape, np.bool_) if ignore is None else truth != ignore)
    values = np.concatenate(blocks, axis=1)
    image = np.zeros(len(values), np.int64)
    return SegmentFeatures(values, axes, image, 1, found.classes, found.sizes, iou, found.mask[None])


class _Zones:
    """The inside and the boundary of every segment of an image, and sums over them."""

    def __init__(self, found: Components) -> None:
        self._found, count = found, len(found.sizes)
        # Zone 2 k is the inside of segment k, zone 2 k + 1 its boundary.
        self._zone = (2 * found.mask + found.boundary()).ravel()
        pixels = len(self._zone)
        rows = (np.ones(pixels), self._zone, np.arange(pixels + 1))
        self._members = sparse.csr_array(rows, shape=(pixels, 2 * count)).T.tocsr()
        sizes = np.bincount(self._zone, minlength=2 * count).reshape(count, 2)
        self.inside, self.boundary = sizes[:, :1], sizes[:, 1:]

    def means(self, values: Values) -> Values:
        """Means over segments [S, k] of values of pixels [P, k]."""
        sums = (self._members @ values).reshape(len(self.inside), 2, -1)
        means: Values = sums.sum(1) / (self.inside + self.boundary)
        return means

    def features(self, values: Values) -> Values:
        """Features [S, k * 8] of values of pixels [P, k], in the order of `_WHERE` for each."""
        sizes = np.concatenate([self.inside, self.boundary], axis=1)[:, :, None]
        sums = (self._members @ values).reshape(len(sizes), 2, -1)
        means = sums / np.maximum(sizes, 1)
        deviations = values - means.reshape(-1, values.shape[1])[self._zone]
        deviations *= deviations
        squares = (self._members @ deviations).reshape(means.shape)
        variances = _without_rounding(squares / np.maximum(sizes, 1), means)
        whole = sizes.sum(1)
        mean = sums.sum(1) / whole
        # The variance of a union of two sets: within them, and between their means.
        between = (sizes * (means - mean[:, None]) ** 2).sum(1)
        variance = _without_rounding((squares.sum(1) + between) / whole, mean)
        rim = np.maximum(self.boundary, 1)
        columns = [mean, means[:, 0], means[:, 1], variance, variances[:, 0], variances[:, 1]]
        columns += [mean * whole / rim, means[:, 0] * self.inside / rim]
        return np.stack(columns, axis=2).reshape(len(sizes), -1)

    def shape(self) -> Values:
        """Sizes [S, 5] in the order of `_SIZES`; the boundary of a segment that fills the image counts as one pixel."""
        whole, rim = self.inside + self.boundary, np.maximum(self.boundary, 1)
        return np.concatenate([whole, self.inside, self.boundary, whole / rim, self.inside / rim], axis=1)

    def position(self) -> Values:
        """The centre of each segment, [S, 2] for y and x."""
        height, width = self._found.mask.shape
        y, x = np.divmod(np.arange(height * width), width)
        return self.means(np.stack([(y + 0.5) / height, (x + 0.5) / width], axis=1))


def _without_rounding(variances: Values, means: Values) -> Values:
    return np.where(variances > _ROUNDING * means**2, variances, 0.0)
