"""Names of the methods on the page."""

from gradmeter.research.ood_benchmark.real.run import statement
from gradmeter.research.ood_benchmark.results import BASELINE
from gradmeter.research.ood_benchmark.run import OURS
from gradmeter.trust.meta_classifier import P_CORRECT_IF_KNOWN, P_KNOWN

IF_KNOWN = statement(OURS, P_CORRECT_IF_KNOWN)
KNOWN_ONLY = statement(OURS, P_KNOWN)
STATEMENTS = {OURS: "gradmeter, P(correct)", IF_KNOWN: "P(correct \\| known)", KNOWN_ONLY: "P(known)"}
"""The probabilities of the default judge, by method."""

_DETECTORS = {
    BASELINE: "softmax (MSP)",
    "pNormMaxLogit": "p-norm MaxLogit",
    "NormalisedKNN": "KNN, L2-normalised",
    "NormalisedMahalanobis": "Mahalanobis, L2-normalised",
    "MetaModel": "meta model",
}


def name_of(method: str) -> str:
    """Return the name of a method on the page."""
    return {**STATEMENTS, **_DETECTORS}.get(method, method)
