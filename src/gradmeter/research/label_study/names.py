"""The names of scores and of sets of planted errors in tables."""

from __future__ import annotations

COMBINED, FORWARD = "P(label is right)", "P(label is right), no gradients"
"""The combination, with and without gradients."""

CONFIDENT = "confident learning"

SINGLE = {
    "self_confidence": "1 - p(given)",
    "margin": "margin",
    "el2n": "EL2N",
    "grand_last": "GraNd, last layer",
    "grand": "GraNd, whole",
    "all/l1": "gradient, l1",
    "all/max": "gradient, max",
    "all/kurtosis": "gradient, kurtosis",
    "knn": "kNN agreement",
    "centre": "class centres",
}
"""The single scores by their name in `gradmeter.trust.labels`. 1 - p(given) and the margin rank as cleanlab's
self-confidence and normalised margin do."""


def set_title(kind: str, rate: float) -> str:
    """Return the name of a set of planted errors."""
    return f"{kind}, {100 * rate:.0f} %"
