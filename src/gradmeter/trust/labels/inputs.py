"""What a check of labels reads: logits, embeddings and given labels, and gradients at labels if they are wanted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import log_softmax
from torch import Tensor

from gradmeter.errors import InputError
from gradmeter.reading.content import content_hashes
from gradmeter.reading.inputs import Inputs
from gradmeter.reading.meter import GradientMeter
from gradmeter.reading.network import NotFinite
from gradmeter.reading.readings import Readings
from gradmeter.trust.data import label_tensor

Values = NDArray[np.float64]
Labels = NDArray[np.int64]

ReadAt = Callable[[Labels, Labels], Readings]
"""Returns the readings, with gradients, of some rows [n] at other labels [n]."""

# Number of inputs that are read together.
_BATCH = 256
EXCLUDED = -1e6
"""Log probability of a class that is excluded, by a logit of minus infinity for example."""


@dataclass(frozen=True, eq=False)
class LabelReadings:
    """What is known about N labelled inputs; the arrays may lie on disk (`numpy.memmap`).

    Attributes:
        labels: [N] given classes.
        logits: [N, C] of the network.
        embedding: [N, D] input of the last layer.
        probabilities: [N, C] out-of-fold probabilities that replace the softmax of the logits; None for the softmax.
        given: readings at the given labels, with gradients; None if they were not read.
        at: reads gradients at any labels; None if they cannot be read.
        contents: [N] equal numbers for equal inputs; None if they are unknown.
    """

    labels: Labels
    logits: NDArray[Any]
    embedding: NDArray[Any]
    probabilities: NDArray[Any] | None = None
    given: Readings | None = None
    at: ReadAt | None = None
    contents: NDArray[np.uint64] | None = None

    def __post_init__(self) -> None:
        """Check the shapes.

        Raises:
            InputError: if they do not fit, a label is not a class, or an argument is no array of real numbers.
        """
        for name in ("labels", "logits", "embedding", "probabilities"):
            array = getattr(self, name)
            if not isinstance(array, np.ndarray) and (array is not None or name != "probabilities"):
                raise InputError(f"{name}: a {type(array).__name__}; expected a NumPy array")
            if name != "labels" and array is not None and array.dtype.kind not in "fiub":
                raise InputError(f"{name}: type {array.dtype}; expected real numbers")
        if self.logits.ndim != 2 or self.logits.shape[1] < 2:
            raise InputError(f"logits have shape {self.logits.shape}; expected [N, C] with at least 2 classes")
        count, classes = self.logits.shape
        labels = np.asarray(self.labels)
        if labels.shape != (count,) or labels.dtype.kind not in "iu":
            raise InputError(f"labels have type {labels.dtype} and shape {labels.shape}; expected integers [{count}]")
        wrong = labels[(labels < 0) | (labels >= classes)]
        if len(wrong):
            raise InputError(f"label {wrong[0]} is not a class; expected 0 to {classes - 1}")
        if self.embedding.ndim != 2 or len(self.embedding) != count:
            raise InputError(f"the embedding has shape {self.embedding.shape}; expected [{count}, D]")
        if self.probabilities is not None and self.probabilities.shape != self.logits.shape:
            raise InputError(f"probabilities have shape {self.probabilities.shape}; expected {self.logits.shape}")
        for name, part in (("given", self.given), ("contents", self.contents)):
            if part is not None and len(part) != count:
                raise InputError(f"{name} has {len(part):,} rows for {count:,} labels; expected one for each")
        if self.given is not None and not self.given.layers:
            raise InputError("the readings at the given labels have no gradients; expected a meter with gradients=True")

    def __len__(self) -> int:
        """Return the number of inputs."""
        return len(self.labels)

    @property
    def classes(self) -> int:
        """The number of classes, C."""
        return int(self.logits.shape[1])

    @property
    def counts(self) -> Labels:
        """The number of labels of each class, [C]."""
        return np.bincount(self.labels, minlength=self.classes)

    def require_two_classes(self) -> None:
        """Check the labels, which have nothing to be mistaken for if all are of one class.

        Raises:
            InputError: if they are.
        """
        if len(np.unique(self.labels)) < 2:
            raise InputError(
                f"all {len(self):,} labels are class {self.labels[0]}; expected labels of at least two classes"
            )

    def require_numbers(self) -> None:
        """Check the values, which a single number that is not finite would make useless for all labels.

        Raises:
            InputError: if an embedding is not finite in float32, logits are NaN or infinite (minus infinity is allowed
                for some classes), or probabilities are negative or not finite.
        """
        for start in range(0, len(self), _BATCH):
            rows = slice(start, start + _BATCH)
            logits, embedding = np.asarray(self.logits[rows]), np.asarray(self.embedding[rows])
            with np.errstate(over="ignore"):
                valid = {
                    "logits": np.isfinite(logits).any(1) & (np.isfinite(logits) | np.isneginf(logits)).all(1),
                    "embedding": np.isfinite(embedding.astype(np.float32)).all(1),
                }
            if self.probabilities is not None:
                probabilities = np.asarray(self.probabilities[rows])
                valid["probabilities"] = (np.isfinite(probabilities) & (probabilities >= 0)).all(1)
            for name, rows_valid in valid.items():
                if not rows_valid.all():
                    expected = "finite numbers of at least 0" if name == "probabilities" else "finite numbers"
                    row = start + int(np.argmin(rows_valid))
                    raise InputError(f"{name} of input {row} are invalid; expected {expected}")

    def log_probabilities(self, rows: slice | Labels) -> Values:
        """Return log p [n, C] of some rows."""
        if self.probabilities is None:
            values: Values = log_softmax(np.asarray(self.logits[rows], np.float64), axis=1)
            return np.maximum(values, EXCLUDED)
        with np.errstate(divide="ignore"):
            logarithms = np.log(np.asarray(self.probabilities[rows], np.float64))
        return np.maximum(logarithms, np.log(np.finfo(np.float64).tiny))


def read_labels(meter: GradientMeter, inputs: Any, labels: Any, *, gradients: bool = False) -> LabelReadings:
    """Read labelled inputs, which must fit into memory.

    Args:
        meter: a meter of the network; its pseudo-labels do not matter.
        inputs: N inputs, as the meter takes them.
        labels: [N] given classes, integers in a tensor, an array, a list or a pandas series.
        gradients: whether to read gradients at all labels now; else `LabelCheck` reads those that it needs.

    Raises:
        InputError: if labels are not integers [N] or not classes, and as the meter does.
    """
    if not isinstance(meter, GradientMeter):
        raise InputError(f"meter is a {type(meter).__name__}; expected a GradientMeter")
    batch, classes = Inputs.of(inputs), label_tensor(labels)
    if len(classes) != batch.samples:
        raise InputError(f"{len(classes):,} labels for {batch.samples:,} inputs; expected one for each")
    readings = _read(_label_meter(meter, gradients), batch, np.arange(batch.samples), classes.numpy())
    embedding = readings.logits if readings.embedding is None else readings.embedding
    return LabelReadings(
        classes.numpy(),
        readings.logits.float().cpu().numpy(),
        embedding.float().cpu().numpy(),
        given=readings if gradients else None,
        at=_GradientsAt(meter, batch),
        contents=content_hashes(inputs, meter.model),
    )


@dataclass(frozen=True, eq=False)
class _GradientsAt:
    """Reads gradients of some inputs, by row, at other labels."""

    meter: GradientMeter
    batch: Inputs

    def __call__(self, rows: Labels, labels: Labels) -> Readings:
        return _read(_label_meter(self.meter, gradients=True), self.batch, rows, labels)


def _label_meter(meter: GradientMeter, gradients: bool) -> GradientMeter:
    """A meter with this one's options, but those that decide what it reads."""
    reads = {"gradients": gradients, "activations": False, "embedding": True, "probes": []}
    return GradientMeter(meter.model, **(meter.options | reads))


def _read(meter: GradientMeter, batch: Inputs, rows: Labels, labels: Labels) -> Readings:
    """Read rows of a batch at labels, in parts that fit into memory."""
    parts: list[Readings] = []
    errors: list[NotFinite] = []
    not_finite: list[int] = []
    for start in range(0, len(rows), _BATCH):
        tile = slice(start, start + _BATCH)
        try:
            parts.append(meter(batch.rows(rows[tile].tolist()), _on(batch, labels[tile])))
        except NotFinite as error:
            errors.append(error)
            not_finite += rows[tile][[*error.rows]].tolist()
    if errors:
        raise NotFinite.of(not_finite, batch.samples, has_logits=errors[0].has_logits) from errors[0]
    return Readings.concatenate(parts)


def _on(batch: Inputs, labels: Labels) -> Tensor:
    return torch.from_numpy(labels).to(batch.tensors[0].device)
