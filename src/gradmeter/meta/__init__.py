"""Meta classifiers: from the readings of a prediction to how likely it is wrong."""

from gradmeter.meta.features import Features
from gradmeter.meta.log_features import LogFeatures
from gradmeter.meta.neural import neural_network
from gradmeter.meta.regressions import REGRESSIONS, elastic_net, glm, lasso, ridge, ridge_cv

__all__ = [
    "REGRESSIONS",
    "Features",
    "LogFeatures",
    "elastic_net",
    "glm",
    "lasso",
    "neural_network",
    "ridge",
    "ridge_cv",
]
