"""How much of the ground truth each segment covers: the adjusted intersection over union of MetaSeg."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gradmeter.trust.segments.components import Components


def adjusted_iou(segments: Components, truth: NDArray[np.int64], valid: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the adjusted IoU of each segment (Rottmann et al. 2020, arXiv 1811.00648, Sec. 3).

    Let K' be the ground-truth segments of the same class that a segment k intersects, and Q the other predicted
    segments of that class. The adjusted IoU is |k & K'| / |k | (K' - Q)|: what other segments cover of K' is not
    missing.

    Args:
        segments: the predicted segments of an image.
        truth: [H, W] the true classes.
        valid: [H, W] whether the true class is known; other pixels do not count.

    Returns:
        [S] in [0, 1]; NaN for segments without a valid pixel.
    """
    predicted = segments.classes[segments.mask]
    objects = Components.of(np.where(valid, truth, -1))
    hits = valid & (predicted == truth)
    count, known = len(objects.sizes), len(segments.sizes)
    # What the network predicts nowhere in an object, no segment of its class covers.
    missed = objects.sizes - np.bincount(objects.mask[hits], minlength=count)
    pairs, shared = np.unique(segments.mask[hits] * max(count, 1) + objects.mask[hits], return_counts=True)
    owner, hit = np.divmod(pairs, max(count, 1))
    both = np.bincount(owner, weights=shared, minlength=known)
    missing = np.bincount(owner, weights=missed[hit], minlength=known)
    sizes = np.bincount(segments.mask[valid], minlength=known)
    with np.errstate(invalid="ignore"):
        ratios: NDArray[np.float64] = both / (sizes + missing)
    return ratios
