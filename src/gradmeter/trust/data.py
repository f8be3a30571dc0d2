"""Read data sets in their various forms: readings, labels and content hashes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from gradmeter.errors import InputError, one_line
from gradmeter.names import encode_name, listed
from gradmeter.reading.columns import column_of
from gradmeter.reading.content import content_hashes, reading_hashes, table_contents
from gradmeter.reading.finite import read_finite
from gradmeter.reading.inputs import Inputs
from gradmeter.reading.meter import GradientMeter
from gradmeter.reading.readings import Readings

_LABELS = ("labels", "label")


@dataclass(frozen=True, eq=False)
class ReadData:
    """Readings of a data set and the hashes of its inputs.

    Attributes:
        readings: of N samples.
        contents: [N] hashes of the inputs; hashes of the readings if the inputs are not available.
    """

    readings: Readings
    contents: NDArray[np.uint64]

    def without_gradients(self) -> ReadData:
        """Return what a forward pass shows; hashes of readings are those of what is left."""
        left = self.readings.without_gradients()
        are_of_readings = self.contents == reading_hashes(self.readings)
        return ReadData(left, np.where(are_of_readings, reading_hashes(left), self.contents))


def read_inputs(meter: GradientMeter, inputs: Any) -> Readings:
    """Return readings of inputs.

    Args:
        meter: reads them.
        inputs: inputs as the meter takes them, with tensors or NumPy arrays; or earlier readings of the same network,
            as `Readings`, an Arrow table or a pandas frame.

    Raises:
        InputError: for readings of another network or of no samples, and if the meter raises it.
    """
    if isinstance(inputs, Readings):
        return _of_same_network(meter, inputs)
    if isinstance(inputs, pa.Table):
        return _of_same_network(meter, Readings.from_arrow(inputs))
    if _is_frame(inputs):
        return _of_same_network(meter, Readings.from_pandas(inputs))
    return meter(_to_tensors(inputs, _reference_weight(meter)))


class Collector(Protocol):
    """Keeps some of the inputs that are read."""

    def add(self, inputs: Any, labels: Tensor) -> None:
        """Receive a batch of inputs, with tensors only, and its labels [N]."""


def identifiers(inputs: Any) -> pa.Array | pa.ChunkedArray | None:
    """Return the column "id" of an Arrow table or pandas frame of readings; None if the inputs have no such column.

    Of a frame, what Arrow cannot hold, such as paths or texts beside numbers, becomes texts.

    Raises:
        DataError: if there are several.
    """
    ids = column_of(inputs, "id") if isinstance(inputs, pa.Table) or _is_frame(inputs) else None
    if ids is None or isinstance(inputs, pa.Table):
        return ids
    try:
        return pa.array(ids)
    except Exception:  # of any type: Arrow calls methods of the objects in a column
        rows = zip(ids, ids.isna(), strict=True)
        return pa.array([None if missing else encode_name(str(value)) for value, missing in rows])


def read_known(
    meter: GradientMeter, data: Any, *collectors: Collector, earlier: Sequence[GradientMeter] = ()
) -> tuple[ReadData, Tensor]:
    """Return readings and labels [N] int64 of known inputs.

    Args:
        meter: reads them.
        data: a loader of batches (inputs, labels) or dicts with "labels"; one pair (inputs, labels); or an Arrow table
            or pandas frame of readings with a column "label".
        collectors: receive the inputs, unless they are readings.
        earlier: meters to check earlier readings with instead, each in place of the one before if that raises an error.

    Raises:
        InputError: if labels are missing, invalid, or not as many as the inputs.
    """
    parts, labels = [], []
    for inputs, batch_labels in labelled_batches(meter, data):
        labels.append(batch_labels)
        part = _read_earlier(earlier, inputs) if earlier and are_readings(inputs) else _read(meter, inputs)
        parts.append(part)
        require_classes(batch_labels, part.readings)
        if not are_readings(inputs):
            for collector in collectors:
                collector.add(inputs, batch_labels)
    if len({bool(part.readings.layers) for part in parts}) > 1:
        parts = [part.without_gradients() for part in parts]
    return _concatenated(parts), torch.cat(labels)


def labelled_batches(meter: GradientMeter, data: Any) -> Iterator[tuple[Any, Tensor]]:
    """Iterate over batches in the forms of `read_known`: inputs, with tensors only, or readings; and labels [N] int64.

    Raises:
        InputError: if labels are missing or no integer classes.
    """
    for given, labels in _batches(data):
        if labels is None:
            _require_labels(data)
            several = isinstance(given, tuple) and len(given) > 1
            problem = f"is a tuple of {len(given)}" if several else "has no labels"
            raise InputError(
                f"a batch {problem}; expected (inputs, labels) with integer classes [N], or a dict or table with "
                "'label'"
            )
        inputs = given if are_readings(given) else _to_tensors(given, _reference_weight(meter))
        yield inputs, label_tensor(labels)


def require_classes(labels: Tensor, readings: Readings) -> None:
    """Check that there is a label for each of the readings, and that it is one of the network's classes.

    Raises:
        InputError: if there is not.
    """
    if len(readings) != len(labels):
        raise InputError(f"{len(labels):,} labels for {len(readings):,} inputs; expected one for each")
    classes = readings.logits.shape[1]
    invalid = labels[(labels < 0) | (labels >= classes)]
    if len(invalid):
        raise InputError(
            f"a known input has the label {int(invalid[0])}; expected a class from 0 to {classes - 1}: leave out "
            "inputs of no class, or pass them as unknowns"
        )


def _read_earlier(meters: Sequence[GradientMeter], readings: Any) -> ReadData:
    """Read earlier readings with the first meter that they match; the last one names what they lack."""
    for meter in meters[:-1]:
        with suppress(InputError):
            return _read(meter, readings)
    return _read(meters[-1], readings)


def require_list(unknowns: Any) -> None:
    """Check that `unknowns` is a list of data sets.

    Raises:
        InputError: if it is not: the samples of a tensor, for example, would be taken for data sets.
    """
    if not isinstance(unknowns, Sequence) or isinstance(unknowns, str):
        raise InputError(f"unknowns is a {type(unknowns).__name__}; expected a list, as in unknowns=[loader]")


def require_kinds(synthetic: Any) -> None:
    """Check that `synthetic` is an iterable of data sets, or None.

    Raises:
        InputError: if it is not: the samples of a tensor, for example, would be taken for data sets.
    """
    no_sets = isinstance(synthetic, (Tensor, np.ndarray, Mapping, str)) or not isinstance(synthetic, Iterable)
    if synthetic is not None and no_sets:
        raise InputError(f"synthetic is a {type(synthetic).__name__}; expected a list, as in synthetic=[loader]")


def read_unknown(meter: GradientMeter, data: Any, known: KnownInputs) -> ReadData:
    """Return readings of unknown inputs, in the forms of `read_known`; labels are optional and ignored.

    Raises:
        InputError: for several tensors of which `known` does not tell whether they are inputs, labels or batches.
    """
    if isinstance(data, (Tensor, np.ndarray, Readings)):
        return _read(meter, data)
    if isinstance(data, tuple) and known.tensors > 1:
        known.require_clear(data)
    parts = []
    for inputs, labels in _batches(data):
        if labels is not None:
            known.require_clear((inputs, labels))
        elif isinstance(inputs, tuple) and len(inputs) > known.tensors:
            known.require_clear(inputs)
        parts.append(_read(meter, inputs))
    return _concatenated(parts)


class KnownInputs:
    """How many tensors the network takes for known inputs: a `Collector`.

    Attributes:
        tensors: the number of tensors; 0 if the known inputs are readings.
    """

    def __init__(self) -> None:
        self.tensors = 0

    def add(self, inputs: Any, labels: Tensor) -> None:
        """Receive a batch of inputs."""
        self.tensors = max(self.tensors, len(Inputs.of(inputs).tensors))

    def require_clear(self, parts: Sequence[Any]) -> None:
        """Check that the parts of unknown data are not tensors that may be inputs, labels or batches.

        Two tensors are inputs and labels if known inputs are one tensor.

        Raises:
            InputError: if they are.
        """
        if not self.tensors or (self.tensors == 1 and len(parts) == 2):
            return
        if all(isinstance(part, (Tensor, np.ndarray)) for part in parts):
            raise InputError(
                f"unknown inputs come as {len(parts)} tensors, and it is not clear which are inputs; expected "
                f"{self.tensors}, as in the known data: give batches (inputs, labels), with several inputs as a tuple "
                "or dict; labels may be None"
            )


def read_synthetic(meter: GradientMeter, kinds: Iterable[Iterable[Any]]) -> list[Readings]:
    """Return the readings of each kind of synthetic unknowns, from batches of inputs; omit samples that are not finite.

    A kind without finite readings is omitted.
    """
    by_kind = []
    for batches in kinds:
        parts = [read_finite(meter, Inputs.of(batch)).readings for batch in batches]
        if finite := [readings for readings in parts if readings is not None]:
            by_kind.append(Readings.concatenate(finite))
    return by_kind


def require_disjoint(known: ReadData, unknowns: Sequence[ReadData]) -> None:
    """Check that no input is both known and unknown.

    Raises:
        InputError: if one is.
    """
    for index, unknown in enumerate(unknowns):
        shared = int(np.isin(unknown.contents, known.contents).sum())
        if shared:
            raise InputError(
                f"{shared:,} of the {len(unknown.contents):,} inputs in unknowns[{index}] are also known inputs; "
                "expected different inputs: remove them from one of the two"
            )


def _read(meter: GradientMeter, inputs: Any) -> ReadData:
    if not are_readings(inputs):
        tensors = _to_tensors(inputs, _reference_weight(meter))
        return ReadData(meter(tensors), content_hashes(tensors, meter.model))
    readings = read_inputs(meter, inputs)
    contents = reading_hashes(readings) if isinstance(inputs, Readings) else table_contents(inputs, readings)
    return ReadData(readings, contents)


def _batches(data: Any) -> Iterator[tuple[Any, Any]]:
    """Iterate over batches of inputs and their labels; the labels are None if there are none."""
    if isinstance(data, pa.Table) or _is_frame(data):
        yield _split(data)
    elif _is_pair(data):
        yield data[0], data[1]
    elif isinstance(data, Iterable) and not isinstance(data, (Tensor, np.ndarray, Mapping)):
        yield from map(_split, data)
    else:
        hint = ": put a single batch in a list" if isinstance(data, Mapping) else ""
        raise InputError(
            f"the data is a {type(data).__name__}; expected a loader of batches, a pair (inputs, labels), or a table "
            f"of readings{hint}"
        )


def _split(batch: Any) -> tuple[Any, Any]:
    """Split a batch into inputs and labels; the labels are None if there are none."""
    if isinstance(batch, pa.Table) or _is_frame(batch):
        labels = column_of(batch, "label")
        return batch, None if labels is None else labels.to_numpy()
    if isinstance(batch, Mapping):
        name = next((name for name in _LABELS if name in batch), None)
        return {key: value for key, value in batch.items() if key not in _LABELS}, None if name is None else batch[name]
    if isinstance(batch, (tuple, list)) and len(batch) == 2:
        return _arguments(batch[0]), batch[1]
    return _arguments(batch), None


def _arguments(inputs: Any) -> Any:
    """Inputs of a batch; PyTorch's default collate function makes a list of what is a tuple in each sample."""
    return tuple(inputs) if isinstance(inputs, list) else inputs


def _is_pair(data: Any) -> bool:
    """Return whether the data is one pair (inputs, labels) rather than a loader of two batches."""
    if not isinstance(data, (tuple, list)) or len(data) != 2:
        return False
    labels = data[1]
    if isinstance(labels, list):
        return all(isinstance(label, int | np.integer) for label in labels)
    return labels is None or isinstance(labels, pa.Array | pa.ChunkedArray) or getattr(labels, "ndim", None) == 1


def _require_labels(data: Any) -> None:
    """Check the labels of a pair that was taken for two batches, because they are no classes [N].

    Raises:
        InputError: if the data are such a pair.
    """
    if not isinstance(data, (tuple, list)) or len(data) != 2:
        return
    inputs, labels = data
    if not isinstance(inputs, (Tensor, np.ndarray)):
        return
    if isinstance(labels, (Tensor, np.ndarray)):
        are_meant = labels.ndim < inputs.ndim
    else:
        are_meant = isinstance(labels, Iterable) and all(isinstance(label, str | float) for label in labels)
    if are_meant:
        label_tensor(labels)


def label_tensor(labels: Any) -> Tensor:
    """Convert labels in a tensor, an array, a list, a pandas series or an Arrow column to a tensor [N] int64.

    Raises:
        InputError: if they are not integers in one dimension, or too large.
    """
    if np.ma.is_masked(labels):
        raise InputError("labels are an array in which some are masked; expected a class for each input")
    try:
        array = labels.detach().cpu().numpy() if isinstance(labels, Tensor) else np.asarray(labels)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"labels are no array ({one_line(error)}); expected integer classes [N]") from error
    if array.ndim != 1 or array.dtype.kind not in "iu":
        hint = "" if array.ndim else ": put single samples into batches, as with a DataLoader"
        raise InputError(f"labels have type {array.dtype} and shape {array.shape}; expected integer classes [N]{hint}")
    if array.size and array.max() > np.iinfo(np.int64).max:
        raise InputError(f"the largest label is {array.max()}; expected classes that fit into int64")
    return torch.from_numpy(array.astype(np.int64))


def _to_tensors(inputs: Any, weight: Tensor) -> Any:
    """Convert NumPy arrays to tensors with the device and floating-point type of the weight."""
    if isinstance(inputs, np.ndarray):
        if np.ma.is_masked(inputs):
            raise InputError("inputs are an array in which some values are masked; expected numbers: call its filled()")
        tensor = _to_tensor(inputs)
        # NumPy's default type is float64. Integers keep their type, because they may be tokens.
        return tensor.to(weight.device, weight.dtype if tensor.is_floating_point() else None)
    if isinstance(inputs, Mapping):
        return {name: _to_tensors(value, weight) for name, value in inputs.items()}
    if isinstance(inputs, tuple):
        return tuple(_to_tensors(value, weight) for value in inputs)
    return inputs


def are_readings(data: Any) -> bool:
    """Return whether data are readings, or a table or frame of them, instead of inputs."""
    return isinstance(data, (Readings, pa.Table)) or _is_frame(data)


def _to_tensor(array: NDArray[Any]) -> Tensor:
    """Convert an array of any byte order and memory layout; copy it if PyTorch cannot share its memory."""
    try:
        return torch.from_numpy(np.require(array, array.dtype.newbyteorder("="), ["C", "W"]))
    except TypeError as error:
        raise InputError(f"inputs are an array of {array.dtype}; expected a numeric type of PyTorch") from error


def _reference_weight(meter: GradientMeter) -> Tensor:
    """Return a floating-point weight of the network, whose device and type the inputs get."""
    return next((weight for weight in meter.model.parameters() if weight.is_floating_point()), torch.empty(0))


def _is_frame(data: Any) -> bool:
    # pandas is optional.
    return type(data).__module__.partition(".")[0] == "pandas" and hasattr(data, "columns")


def _of_same_network(meter: GradientMeter, readings: Readings) -> Readings:
    """Check that readings match the meter, and put its first pseudo-label first.

    Raises:
        InputError: for readings of other pseudo-labels or biases, of another network or of no samples.
    """
    missing = ["gradients"] if meter.gradients and not readings.layers else []
    missing += [name for name in meter.pseudo_labels if name not in readings.pseudo_labels]
    missing += ["activations"] if meter.activations and readings.activations is None else []
    if missing:
        raise InputError(
            f"the readings have no {', '.join(missing)}; expected readings of the TrustModel's meter or of gradmeter "
            "measure"
        )
    if not meter.gradients:
        readings = readings.without_gradients()
    elif readings.biases != meter.biases:
        raise InputError(
            f"the readings are of a meter with biases={readings.biases}"
            f"{' or of an earlier version' * readings.biases}; expected biases={meter.biases}, as in the TrustModel's "
            "meter: measure the inputs again"
        )
    if readings.layers != meter.layers:
        differing = sorted({*readings.layers} ^ {*meter.layers})
        raise InputError(
            f"the readings are of another network: {listed(differing, 3) or 'the order of its layers'} differ; "
            "expected readings of this network"
        )
    if not len(readings):
        raise InputError("the readings have zero samples; expected at least one")
    # Features without a pseudo-label in their name belong to the meter's first one.
    return readings.led_by(meter.pseudo_labels[0])


def _concatenated(parts: Sequence[ReadData]) -> ReadData:
    if not parts:
        raise InputError(
            "a loader has no batches; expected at least one each time that it is read: a loader over a generator gives "
            "them once"
        )
    return ReadData(
        Readings.concatenate([part.readings for part in parts]), np.concatenate([part.contents for part in parts])
    )
