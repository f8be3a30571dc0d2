"""Probes: scores that need further forward passes, with perturbed or mirrored inputs, or with dropout."""

from gradmeter.reading.probes.dropout import mc_dropout
from gradmeter.reading.probes.mirror import Mirror, wrong_log_odds
from gradmeter.reading.probes.odin import odin
from gradmeter.reading.probes.registry import PROBES, Probe, join_scores, named_probe, scores_of

__all__ = [
    "PROBES",
    "Mirror",
    "Probe",
    "join_scores",
    "mc_dropout",
    "named_probe",
    "odin",
    "scores_of",
    "wrong_log_odds",
]
