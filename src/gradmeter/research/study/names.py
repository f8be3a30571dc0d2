"""What the tables and the report call scores, concepts and measures, in the order in which they list them, and
how they write a difference.
"""

from collections.abc import Iterable, Mapping

OWN = "gradmeter"
"""The score of gradmeter's own judge, P(correct)."""

PAPER_METRICS = ("l1", "l2", "min", "max", "mean", "std", "skewness", "kurtosis")
"""The statistics of gradients that the paper takes, whatever else meters read."""

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
    OWN: "gradmeter's judge",
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


def in_order(keys: Iterable[str], names: Mapping[str, str]) -> list[str]:
    """Return the distinct keys in the order of names; those that names lacks follow as they come."""
    given = list(dict.fromkeys(keys))
    return [key for key in names if key in given] + [key for key in given if key not in names]


def signed(points: float) -> str:
    """Return a difference with its sign and two decimals."""
    # Adding zero turns a negative zero, which would read "-0.00", into a positive one.
    return f"{round(points, 2) + 0.0:+.2f}"
