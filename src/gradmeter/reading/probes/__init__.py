"""Probes: scores that need further forward passes, with perturbed inputs or with dropout."""

from gradmeter.reading.probes.dropout import mc_dropout
from gradmeter.reading.probes.odin import odin
from gradmeter.reading.probes.registry import PROBES, Probe, named_probe

__all__ = ["PROBES", "Probe", "mc_dropout", "named_probe", "odin"]
