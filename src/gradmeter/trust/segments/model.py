"""SegmentTrust: P(a segment hits), its expected IoU, and a decision with a bounded share of wrong segments."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from gradmeter.errors import GradmeterError, InputError
from gradmeter.trust.reads import GRADIENTS
from gradmeter.trust.risk import CONFIDENCE, COVERAGE_TOLERANCE, LEAST_PROBABILITY, Candidate, candidates, require_rates
from gradmeter.trust.segments import saving
from gradmeter.trust.segments.features import SegmentFeatures
from gradmeter.trust.segments.heads import answers, classification, regression
from gradmeter.trust.segments.risk import SegmentGuarantee, control_segment_risk
from gradmeter.trust.segments.saving import READS, Fitted
from gradmeter.trust.segments.varying import varying

# Share of the images that `fit` sets aside for the guarantee, if it has a risk.
_SET_ASIDE = 1 / 3
_SEED = 0


@dataclass(frozen=True, eq=False)
class SegmentVerdicts:
    """What a SegmentTrust says of S segments.

    Attributes:
        p_hit: [S] P(the adjusted IoU is above 0).
        iou: [S] the expected adjusted IoU, in [0, 1].
        accepted: [S] whether the segment is accepted under the guarantee; None if there is none.
    """

    p_hit: NDArray[np.float64]
    iou: NDArray[np.float64]
    accepted: NDArray[np.bool_] | None


class SegmentTrust:
    """Judge the segments of a network's predictions: whether they hit anything, and how well.

    Args:
        reads: "gradients" for all features, "forward" for those of the forward pass.
        risk: if given, `fit` sets a third of the images aside and calls `set_risk` with them.
        confidence: probability that the guarantee for `risk` holds.

    Attributes:
        fitted: what `fit` learned; None before it. Its `hit` and `iou` say which estimator was chosen, and the losses
            of all candidates on held-out images.
        guarantee: the guarantee of `set_risk`; None before it.

    Example:
        >>> trust = SegmentTrust().fit(segments(meter(images), masks, ignore=255) for images, masks in loader)
        >>> trust.set_risk(0.05, (segments(meter(images), masks, ignore=255) for images, masks in other_loader))
        >>> trust.predict(segments(meter(images))).accepted
    """

    def __init__(self, reads: str = GRADIENTS, risk: float | None = None, *, confidence: float = CONFIDENCE) -> None:
        if reads not in READS:
            raise InputError(f"reads={reads!r}; expected {' or '.join(map(repr, READS))}")
        if risk is not None:
            require_rates(risk, confidence)
        self.reads = reads
        self.risk = risk
        self.confidence = confidence
        self.fitted: Fitted | None = None
        self.guarantee: SegmentGuarantee | None = None

    def fit(self, features: SegmentFeatures | Iterable[SegmentFeatures]) -> Self:
        """Fit to segments with ground truth, of images that the network was not trained on.

        A logistic regression, with a penalty, or gradient-boosted trees are chosen by cross-validation over images;
        likewise for the regression of the IoU. Copies of an image (see `set_risk`) with the same truth
        count once.

        Args:
            features: features of all segments, or of several batches of images, such as a generator's.

        Raises:
            InputError: if there is no ground truth, or too few segments hit or miss.
            RiskNotControlled: if there is a risk, and no threshold can guarantee it.
        """
        given, iou = _with_truth(features)
        if self.risk is None:
            self.fitted, self.guarantee = self._fit(given, iou), None
            return self
        # Copies of an image stay together; those that the fit learns from are the only data about images that recur.
        contents = given.image_hashes()
        distinct, copy_of, copies = np.unique(contents, return_inverse=True, return_counts=True)
        aside = np.random.default_rng(_SEED).permutation(distinct)[: round(len(distinct) * _SET_ASIDE)]
        is_aside = np.isin(contents, aside)
        learned, proof = ~is_aside[given.image], (is_aside | (copies[copy_of] > 1))[given.image]
        previous = self.fitted, self.guarantee
        try:
            self.fitted, self.guarantee = self._fit(given.rows(learned), iou[learned]), None
            self.set_risk(self.risk, given.rows(proof), confidence=self.confidence, recurring=True)
        except GradmeterError:
            self.fitted, self.guarantee = previous
            raise
        return self

    def _fit(self, given: SegmentFeatures, iou: NDArray[np.float64]) -> Fitted:
        used = given if self.reads == GRADIENTS else given.without_gradients()
        used = used.named(tuple(axis for axis, varies in zip(used.axes, varying(used), strict=True) if varies))
        contents = used.image_hashes()
        once = _once(contents, used.image, iou)
        used, iou = used.rows(once), iou[once]
        # Copies with other truths stay together in the folds.
        present, rows = np.unique(used.image, return_inverse=True)
        learned, first, copy_of = np.unique(contents[present], return_index=True, return_inverse=True)
        image = present[first[copy_of]][rows]
        hit = classification(used.values, iou > 0, image, used.axes)
        return Fitted(used.axes, hit, regression(used.values, iou, image, used.axes), image, learned)

    def predict(self, features: SegmentFeatures) -> SegmentVerdicts:
        """Judge segments of the same network, which is not checked; more features than `fit` used are allowed.

        Raises:
            InputError: if features are missing.
            GradmeterError: before `fit`.
        """
        fitted, guarantee = self._fitted(), self.guarantee
        values = fitted.features(_features(features)).values
        if not len(values):
            nothing = np.empty(0)
            return SegmentVerdicts(nothing, nothing, None if guarantee is None else np.empty(0, np.bool_))
        p_hit = answers(fitted.hit.estimator, values, "predict_proba")
        iou = answers(fitted.iou.estimator, values, "predict")
        return SegmentVerdicts(p_hit, iou, None if guarantee is None else p_hit >= guarantee.threshold)

    def set_risk(
        self,
        risk: float,
        features: SegmentFeatures | Iterable[SegmentFeatures],
        *,
        confidence: float = CONFIDENCE,
        least_probability: float = LEAST_PROBABILITY,
        coverage_tolerance: float = COVERAGE_TOLERANCE,
        recurring: bool = False,
    ) -> SegmentGuarantee:
        """Choose a threshold such that in the mean over images at most the share `risk` of accepted segments is wrong.

        See `SegmentGuarantee` for what is guaranteed. The images must be independent draws, which the frames of one
        video are not. Images on which the network answers alike, such as empty tiles, are taken for copies: with
        copies, the guarantee must hold for all images and with each distinct one counted once.

        Where images recur, some are copies of images that `fit` has seen, and the guarantee must hold with them, too.
        With `recurring=True` it is tested with and without them.

        Args:
            risk: largest expected share of wrong segments (IoU = 0) among the accepted ones of an image.
            features: segments with ground truth, of images that neither the network nor `fit` has seen.
            confidence: probability that the guarantee holds.
            least_probability: smallest P(hit) that is accepted.
            coverage_tolerance: share of the largest coverage that may be given up for a stricter threshold.
            recurring: whether there may be images that `fit` has seen, because images recur. They must be drawn
                independently of those of `fit`.

        Returns:
            The guarantee and its coverage, which count images that `fit` has not seen.

        Raises:
            RiskNotControlled: if no threshold can guarantee the risk.
            InputError: if `fit` has seen an image and `recurring` is False, or there is no ground truth.
            GradmeterError: before `fit`.
        """
        fitted = self._fitted()
        require_rates(risk, confidence, least_probability, coverage_tolerance)
        given, iou = _with_truth(features)
        contents = fitted.features(given).image_hashes()
        present = np.unique(given.image)
        if not len(present):
            raise InputError(
                f"no segment of these {len(contents):,} images has ground truth; expected images with some"
            )
        seen = np.isin(contents, fitted.learned_images)
        if (count := int(seen[present].sum())) and not recurring:
            raise InputError(
                f"fit has seen {count:,} of these {len(present):,} images, or ones on which the network answers alike; "
                "expected new images; or, if images recur, as empty tiles do, give recurring=True and images that were "
                "drawn independently of those of fit"
            )
        self.guarantee = control_segment_risk(
            self.predict(given).p_hit,
            iou == 0,
            given.image,
            risk,
            _thresholds(fitted, least_probability),
            contents=contents,
            seen=seen,
            confidence=confidence,
            coverage_tolerance=coverage_tolerance,
        )
        return self.guarantee

    def save(self, folder: Path | str) -> None:
        """Save to a folder atomically, as JSON and a skops file; nothing is pickled.

        Raises:
            OutputError: if the folder holds something else, or cannot be written.
            GradmeterError: before `fit`.
        """
        saving.save(Path(folder), self.reads, self._fitted(), self.guarantee)

    @classmethod
    def load(cls, folder: Path | str, *, trusted: Sequence[str] = ()) -> SegmentTrust:
        """Load a saved SegmentTrust.

        Args:
            folder: the folder that `save` wrote.
            trusted: full names of further types that the estimators may contain, beyond scikit-learn's and gradmeter's.

        Raises:
            DataError: if the folder is incomplete, was changed, or contains types that are not trusted.
        """
        reads, fitted, guarantee = saving.load(Path(folder), trusted)
        trust = cls(reads)
        trust.fitted, trust.guarantee = fitted, guarantee
        return trust

    def _fitted(self) -> Fitted:
        if self.fitted is None:
            raise GradmeterError("the SegmentTrust is not fitted; call fit(features) first")
        return self.fitted


def _features(features: object) -> SegmentFeatures:
    if not isinstance(features, SegmentFeatures):
        raise InputError(f"features are a {type(features).__name__}; expected SegmentFeatures, those of segments()")
    return features


def _with_truth(features: SegmentFeatures | Iterable[SegmentFeatures]) -> tuple[SegmentFeatures, NDArray[np.float64]]:
    joined = features if isinstance(features, SegmentFeatures) else _joined(features)
    if joined.adjusted_iou is None:
        raise InputError("the segments have no ground truth; expected segments(readings, ground_truth)")
    return joined, joined.adjusted_iou


def _joined(parts: object) -> SegmentFeatures:
    if not isinstance(parts, Iterable):
        return _features(parts)
    batches = [*map(_features, parts)]
    if not batches:
        raise InputError("there are no features; expected those of at least one batch: a generator can be read once")
    return SegmentFeatures.concatenate(batches)


def _once(contents: NDArray[np.uint64], image: NDArray[np.int64], iou: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which segments are those of the first copy of an image with the same truth, [S].

    Args:
        contents: [N] hashes of all images.
        image: [S] the image of each segment.
        iou: [S] adjusted IoU.
    """
    order = np.argsort(image, kind="stable")
    present, starts = np.unique(image[order], return_index=True)
    first = dict[tuple[int, bytes], int]()
    for number, truth in zip(present.tolist(), np.split(iou[order], starts[1:]), strict=True):
        first.setdefault((int(contents[number]), truth.tobytes()), number)
    return np.isin(image, [*first.values()])


def _thresholds(fitted: Fitted, least: float) -> list[Candidate]:
    """Candidates from held-out P(hit), with the share of the training images in which they accept a segment."""
    _, rows = np.unique(fitted.image, return_inverse=True)
    best = np.zeros(int(rows.max()) + 1)
    np.maximum.at(best, rows, fitted.hit.held_out)
    levels = [candidate.threshold for candidate in candidates(fitted.hit.held_out, least)]
    return [Candidate(level, float(np.mean(best >= level))) for level in levels]
