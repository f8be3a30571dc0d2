"""From data, in any of the forms that people have them, to readings and labels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from gradmeter.errors import InputError
from gradmeter.reading.content import HASH_COLUMN, content_hashes, reading_hashes
from gradmeter.reading.finite import read_finite
from gradmeter.reading.inputs import Inputs
from gradmeter.reading.meter import GradientMeter
from gradmeter.reading.readings import Readings
from gradmeter.trust.synthetic import ImageSample

_LABELS = ("labels", "label")


@dataclass(frozen=True, eq=False)
class ReadData:
    """What was read of data.

    Attributes:
        readings: of N samples.
        contents: [N] hashes of the inputs; of readings that came without them, hashes of the readings.
    """

    readings: Readings
    contents: NDArray[np.uint64]


def read_inputs(meter: GradientMeter, inputs: Any) -> Readings:
    """Readings of inputs.

    Args:
        meter: reads them.
        inputs: what the meter takes, with NumPy arrays for tensors where they are; or readings of the same network
            that were made before: Readings, or an Arrow table or pandas frame of them.

    Raises:
        InputError: for readings of another network, or of no sample; and as the meter does.
    """
    if isinstance(inputs, Readings):
        return _of_same_network(meter, inputs)
    if isinstance(inputs, pa.Table):
        return _of_same_network(meter, Readings.from_arrow(inputs))
    if _is_frame(inputs):
        return _of_same_network(meter, Readings.from_pandas(inputs))
    return meter(_tensors(inputs, _weight(meter)))


def read_known(meter: GradientMeter, data: Any, sample: ImageSample | None = None) -> tuple[ReadData, Tensor]:
    """Readings and labels, [N] int64, of known inputs.

    Args:
        meter: reads them.
        data: a loader of batches (inputs, labels) or dicts with "labels"; one pair (inputs, labels), of arrays say;
            or an Arrow table or pandas frame of readings with a column "label".
        sample: shown the images on the way.

    Raises:
        InputError: if there are no labels, or not one for each input.
    """
    parts, labels = [], []
    for inputs, given in _batches(data):
        if given is None:
            raise InputError("a batch has no labels; expected (inputs, labels), or a dict or table with 'label'")
        part = _read(meter, inputs)
        parts.append(part)
        labels.append(_label_tensor(given))
        if len(part.readings) != len(labels[-1]):
            raise InputError(
                f"there are {len(labels[-1]):,} labels for {len(part.readings):,} inputs; expected one for each"
            )
        classes = part.readings.logits.shape[1]
        outside = labels[-1][(labels[-1] < 0) | (labels[-1] >= classes)]
        if len(outside):
            raise InputError(
                f"known inputs have label {int(outside[0])}; expected the classes 0 to {classes - 1}: what is of no "
                "class goes into unknowns"
            )
        if sample is not None:
            sample.add(_tensors(inputs, _weight(meter)), labels[-1])
    return _joined(parts), torch.cat(labels)


def require_several(unknowns: Any) -> None:
    """Check that unknown inputs come in a list, be it of one.

    Raises:
        InputError: if they do not: the samples of a tensor, say, would be taken for data of their own.
    """
    if not isinstance(unknowns, Sequence) or isinstance(unknowns, str):
        raise InputError(f"unknowns are a {type(unknowns).__name__}; expected a list, as in unknowns=[loader]")


def read_unknown(meter: GradientMeter, data: Any) -> ReadData:
    """Readings of unknown inputs, as `read_known` takes them; labels need not be there and are not looked at."""
    if isinstance(data, (Tensor, np.ndarray, Readings)):
        return _read(meter, data)
    return _joined([_read(meter, inputs) for inputs, _ in _batches(data)])


def read_made(meter: GradientMeter, kinds: Iterable[Iterable[Any]]) -> list[Readings]:
    """Readings of synthetic unknowns, batches of inputs by kind, but for those to which there is no finite answer."""
    by_kind = []
    for kind in kinds:
        parts = [read_finite(meter, Inputs.of(batch)).readings for batch in kind]
        if finite := [readings for readings in parts if readings is not None]:
            by_kind.append(Readings.concatenate(finite))
    return by_kind


def require_disjoint(known: ReadData, unknowns: Sequence[ReadData]) -> None:
    """Check that no input is given as known and as unknown.

    Raises:
        InputError: if one is.
    """
    for number, unknown in enumerate(unknowns):
        shared = int(np.isin(unknown.contents, known.contents).sum())
        if shared:
            raise InputError(
                f"unknowns[{number}] holds {shared:,} inputs, of {len(unknown.contents):,}, that are also among the "
                "known inputs; expected each input in one of them: leave it out of the other"
            )


def _read(meter: GradientMeter, inputs: Any) -> ReadData:
    """Readings of inputs, and hashes that tell these apart."""
    readings = read_inputs(meter, inputs)
    columns = inputs.column_names if isinstance(inputs, pa.Table) else inputs.columns if _is_frame(inputs) else ()
    if HASH_COLUMN in columns:
        contents = inputs[HASH_COLUMN].to_numpy()
    elif isinstance(inputs, (Readings, pa.Table)) or _is_frame(inputs):
        contents = reading_hashes(readings)
    else:
        contents = content_hashes(_tensors(inputs, _weight(meter)))
    return ReadData(readings, contents)


def _batches(data: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(data, pa.Table):
        yield data, data["label"].to_numpy() if "label" in data.column_names else None
    elif _is_frame(data):
        yield data, data["label"].to_numpy() if "label" in data.columns else None
    elif _is_pair(data):
        yield data
    elif isinstance(data, Iterable) and not isinstance(data, (Tensor, np.ndarray, Mapping)):
        yield from map(_split, data)
    else:
        raise InputError(
            f"data are a {type(data).__name__}; expected a loader of batches, a pair (inputs, labels), or a table of "
            "readings"
        )


def _split(batch: Any) -> tuple[Any, Any]:
    """Inputs, and labels where a batch has some."""
    if isinstance(batch, Mapping):
        name = next((name for name in _LABELS if name in batch), None)
        return {key: value for key, value in batch.items() if key not in _LABELS}, None if name is None else batch[name]
    if isinstance(batch, (tuple, list)) and len(batch) == 2:
        return batch[0], batch[1]
    # A loader's default collation makes lists of what a data set gives as tuples.
    return tuple(batch) if isinstance(batch, list) else batch, None


def _is_pair(data: Any) -> bool:
    """Whether data are (inputs, labels) themselves, not two batches of a loader."""
    if not isinstance(data, tuple) or len(data) != 2:
        return False
    labels = data[1]
    if isinstance(labels, list):
        return all(isinstance(one, int | np.integer) for one in labels)
    return bool(getattr(labels, "ndim", None) == 1)


def _label_tensor(found: Any) -> Tensor:
    array = found.cpu().numpy() if isinstance(found, Tensor) else np.asarray(found)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise InputError(
            f"labels are {array.dtype} of shape {array.shape}; expected whole numbers [N], the network's classes"
        )
    return torch.from_numpy(array.astype(np.int64))


def _tensors(inputs: Any, weight: Tensor) -> Any:
    """Tensors for arrays, where the network is and of its numbers."""
    if isinstance(inputs, np.ndarray):
        tensor = _tensor(inputs)
        # NumPy's numbers are float64 unless one asks; whole numbers stay, they may be tokens.
        return tensor.to(weight.device, weight.dtype if tensor.is_floating_point() else None)
    if isinstance(inputs, Mapping):
        return {name: _tensors(value, weight) for name, value in inputs.items()}
    if isinstance(inputs, tuple):
        return tuple(_tensors(value, weight) for value in inputs)
    return inputs


def _tensor(array: NDArray[Any]) -> Tensor:
    """An array of any byte order and memory layout as a tensor; it is copied where PyTorch cannot share it."""
    try:
        return torch.from_numpy(np.require(array, array.dtype.newbyteorder("="), ["C", "W"]))
    except TypeError as error:
        raise InputError(f"inputs are an array of {array.dtype}; expected numbers that PyTorch knows") from error


def _weight(meter: GradientMeter) -> Tensor:
    """One of the network's weights that stands for all."""
    return next((weight for weight in meter.model.parameters() if weight.is_floating_point()), torch.empty(0))


def _is_frame(data: Any) -> bool:
    # pandas need not be installed.
    return type(data).__module__.partition(".")[0] == "pandas" and hasattr(data, "columns")


def _of_same_network(meter: GradientMeter, readings: Readings) -> Readings:
    missing = [name for name in meter.pseudo_labels if name not in readings.pseudo_labels]
    missing += ["activations"] if meter.activations and readings.activations is None else []
    if missing:
        raise InputError(
            f"the readings have no {', '.join(missing)}; expected readings by the TrustModel's own meter, or by "
            "gradmeter measure"
        )
    if readings.layers != meter.layers:
        differing = sorted({*readings.layers} ^ {*meter.layers})
        raise InputError(
            f"the readings are of another network: {', '.join(differing[:3]) or 'the order of its layers'} differ; "
            "expected readings of this one"
        )
    if not len(readings):
        raise InputError("the readings are of zero samples; expected at least one")
    # Features are named after those of the meter's first one.
    return readings.led_by(meter.pseudo_labels[0])


def _joined(parts: Sequence[ReadData]) -> ReadData:
    if not parts:
        raise InputError("a loader has no batches; expected at least one")
    return ReadData(
        Readings.concatenate([part.readings for part in parts]), np.concatenate([part.contents for part in parts])
    )
