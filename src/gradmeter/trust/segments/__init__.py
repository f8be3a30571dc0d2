"""Verdicts on the segments of a segmentation network: the connected components of its predicted classes."""

from gradmeter.trust.segments.extraction import segments
from gradmeter.trust.segments.features import SegmentFeature, SegmentFeatures
from gradmeter.trust.segments.model import SegmentTrust, SegmentVerdicts
from gradmeter.trust.segments.risk import SegmentGuarantee

__all__ = ["SegmentFeature", "SegmentFeatures", "SegmentGuarantee", "SegmentTrust", "SegmentVerdicts", "segments"]
