"""Display names of scores, concepts and measures, in the order of the tables and the report."""

from collections.abc import Iterable, Mapping

TRUST_MODEL = "gradmeter"
"""The score of a `TrustModel`, P(correct)."""

PAPER_METRICS = ("l1", "l2", "min", "max", "mean", "std", "skewness", "kurtosis")
"""The gradient statistics of the paper; meters may read others as well."""

MEASURES = {"auroc": "AUROC", "aupr_in": "AUPR-In", "aupr_out": "AUPR-Out"}

SCORES = {
    "softmax": "Softmax baseline",
    "entropy": "Entropy",
    "l1": "Absolute norm",
    "l2": "Euclidean norm",
    "min": "Minimum",
    "max": "Maximum",
    "std": "Standard deviation",
    "mean": "Mean",
    "skewness": "Skewness",
    "kurtosis": "Kurtosis",
    "glm": "GLM",
    "lasso": "LASSO",
    "ridge": "Ridge",
    "elastic_net": "Elastic net",
    "nn_a": "NN (a)",
    "nn_b": "NN (b)",
    "nn_c": "NN (c)",
    "nn_d": "NN (d)",
    "nn_normal": "NN (normal)",
    "lasso_a": "LASSO (a)",
    "lasso_b": "LASSO (b)",
    "lasso_c": "LASSO (c)",
    "lasso_d": "LASSO (d)",
    "lasso_normal": "LASSO (normal)",
    TRUST_MODEL: "gradmeter's judge",
}

CONCEPTS = {
    "wrong": "Wrongly classified",
    "letters": "Letters",
    "omniglot": "Omniglot",
    "notmnist": "notMNIST",
    "cifar10": "CIFAR-10",
    "normal": "Normal noise",
    "uniform": "Uniform noise",
    "all": "All unknown",
}

HOLDS, FAILS, UNTESTED = "holds", "does not hold", "not testable on this data"
"""The verdicts on claims."""


def in_order(keys: Iterable[str], names: Mapping[str, str]) -> list[str]:
    """Return the distinct keys in the order of `names`, then the keys that `names` lacks, in their own order."""
    distinct = list(dict.fromkeys(keys))
    return [key for key in names if key in distinct] + [key for key in distinct if key not in names]


def signed(points: float) -> str:
    """Format a difference with its sign and two decimals."""
    # Adding zero turns a negative zero, which would read "-0.00", into a positive one.
    return f"{round(points, 2) + 0.0:+.2f}"
