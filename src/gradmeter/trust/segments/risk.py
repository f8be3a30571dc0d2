"""Choose a threshold on P(hit) such that, in the mean over images, few of the accepted segments are wrong.

Segments of an image are not independent: a dark image has many wrong ones. Images are. So each image counts once, with
its share of wrong segments among those that are accepted, a number in [0, 1]; images in which nothing is accepted do
not count. The hypothesis for a threshold is that the expected share is above the risk. Given that something is accepted
in m images, their shares L are independent draws. For any number b in [0, 1 / (1 - risk)], the product of
1 + b (risk - L) over the images is nonnegative, and under the hypothesis its expectation is at most 1; so is that of
the mean over several b. By Markov's inequality, 1 / mean is a valid p value for any distribution of L (testing by
betting: Waudby-Smith and Ramdas 2024, "Estimating means of bounded random variables by betting"). It does not depend on
the order of the images, and unlike a bound for binary losses it is small if the shares vary little.

Thresholds are tested in fixed sequences as in `gradmeter.trust.risk`; as there, if there are copies, each test is also
done with the distinct images, and once more with the images that the judge learned from and that recur.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from gradmeter.trust.risk import (
    SEQUENCES,
    Candidate,
    RiskNotControlled,
    advice,
    and_seen,
    in_sequences,
    of_copies,
    require_rates,
)

# Bets as shares of the largest possible one. The best for L in {0, 1} with mean r is 1 - r / risk.
_BETS = np.array([1, 3 / 4, 1 / 2, 1 / 4, 1 / 8])


@dataclass(frozen=True)
class SegmentGuarantee:
    """The guarantee that the expected share of wrong segments among the accepted ones of an image is at most `risk`.

    It holds with probability `confidence` over the draw of the calibration images, for independent images from the same
    distribution, among those in which a segment is accepted. It does not say that each image, or the sum over all
    segments, has at most this share.

    Attributes:
        threshold: smallest P(hit) that is accepted.
        risk: largest expected share of wrong segments among the accepted ones of an image.
        confidence: probability that the guarantee holds.
        coverage: share of the calibration segments that is accepted.
        wrong_share: mean over the calibration images, copies included, of the share of wrong ones among accepted
            segments.
        images: number of calibration images in which a segment is accepted.
        accepted: number of accepted calibration segments.
        wrong: number of wrong ones among them.
    """

    threshold: float
    risk: float
    confidence: float
    coverage: float
    wrong_share: float
    images: int
    accepted: int
    wrong: int


def p_values(shares: NDArray[np.float64], risk: float) -> NDArray[np.float64]:
    """P values of the hypotheses that the expectation of a column's entries is at least `risk`.

    Args:
        shares: [images, T] independent rows in [0, 1]; NaN where an image does not count.
        risk: between 0 and 1.

    Returns:
        [T]; 1 for columns without numbers.
    """
    bets = _BETS / (1 - risk)
    steps = np.nan_to_num(risk - shares, nan=0.0)
    with np.errstate(divide="ignore"):
        wealth = np.stack([np.log1p(np.maximum(bet * steps, -1.0)).sum(0) for bet in bets])
    p: NDArray[np.float64] = np.exp(np.minimum(0.0, math.log(len(bets)) - logsumexp(wealth, axis=0)))
    return p


def control_segment_risk(
    score: NDArray[np.float64],
    wrong: NDArray[np.bool_],
    image: NDArray[np.int64],
    risk: float,
    thresholds: Sequence[Candidate],
    *,
    contents: NDArray[np.uint64] | None = None,
    seen: NDArray[np.bool_] | None = None,
    confidence: float,
    coverage_tolerance: float,
) -> SegmentGuarantee:
    """Return the guarantee of the strictest threshold whose coverage is close to the largest possible.

    Args:
        score: [S] P(hit).
        wrong: [S] whether the segment hits nothing.
        image: [S] the number of each segment's image.
        risk: largest expected share of wrong segments among the accepted ones of an image.
        thresholds: candidates, highest first, chosen without these data; their coverage is the share of images in which
            a segment is accepted.
        contents: for each number of an image; equal ones for equal images. None if all differ.
        seen: for each number of an image, whether the judge learned from it. None if from none of them.
        confidence: probability that the guarantee holds.
        coverage_tolerance: share of the largest coverage that may be given up for a stricter threshold.

    Raises:
        RiskNotControlled: if no threshold can guarantee the risk.
        InputError: if a rate is outside its range.
    """
    require_rates(risk, confidence, coverage_tolerance=coverage_tolerance)
    delta = (1 - confidence) / SEQUENCES
    present, rows = np.unique(image, return_inverse=True)
    new = np.arange(present.size) if seen is None else np.flatnonzero(~seen[present])
    distinct = (
        new if contents is None else _distinct(contents[present], np.bincount(rows[wrong], minlength=present.size), new)
    )
    images = distinct.size
    needed = least_images(risk, delta)
    lowest = thresholds[-1] if thresholds else Candidate(math.inf, 0.0)
    best = np.full(present.size, -math.inf)
    np.maximum.at(best, rows, score)
    expected, reached = lowest.coverage * images, int((best[distinct] >= lowest.threshold).sum())
    if min(expected, reached) < needed:
        count = f"in {reached:,}" if reached < needed else f"by the data of fit, in about {expected:,.0f}"
        raise RiskNotControlled(
            f"{images:,} images cannot guarantee a risk of {risk:g} with confidence {confidence:g}: {count} of them a "
            f"segment reaches the smallest accepted P(hit); expected at least {needed:,}, without wrong ones: "
            f"{advice(reached, expected, 'images')}"
        )
    possible = (candidate for candidate in thresholds if candidate.coverage * images >= needed)
    levels = np.array([candidate.threshold for candidate in possible])
    errors, accepted = _counts(score, wrong, rows, levels)
    with np.errstate(invalid="ignore"):
        shares = errors / accepted
    tested = new, distinct, np.arange(present.size)
    guaranteed = in_sequences(np.all([p_values(shares[those], risk) <= delta for those in tested], axis=0))
    if not guaranteed.any():
        raise RiskNotControlled(
            f"no threshold can guarantee a risk of {risk:g} with confidence {confidence:g}: "
            f"{100 * np.mean(wrong):.2f} % of the {len(wrong):,} segments of {present.size:,} images are wrong, and "
            f"too many of those with the highest P(hit){of_copies(images, new.size, 'images')}"
            f"{and_seen(present.size - new.size, 'images')}; give more images, or a higher risk"
        )
    total = accepted[new].sum(0)
    enough = (1 - coverage_tolerance) * total[guaranteed].max()
    chosen = int(np.flatnonzero(guaranteed & (total >= enough))[0])
    return SegmentGuarantee(
        float(levels[chosen]),
        float(risk),
        float(confidence),
        float(total[chosen] / np.isin(rows, new).sum()),
        float(np.nanmean(shares[new, chosen])),
        int(np.count_nonzero(accepted[new, chosen])),
        int(total[chosen]),
        int(errors[new, chosen].sum()),
    )


def least_images(risk: float, delta: float) -> int:
    """Return the smallest number of images, none with a wrong segment, whose p value is at most `delta`."""
    bets = _BETS / (1 - risk)
    most = 1
    while p_values(np.zeros((most, 1)), risk)[0] > delta:
        most *= 2
    # The mean over bets grows with the number of images.
    numbers = np.arange(most // 2, most + 1)
    logs = logsumexp(np.outer(np.log1p(bets * risk), numbers), axis=0) - math.log(len(bets))
    return int(numbers[int(np.argmax(logs >= -math.log(delta)))])


def _distinct(contents: NDArray[np.uint64], errors: NDArray[np.intp], rows: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return one of the rows of each distinct image, the one with most wrong segments."""
    order = np.lexsort((-errors[rows], contents[rows]))
    _, first = np.unique(contents[rows][order], return_index=True)
    distinct: NDArray[np.intp] = rows[order[first]]
    return distinct


def _counts(
    score: NDArray[np.float64], wrong: NDArray[np.bool_], rows: NDArray[np.intp], levels: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the number of wrong and of all accepted segments for each image and level [images, T], highest first."""
    # The first level that accepts the segment; all lower ones do, too.
    first = np.searchsorted(-levels, -score)
    width = len(levels) + 1
    shape = (int(rows.max()) + 1, width)

    def counts(kept: NDArray[np.bool_]) -> NDArray[np.int64]:
        cells = np.bincount(rows[kept] * width + first[kept], minlength=shape[0] * width).reshape(shape)
        total: NDArray[np.int64] = np.cumsum(cells, axis=1)[:, :-1]
        return total

    return counts(wrong), counts(np.ones_like(wrong))
