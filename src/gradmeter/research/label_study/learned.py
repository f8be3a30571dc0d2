"""Networks that learned from the corrupted labels, and their heads that did not."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from gradmeter.reading.meter import GradientMeter
from gradmeter.reading.readings import Readings
from gradmeter.research.label_study.pairs import PairReader, embedding_of
from gradmeter.research.label_study.place import Place
from gradmeter.research.label_study.planting import Plan, plan_errors
from gradmeter.research.label_study.pools import Pool, probabilities
from gradmeter.research.label_study.scoring import scored
from gradmeter.research.label_study.sheet import Sheet
from gradmeter.research.study.network import PaperCNN
from gradmeter.research.study.options import StudyOptions
from gradmeter.research.study.training import Digits, best_of, load_network, train

EARLY, CONVERGED = "early", "converged"
"""The epoch with the best validation accuracy, and the last one."""

CHECKED, VALIDATED = 3000, 600
"""Digits that a network learns, whose labels are checked, and further ones that say when to stop."""

_EPOCHS = 20
_FOLDS = 5
_BATCH = 500
_NEVER = -50.0  # a logit


class Learner:
    """The paper's CNN, trained on corrupted labels; a network for each kind and rate of errors.

    Args:
        pool: digits, and a network that did not learn them, whose confusion class-dependent errors follow.
        place: the folders.
        seed: of the errors and of the networks.
    """

    def __init__(self, pool: Pool, place: Place, seed: int) -> None:
        self._place, self._seed = place, seed
        size = len(pool.ids)
        validated = max(1, size * VALIDATED // (CHECKED + VALIDATED))
        self._checked, self._validated = np.arange(size - validated), np.arange(size - validated, size)
        self._pool, self._labels = pool, pool.samples.labels.numpy()
        self._softmax = probabilities(pool.network, pool.samples.inputs)

    def train(self, kind: str, rate: float) -> None:
        """Train a network on the labels with the errors of a kind and rate, if its weights do not exist.

        The validation labels, which say when to stop, have as many errors.
        """
        path = self._path(kind, rate)
        if path.exists():
            return
        digits, validation = (self._digits(rows, kind, rate) for rows in (self._checked, self._validated))
        options = StudyOptions(max_epochs=_EPOCHS)
        train(digits, validation, path, options, seed=self._seed, on_epoch=lambda epoch, accuracy: None)

    def sheet(self, kind: str, rate: float, regime: str) -> Sheet:
        """Return the scores of the labels that a network has learned.

        Args:
            kind: kind of errors.
            rate: share of errors.
            regime: `EARLY` or `CONVERGED`.
        """
        path = self._path(kind, rate)
        network = load_network(path if regime == CONVERGED else best_of(path))[0]
        given = self._plan(self._checked, kind).given(rate)
        inputs = self._pool.samples.inputs[: len(given)]
        own = probabilities(network, inputs).argmax(axis=1)
        networks, folds = out_of_fold_networks(network, inputs, given, self._seed)
        reader = PairReader(networks, inputs, None, folds)
        # Out-of-fold probabilities say that the labels were learned.
        readings = replace(reader.labelled(given), probabilities=reader.probabilities)
        return scored(readings, self._pool.ids[: len(given)], self._labels[: len(given)], own)

    def _path(self, kind: str, rate: float) -> Path:
        return self._place.weights(f"learned-{self._seed}-{kind}-{round(100 * rate)}")

    def _digits(self, rows: NDArray[np.int64], kind: str, rate: float) -> Digits:
        return Digits(self._pool.samples.inputs[rows], torch.from_numpy(self._plan(rows, kind).given(rate)))

    def _plan(self, rows: NDArray[np.int64], kind: str) -> Plan:
        odds = self._labels[rows], self._softmax[rows], self._pool.early[rows]
        return plan_errors(kind, *odds, seed=self._seed)


def out_of_fold_networks(
    network: PaperCNN, inputs: Tensor, labels: NDArray[np.int64], seed: int
) -> tuple[list[nn.Module], NDArray[np.int64]]:
    """Train the last layer again on each four fifths of the samples.

    Args:
        network: a network that learned the labels.
        inputs: [N, ...].
        labels: [N].
        seed: of the folds.

    Returns:
        For each fold a network with its own last layer, and the fold [N] of each sample: its network did not learn the
        sample's label with its last layer.
    """
    meter = GradientMeter(network, gradients=False, embedding=True)
    embedding = embedding_of(Readings.concatenate([meter(batch) for batch in inputs.split(_BATCH)]))
    folds = np.empty(len(labels), np.int64)
    networks: list[nn.Module] = []
    splits = KFold(_FOLDS, shuffle=True, random_state=seed).split(embedding)
    for number, (train_rows, test_rows) in enumerate(splits):
        folds[test_rows] = number
        scaler = StandardScaler().fit(embedding[train_rows])
        regression = LogisticRegression(max_iter=300).fit(scaler.transform(embedding[train_rows]), labels[train_rows])
        # A class without labels gets no probability.
        weight = np.zeros((network.dense.out_features, embedding.shape[1]))
        bias = np.full(len(weight), _NEVER)
        weight[regression.classes_] = regression.coef_ / scaler.scale_
        bias[regression.classes_] = regression.intercept_ - weight[regression.classes_] @ scaler.mean_
        headed = copy.deepcopy(network)
        with torch.no_grad():
            headed.dense.weight.copy_(torch.from_numpy(weight))
            headed.dense.bias.copy_(torch.from_numpy(bias))
        networks.append(headed.eval())
    return networks, folds
