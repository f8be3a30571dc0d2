"""The paper's neural meta classifier: 15 ReLU units and two outputs, trained like the paper's CNNs.

Many networks are trained in parallel in one batched module: for each of several training sets several initialisations,
which get the same batches. The total loss is the sum of their losses, so each network learns as it would alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import Tags
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from gradmeter.errors import InputError
from gradmeter.trust.plateau import Plateau

HIDDEN = 15
_BATCH = 256
_MOMENTUM = 0.9
# The paper's L2 regularisation of 1e-3 on kernels, as Keras defines it: the penalty 1e-3 w^2 has the derivative 2e-3 w.
_WEIGHT_DECAY = 2e-3
_HELD_OUT = 0.2
_PATIENCE = 5
_MAX_EPOCHS = 100


@dataclass(frozen=True)
class MetaData:
    """A training set.

    Attributes:
        features: [n, F].
        targets: [n] 1 = wrong or unknown.
        used: [F] whether a feature may be used.
    """

    features: np.ndarray
    targets: np.ndarray
    used: np.ndarray


@dataclass(frozen=True)
class NetworkBank:
    """D x S small networks: S initialisations for each of D training sets.

    Attributes:
        mean: [D, F] mean of the training features.
        scale: [D, F] 1 / standard deviation; 0 for features that are not used.
        hidden: [D, F, S, 15] kernel of the hidden layer.
        hidden_bias: [D, S, 15].
        output: [D, S, 15, 2] kernel of the output layer.
        output_bias: [D, S, 2].
        epochs: [D, S] number of epochs until each network stopped.
    """

    mean: Tensor
    scale: Tensor
    hidden: Tensor
    hidden_bias: Tensor
    output: Tensor
    output_bias: Tensor
    epochs: Tensor

    def scores(self, index: int, features: np.ndarray) -> np.ndarray:
        """Return the log odds of "wrong or unknown" [S, n] float64 by the networks of one training set.

        Args:
            index: of the training set.
            features: [n, F].
        """
        x = (torch.from_numpy(features) - self.mean[index]) * self.scale[index]
        bank = (self.hidden, self.hidden_bias, self.output, self.output_bias)
        logits = _forward(x.unsqueeze(0), [p[index : index + 1].double() for p in bank])[0]
        odds: np.ndarray = (logits[..., 1] - logits[..., 0]).T.numpy()
        return odds

    def tensors(self) -> dict[str, Tensor]:
        """Return all tensors by name."""
        return {name: value.contiguous() for name, value in vars(self).items()}


@contextmanager
def _training() -> Iterator[None]:
    """Train with gradients and without autocast, whatever the caller's mode is."""
    with torch.inference_mode(False), torch.enable_grad(), torch.autocast("cpu", enabled=False):
        yield


@_training()
def train_networks(
    data: Sequence[MetaData],
    initialisations: int,
    seed: int,
    *,
    on_epoch: Callable[[int, int], None] = lambda epoch, training: None,
) -> NetworkBank:
    """Train D x S networks in parallel.

    A fifth of each training set is held out for the learning rate schedule. The largest set determines the number of
    batches in an epoch; smaller sets are repeated.

    Args:
        data: D training sets with the same features.
        initialisations: S.
        seed: of the splits, the initial weights and the order of the batches.
        on_epoch: called after each epoch with its number and the number of networks that have not stopped.

    Raises:
        InputError: if a training set has a single class, or features that are not finite.
    """
    for position, item in enumerate(data):
        if len(np.unique(item.targets)) < 2:
            raise InputError(f"training set {position} has a single class; expected right and wrong predictions")
        if not np.isfinite(item.features).all():
            raise InputError(f"training set {position} has features that are not finite; expected finite numbers")
    sets, width = len(data), data[0].features.shape[1]
    generator = torch.Generator().manual_seed(seed)
    mean = torch.stack([torch.from_numpy(item.features.mean(0)) for item in data])
    deviation = torch.stack([torch.from_numpy(item.features.std(0)) for item in data])
    used = torch.stack([torch.from_numpy(item.used) for item in data]) & (deviation > 0)
    scale = torch.where(used, 1 / deviation, 0.0)

    features = [((torch.from_numpy(item.features) - mean[d]) * scale[d]).float() for d, item in enumerate(data)]
    targets = [torch.from_numpy(item.targets.astype(np.int64)) for item in data]
    orders = [torch.randperm(len(y), generator=generator) for y in targets]
    held_out = [order[: max(1, round(len(order) * _HELD_OUT))] for order in orders]
    learned = [order[len(out) :] for order, out in zip(orders, held_out, strict=True)]

    parameters = _initial(sets, width, initialisations, generator)
    momenta = [torch.zeros_like(p) for p in parameters]
    plateau = Plateau.start(sets * initialisations, _PATIENCE)
    epochs = torch.zeros(sets * initialisations, dtype=torch.int64)
    steps = max(-(-len(rows) // _BATCH) for rows in learned)
    for epoch in range(1, _MAX_EPOCHS + 1):
        epochs += plateau.rate > 0
        batches = torch.stack([_epoch_rows(rows, steps * _BATCH, generator) for rows in learned])
        rates = plateau.rate.float().reshape(sets, initialisations)
        for rows in batches.split(_BATCH, dim=1):
            x = torch.stack([features[d][rows[d]] for d in range(sets)])
            y = torch.stack([targets[d][rows[d]] for d in range(sets)])
            _descend(x, y, parameters, momenta, rates)
        accuracies = [_accuracy(d, features[d][held_out[d]], targets[d][held_out[d]], parameters) for d in range(sets)]
        plateau.step(torch.cat(accuracies))
        on_epoch(epoch, int((plateau.rate > 0).sum()))
        if plateau.finished:
            break
    hidden, hidden_bias, output, output_bias = (p.detach() for p in parameters)
    return NetworkBank(mean, scale, hidden, hidden_bias, output, output_bias, epochs.reshape(sets, initialisations))


def _initial(sets: int, width: int, initialisations: int, generator: torch.Generator) -> list[Tensor]:
    """Return Glorot uniform kernels and zero biases, the defaults of Keras' dense layers."""

    def glorot(shape: tuple[int, ...], fan_in: int, fan_out: int) -> Tensor:
        bound = (6 / (fan_in + fan_out)) ** 0.5
        return torch.empty(shape, dtype=torch.float32).uniform_(-bound, bound, generator=generator).requires_grad_()

    return [
        glorot((sets, width, initialisations, HIDDEN), width, HIDDEN),
        torch.zeros(sets, initialisations, HIDDEN, dtype=torch.float32, requires_grad=True),
        glorot((sets, initialisations, HIDDEN, 2), HIDDEN, 2),
        torch.zeros(sets, initialisations, 2, dtype=torch.float32, requires_grad=True),
    ]


def _forward(x: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    """Return logits [D, n, S, 2] of features [D, n, F]; the initialisations of a set share one matrix product."""
    hidden, hidden_bias, output, output_bias = parameters
    units = (x @ hidden.flatten(2)).unflatten(2, hidden.shape[2:]) + hidden_bias.unsqueeze(1)
    return torch.einsum("dnsh,dshc->dnsc", F.relu(units), output) + output_bias.unsqueeze(1)


def _descend(x: Tensor, y: Tensor, parameters: list[Tensor], momenta: list[Tensor], rates: Tensor) -> None:
    """Update all networks by one step of SGD with momentum, at rates [D, S]."""
    logits = _forward(x, parameters)
    targets = y.unsqueeze(2).expand(logits.shape[:3])
    loss = F.cross_entropy(logits.flatten(0, 2), targets.flatten(), reduction="sum") / x.shape[1]
    gradients = torch.autograd.grad(loss, parameters)
    with torch.no_grad():
        for p, gradient, momentum in zip(parameters, gradients, momenta, strict=True):
            is_kernel = p.dim() == 4
            momentum.mul_(_MOMENTUM).add_(gradient + _WEIGHT_DECAY * p if is_kernel else gradient)
            # The hidden kernel [D, F, S, 15] has an axis between those of the sets and the initialisations.
            aligned = rates.unsqueeze(1) if p is parameters[0] else rates
            p -= aligned.reshape(*aligned.shape, *[1] * (p.dim() - aligned.dim())) * momentum


def _epoch_rows(rows: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Return `count` rows in a new random order, repeated as often as necessary."""
    order = rows[torch.randperm(len(rows), generator=generator)]
    return order.repeat(-(-count // len(order)))[:count]


def _accuracy(index: int, x: Tensor, y: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    """Return the accuracies [S] of the networks of one training set."""
    with torch.no_grad():
        logits = _forward(x.unsqueeze(0), [p[index : index + 1] for p in parameters])[0]
        return (logits.argmax(-1) == y.unsqueeze(1)).double().mean(0)


class NeuralNetworkClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """The paper's network as a scikit-learn classifier for two classes.

    Args:
        random_state: seed of the initial weights, the held-out fifth and the order of the batches.

    Attributes:
        classes_: the two classes.
        weights_: the tensors of a `NetworkBank`, as arrays.
    """

    def __init__(self, random_state: int = 0) -> None:
        self.random_state = random_state

    def __sklearn_tags__(self) -> Tags:
        """Declare that there must be two classes."""
        tags: Tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        return tags

    def fit(self, X: Any, y: Any) -> Self:
        """Fit to features [n, F] and labels [n] of two classes; the second in sorted order is "wrong or unknown"."""
        X, y = validate_data(self, X, y, dtype=np.float64)
        check_classification_targets(y)
        self.classes_, targets = np.unique(y, return_inverse=True)
        if len(self.classes_) != 2:
            # scikit-learn's estimator checks look for the first sentence.
            raise InputError(
                "Only binary classification is supported. The type of the target is "
                f"{type_of_target(y)}: y has {len(self.classes_)} class(es); expected 2"
            )
        data = MetaData(_writable(X), targets, np.ones(X.shape[1], dtype=bool))
        with torch.device("cpu"):  # torch's default device may be another one
            bank = train_networks([data], 1, self.random_state)
        # Store arrays, which are saved like those of other estimators.
        self.weights_ = {name: tensor.numpy() for name, tensor in bank.tensors().items()}
        return self

    def decision_function(self, X: Any) -> np.ndarray:
        """Return the log odds of the second class, [n] float64."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float64, reset=False)
        bank = NetworkBank(**{name: torch.from_numpy(array) for name, array in self.weights_.items()})
        odds: np.ndarray = bank.scores(0, _writable(X))[0]
        return odds

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the probabilities of the two classes, [n, 2] float64."""
        second = torch.sigmoid(torch.from_numpy(self.decision_function(X))).numpy()
        return np.stack([1 - second, second], axis=1)

    def predict(self, X: Any) -> np.ndarray:
        """Return the more probable class, [n]."""
        indices = (self.decision_function(X) > 0).astype(int)
        predictions: np.ndarray = self.classes_[indices]
        return predictions


def _writable(features: np.ndarray) -> np.ndarray:
    """Return the features, copied if they are read-only: PyTorch cannot share read-only memory."""
    return np.require(features, requirements="W")


def neural_network(random_state: int = 0) -> NeuralNetworkClassifier:
    """Return the paper's neural meta classifier."""
    return NeuralNetworkClassifier(random_state)
