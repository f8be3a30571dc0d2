"""Which given labels are wrong: scores of labels, and P(right) by a noise model of the network."""

from gradmeter.trust.labels.check import LabelCheck, LabelVerdicts
from gradmeter.trust.labels.inputs import LabelReadings, read_labels
from gradmeter.trust.labels.scores import LabelScores, scores

__all__ = ["LabelCheck", "LabelReadings", "LabelScores", "LabelVerdicts", "read_labels", "scores"]
