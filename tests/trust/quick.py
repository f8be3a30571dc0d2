"""Small fits of the default meta classifier, for tests of what others do with its verdicts, however good these are."""

import pytest

from gradmeter.trust import folds, known_head, reads, two_heads, unknown_head
from gradmeter.trust.features import OUTPUTS
from gradmeter.trust.synthetic import KINDS

KEPT = ("added noise", "shuffled quarters", "blend")


def fit_quickly(patch: pytest.MonkeyPatch) -> None:
    """Let fits take a tenth of the time.

    There are three kinds of synthetic unknowns, one regression for wrong ones, two folds instead of five, one penalty
    for each kind of unknown inputs, and few resamples where what to read is chosen.
    """
    for kind in KINDS.keys() - KEPT:
        patch.delitem(KINDS, kind)
    patch.setattr(two_heads, "_STRENGTHS", {OUTPUTS: (1e-1,)})
    for module in (folds, known_head, two_heads):
        patch.setattr(module, "FOLDS", 2)
    patch.setattr(two_heads.TwoHeads, "steps", 3)
    patch.setattr(known_head, "_TEMPERATURES", (1.0,))
    patch.setattr(known_head, "_NORMS", ())
    patch.setattr(unknown_head, "_LARGER_C", ())
    patch.setattr(reads, "_REPETITIONS", 20)
