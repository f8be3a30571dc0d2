"""TrustModel: from a trained network to P(the prediction is correct), and a decision with a stated error rate."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from gradmeter.errors import GradmeterError, InputError
from gradmeter.meta import saving
from gradmeter.meta.judge import Judge
from gradmeter.meta.risk import Candidate, Guarantee, candidates, control_risk
from gradmeter.meter import GradientMeter
from gradmeter.readings import Readings

_LABELS = ("labels", "label")


class TrustModel:
    """Says how likely a network's prediction is correct, and accepts or rejects it.

    Args:
        meter: reads the network.
        classifier: "ridge", "lasso", "glm", "elastic_net", "neural_network", or a scikit-learn classifier.

    Attributes:
        meter: as given.
        judge: the fitted meta classifier; None before `fit`.
        guarantee: what `set_risk` promised; None before it.

    Example:
        >>> trust = TrustModel(GradientMeter(model)).fit(validation_loader, unknowns=[noise_loader])
        >>> trust.predict_proba(images)
        >>> trust.set_risk(0.01, test_loader)
        >>> trust.accept(images)
    """

    def __init__(self, meter: GradientMeter, classifier: Any = "ridge") -> None:
        if not isinstance(meter, GradientMeter):
            raise InputError(f"meter is a {type(meter).__name__}; expected a GradientMeter")
        self.meter = meter
        self.classifier = classifier
        self.judge: Judge | None = None
        self.guarantee: Guarantee | None = None
        self._thresholds: list[Candidate] = []

    def fit(self, loader: Iterable[Any], unknowns: Sequence[Iterable[Any]] = ()) -> Self:
        """Learn from validation data when predictions are wrong, and from inputs that the network cannot know.

        Args:
            loader: batches (inputs, labels), or dicts with "labels", that the network did not learn from.
            unknowns: loaders of inputs of no class, with or without labels, which are not looked at.

        Raises:
            InputError: for batches without labels, or too few predictions that are right or wrong.
        """
        known, labels = self._measured(loader)
        others = [self._measured(unknown, labelled=False)[0] for unknown in unknowns]
        return self.fit_readings(known, labels, others)

    def fit_readings(self, known: Readings, labels: Tensor, unknowns: Sequence[Readings] = ()) -> Self:
        """Like `fit`, from readings of the same meter."""
        self.judge = Judge.fit(known, labels, unknowns, self.classifier)
        self._thresholds = candidates(self.judge.held_out)
        self.guarantee = None
        return self

    def predict_proba(self, inputs: Any) -> Tensor:
        """[N] float64, P(the prediction is correct), for inputs as the meter takes them.

        It is calibrated for inputs of which as many are unknown as in `fit`.

        Raises:
            GradmeterError: before `fit`.
        """
        return torch.from_numpy(self._fitted().probability(self.meter(inputs)))

    def set_risk(
        self, risk: float, loader: Iterable[Any], unknowns: Sequence[Iterable[Any]] = (), *, confidence: float = 0.95
    ) -> Guarantee:
        """Find the threshold that accepts the most while at most the share `risk` of what is accepted is wrong.

        This holds with probability `confidence` over the draw of these data, for inputs drawn as they were.

        Args:
            risk: largest rate of errors among accepted inputs.
            loader: batches (inputs, labels) that neither the network nor `fit` saw.
            unknowns: loaders of unknown inputs, in the share in which they are expected.
            confidence: that the promise holds.

        Returns:
            The promise, and the coverage that it costs.

        Raises:
            RiskNotControlled: if no threshold can promise it.
            GradmeterError: before `fit`.
        """
        judge = self._fitted()
        known, labels = self._measured(loader)
        others = [self._measured(unknown, labelled=False)[0] for unknown in unknowns]
        readings = Readings.concatenate([known, *others])
        right = (known.predictions.cpu() == labels.cpu()).numpy()
        correct = np.concatenate([right, np.zeros(len(readings) - len(known), np.bool_)])
        self.guarantee = control_risk(
            judge.probability(readings), correct, risk, self._thresholds, confidence=confidence
        )
        return self.guarantee

    def accept(self, inputs: Any) -> Tensor:
        """[N] bool, whether a prediction is accepted under the promise of `set_risk`.

        Raises:
            GradmeterError: before `set_risk`.
        """
        if self.guarantee is None:
            raise GradmeterError("no risk was set; call set_risk(risk, loader) before accept")
        return self.predict_proba(inputs) >= self.guarantee.threshold

    def save(self, folder: Path | str) -> None:
        """Write to a folder, whole or not at all: JSON, and the meta classifier by skops; nothing is pickled.

        Raises:
            OutputError: if something else is there, or the folder cannot be written.
            GradmeterError: before `fit`, or if the pseudo-label is a function.
        """
        saving.save(Path(folder), self.meter, self._fitted(), self._thresholds, self.guarantee)

    @classmethod
    def load(cls, folder: Path | str, model: nn.Module, *, trusted: Sequence[str] = ()) -> TrustModel:
        """Read what `save` wrote, for the same network.

        Args:
            folder: where it lies.
            model: the network, with the weights it had.
            trusted: full names of types, beyond scikit-learn's and gradmeter's, that the meta classifier may hold.

        Raises:
            DataError: if the folder is incomplete, was changed, holds types that are not trusted, or is of another
                network.
        """
        loaded = saving.load(Path(folder), model, trusted)
        trust = cls(loaded.meter, loaded.judge.estimator)
        trust.judge, trust._thresholds, trust.guarantee = loaded.judge, loaded.thresholds, loaded.guarantee
        return trust

    def _fitted(self) -> Judge:
        if self.judge is None:
            raise GradmeterError("the TrustModel is not fitted; call fit(validation_loader) first")
        return self.judge

    def _measured(self, loader: Iterable[Any], *, labelled: bool = True) -> tuple[Readings, Tensor]:
        readings, labels = [], []
        for batch in loader:
            inputs, found = _split(batch)
            if labelled and found is None:
                raise InputError("a batch has no labels; expected (inputs, labels), or a dict with 'labels'")
            readings.append(self.meter(inputs))
            labels.append(torch.zeros(0) if found is None else torch.as_tensor(found).cpu())
        if not readings:
            raise InputError("a loader has no batches; expected at least one")
        return Readings.concatenate(readings), torch.cat(labels)


def _split(batch: Any) -> tuple[Any, Any]:
    """Inputs, and labels where a batch has some."""
    if isinstance(batch, Mapping):
        name = next((name for name in _LABELS if name in batch), None)
        return {key: value for key, value in batch.items() if key not in _LABELS}, None if name is None else batch[name]
    if isinstance(batch, (tuple, list)) and len(batch) == 2:
        return batch[0], batch[1]
    return batch, None
