"""Detectors that pytorch-ood lacks. They have `fit` and `predict` as its detectors do; a high score is an unusual one.

All need the network from the embedding on only. Those that learn are fitted to batches (inputs, labels).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from gradmeter.reading.scores import entropy, max_softmax
from gradmeter.trust.evaluation.curves import area_under_risk_coverage

Batches = Iterable[tuple[Tensor, Tensor]]
Matrix = NDArray[np.float64]

_FOLDS = 5
_POWERS = tuple(range(1, 11))
_NEIGHBOUR = 10
_SOFTMAX = 0


@torch.no_grad()
def _outputs(module: nn.Module, inputs: Tensor) -> Matrix:
    outputs: Matrix = module(inputs).double().cpu().numpy()
    return outputs


def _read(module: nn.Module, batches: Batches) -> tuple[Matrix, NDArray[np.int64]]:
    """Return a module's outputs [n, D] and the labels [n]."""
    pairs = [(_outputs(module, inputs), labels.numpy()) for inputs, labels in batches]
    return np.concatenate([outputs for outputs, _ in pairs]), np.concatenate([labels for _, labels in pairs])


def _normalised(rows: Matrix) -> Matrix:
    # An embedding of zeros stays.
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True).clip(np.finfo(np.float64).tiny))


class PNormMaxLogit:
    """The largest centred logit over the p-norm of the centred logits (Cattelan and Silva 2024, MaxLogit-pNorm).

    `fit` chooses p by the AURC of the given images. If no p is better than the maximum softmax probability, it uses
    that, as the paper does.

    Args:
        network: maps inputs to logits.
    """

    requires_fit = True

    def __init__(self, network: nn.Module) -> None:
        self._network, self.power = network, _SOFTMAX

    def fit(self, batches: Batches) -> Self:
        """Choose p."""
        logits, labels = _read(self._network, batches)
        wrong = logits.argmax(axis=1) != labels
        # The first one of equal candidates is the softmax.
        self.power = min((_SOFTMAX, *_POWERS), key=lambda p: area_under_risk_coverage(_p_norm_score(logits, p), wrong))
        return self

    def predict(self, inputs: Tensor) -> Tensor:
        """Return scores [n]."""
        return torch.from_numpy(_p_norm_score(_outputs(self._network, inputs), self.power))


def _p_norm_score(logits: Matrix, power: int) -> Matrix:
    if power == _SOFTMAX:
        return -max_softmax(logits)
    centred = logits - logits.mean(axis=1, keepdims=True)
    norms = np.linalg.norm(centred, ord=power, axis=1).clip(np.finfo(np.float64).tiny)
    return np.asarray(-centred.max(axis=1) / norms)


class NormalisedKNN:
    """Distance to the tenth nearest neighbour among L2-normalised embeddings (Sun et al. 2022).

    Args:
        encoder: maps inputs to embeddings.
    """

    requires_fit = True

    def __init__(self, encoder: nn.Module) -> None:
        self._encoder = encoder

    def fit(self, batches: Batches) -> Self:
        """Store the embeddings."""
        embeddings, _ = _read(self._encoder, batches)
        self._neighbours = NearestNeighbors(n_neighbors=min(_NEIGHBOUR, len(embeddings))).fit(_normalised(embeddings))
        return self

    def predict(self, inputs: Tensor) -> Tensor:
        """Return distances [n]."""
        distances, _ = self._neighbours.kneighbors(_normalised(_outputs(self._encoder, inputs)))
        return torch.from_numpy(distances[:, -1])


class NormalisedMahalanobis:
    """Mahalanobis distance to the nearest class mean of L2-normalised embeddings (Müller and Hein 2025, Mahalanobis++).

    Args:
        encoder: maps inputs to embeddings.
    """

    requires_fit = True

    def __init__(self, encoder: nn.Module) -> None:
        self._encoder = encoder

    def fit(self, batches: Batches) -> Self:
        """Estimate class means and the covariance that the classes share."""
        embeddings, labels = _read(self._encoder, batches)
        embeddings = _normalised(embeddings)
        classes, members = np.unique(labels, return_inverse=True)
        means = np.stack([embeddings[members == number].mean(axis=0) for number in range(len(classes))])
        residuals = embeddings - means[members]
        # The pseudo-inverse, because the embedding may have constant dimensions.
        values, axes = np.linalg.eigh(residuals.T @ residuals / len(residuals))
        kept = values > values.max(initial=0.0) * len(values) * np.finfo(np.float64).eps
        self._whitening = axes[:, kept] / np.sqrt(values[kept])
        self._means = means @ self._whitening
        return self

    def predict(self, inputs: Tensor) -> Tensor:
        """Return distances [n]."""
        whitened = _normalised(_outputs(self._encoder, inputs)) @ self._whitening
        distances = np.linalg.norm(whitened[:, None] - self._means, axis=2)
        return torch.from_numpy(distances.min(axis=1))


class GradTrust:
    """GradTrust (Prabhushankar and AlRegib 2024), as their code computes it.

    The loss is the mean squared error of the logits z and 1 / C, whose gradient with respect to the last layer's
    weights is 2 / C (z_j - 1 / C) h_k for an embedding h. Trust is the largest variance over k of the squared
    gradients, divided by the mean of the variances over the classes j; h cancels.

    Args:
        network: maps inputs to logits.
    """

    requires_fit = False

    def __init__(self, network: nn.Module) -> None:
        self._network = network

    def predict(self, inputs: Tensor) -> Tensor:
        """Return the negated trust [n]."""
        logits = _outputs(self._network, inputs)
        energies = (logits - 1 / logits.shape[1]) ** 4
        return torch.from_numpy(-energies.max(axis=1) / energies.mean(axis=1).clip(np.finfo(np.float64).tiny))


def _regression(strength: float) -> Any:
    return make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=1000))


def _trees() -> Any:
    return HistGradientBoostingClassifier(max_iter=100, learning_rate=0.05, random_state=0)


_CANDIDATES: dict[str, Callable[[], Any]] = {
    **{f"logistic regression, C = {strength}": partial(_regression, strength) for strength in (0.001, 0.01, 0.1)},
    "boosted trees": _trees,
}


class MetaModel:
    """A meta model that predicts whether a prediction is wrong, in the manner of MetaModelSelect.

    Its features are the logits, also sorted, the maximum softmax probability, the entropy and the embedding. `fit`
    chooses between logistic regressions and boosted trees by the AURC of five folds. With fewer than five right or
    wrong predictions, it falls back to the maximum softmax probability.

    Args:
        encoder: maps inputs to embeddings.
        last: the last layer.
    """

    requires_fit = True

    def __init__(self, encoder: nn.Module, last: nn.Linear) -> None:
        self._encoder, self._last = encoder, last
        self.chosen: str | None = None

    def fit(self, batches: Batches) -> Self:
        """Choose a meta model and fit it."""
        pairs = list(batches)
        features = np.concatenate([self._features(inputs) for inputs, _ in pairs])
        labels = np.concatenate([labels.numpy() for _, labels in pairs])
        wrong = features[:, : self._last.out_features].argmax(axis=1) != labels
        self.chosen = None
        if _FOLDS <= wrong.sum() <= len(wrong) - _FOLDS:
            folds = StratifiedKFold(_FOLDS, shuffle=True, random_state=0)

            def quality(name: str) -> float:
                scores = cross_val_predict(_CANDIDATES[name](), features, wrong, cv=folds, method="predict_proba")
                return area_under_risk_coverage(scores[:, 1], wrong)

            self.chosen = min(_CANDIDATES, key=quality)
            self._model = _CANDIDATES[self.chosen]().fit(features, wrong)
        return self

    def predict(self, inputs: Tensor) -> Tensor:
        """Return P(wrong), or the negated maximum softmax probability, [n]."""
        features = self._features(inputs)
        if self.chosen is None:
            return torch.from_numpy(-max_softmax(features[:, : self._last.out_features]))
        return torch.from_numpy(self._model.predict_proba(features)[:, 1])

    def _features(self, inputs: Tensor) -> Matrix:
        with torch.no_grad():
            embedding = self._encoder(inputs)
            logits = self._last(embedding).double().numpy()
        scores = np.stack([max_softmax(logits), entropy(logits)], axis=1)
        return np.concatenate([logits, np.sort(logits, axis=1), scores, embedding.double().numpy()], axis=1)
