"""Which given labels are wrong: scores of labels, and P(right) learned from labels that are corrupted on purpose."""

from gradmeter.trust.labels.check import LabelCheck, LabelVerdicts
from gradmeter.trust.labels.inputs import LabelReadings, read_labels
from gradmeter.trust.labels.scores import LabelScores, scores

__all__ = ["LabelCheck", "LabelReadings", "LabelScores", "LabelVerdicts", "read_labels", "scores"]
