"""Small fits of the default meta classifier, for tests of what others do with its verdicts, however good these are."""

import pytest

from gradmeter.trust import two_heads
from gradmeter.trust.features import OUTPUTS
from gradmeter.trust.synthetic import KINDS

KEPT = ("added noise", "shuffled quarters", "blend")


def fit_quickly(patch: pytest.MonkeyPatch) -> None:
    """Let fits take a third of the time: with three kinds of synthetic unknowns, and one regression for wrong ones."""
    for kind in KINDS.keys() - KEPT:
        patch.delitem(KINDS, kind)
    patch.setattr(two_heads, "_STRENGTHS", {OUTPUTS: (1e-1,)})
