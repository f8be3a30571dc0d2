"""Meta classifiers: from the readings of a prediction to how likely it is wrong."""

from gradmeter.meta.features import Features
from gradmeter.meta.neural import neural_network
from gradmeter.meta.regressions import REGRESSIONS, elastic_net, glm, lasso, ridge

__all__ = ["REGRESSIONS", "Features", "elastic_net", "glm", "lasso", "neural_network", "ridge"]
