"""The groups of cases, in the order of the page."""

from __future__ import annotations

from gradmeter.research.gradient_gain.attacks import ATTACKS
from gradmeter.research.gradient_gain.corruptions import CORRUPTIONS
from gradmeter.research.gradient_gain.subjects import OVERFITTED, PAPER, PLAIN, REAL, TEXTS

ADVERSARIAL, CORRUPTED, FEW = "Adversarial inputs", "Corrupted images", "Few validation labels"
GROUPS = (REAL, PAPER, ADVERSARIAL, CORRUPTED, PLAIN, OVERFITTED, TEXTS, FEW)


def group_of(subject_group: str, case: str) -> str:
    """Return the group of a case of a subject that belongs to the given group."""
    if case.endswith(" labels"):
        return FEW
    if case in CORRUPTIONS:
        return CORRUPTED
    return ADVERSARIAL if case.replace(",", " ").split()[0] in ATTACKS else subject_group
