"""Scores in the files that the analysis of FD-Shifts reads.

FD-Shifts (Jaeger et al. 2023, https://github.com/IML-DKFZ/fd-shifts) evaluates the outputs of an experiment on several
data sets: `raw_logits.npz` holds [N, C + 2], the logits, label and index of the data set of each sample, and
`external_confids.npz` holds [N], one confidence score of each sample, which it calls "ext".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gradmeter.errors import DataError, InputError, OutputError, one_line
from gradmeter.files import atomic_write
from gradmeter.reading.columns import column_of
from gradmeter.reading.readings import Readings
from gradmeter.trust.meta_classifier import P_CORRECT, SCORES
from gradmeter.trust.model import TrustModel

LOGITS, SOFTMAX, CONFIDENCES = "raw_logits.npz", "raw_output.npz", "external_confids.npz"
"""Names of the files: logits, or probabilities of earlier versions, and confidence scores."""
NO_LABEL = -99
"""The label of unknown inputs, as FD-Shifts numbers new classes."""

_EXPECTED = "expected readings of the same network and samples in the same order"
# The largest number of a class or a data set: whole numbers up to it are exact in float64.
_LARGEST = 2**53
# Outputs may be stored in half precision, so that a few of the predictions differ.
_DIFFERING = 0.01


@dataclass(frozen=True, eq=False)
class Outputs:
    """The outputs of an experiment for N samples of several data sets.

    Attributes:
        logits: [N, C] float64; logarithms of probabilities if only these were stored.
        labels: [N] int64; `NO_LABEL`, or classes of another data set, for unknown inputs.
        datasets: [N] int64, the index of the data set. With `val_tuning`, the default, 0 is the validation set.
        confidences: [N] float64, the scores in `external_confids.npz`; None without that file.
    """

    logits: NDArray[np.float64]
    labels: NDArray[np.int64]
    datasets: NDArray[np.int64]
    confidences: NDArray[np.float64] | None

    @property
    def predictions(self) -> NDArray[np.int64]:
        """The predicted classes, [N]."""
        predictions: NDArray[np.int64] = self.logits.argmax(1)
        return predictions


def read_outputs(folder: Path | str) -> Outputs:
    """Read the outputs of an experiment, which FD-Shifts or `write_outputs` wrote.

    Args:
        folder: its folder `test_results`.

    Raises:
        DataError: if there are no outputs, or they are damaged or of other shapes.
    """
    folder = Path(folder)
    name = next((name for name in (LOGITS, SOFTMAX) if (folder / name).is_file()), None)
    if name is None:
        raise DataError(f"{folder} has neither {LOGITS} nor {SOFTMAX}; expected the test_results of an experiment")
    raw = _read(folder / name)
    if raw.ndim != 2 or raw.shape[1] < 4 or not len(raw):
        raise DataError(f"{folder / name} has shape {raw.shape}; expected [N, classes + 2] with at least 2 classes")
    logits = raw[:, :-2].astype(np.float64)
    if name == SOFTMAX:
        with np.errstate(divide="ignore"):
            logits = np.log(logits)
    confidences = None
    if (folder / CONFIDENCES).is_file():
        confidences = _read(folder / CONFIDENCES).astype(np.float64)
        if confidences.shape not in ((len(raw),), (len(raw), 1)):
            raise DataError(f"{folder / CONFIDENCES} has shape {confidences.shape}; expected [{len(raw)}]")
        confidences = confidences.reshape(-1)
    numbers = raw[:, -2:].astype(np.float64)
    if not (np.abs(numbers) <= _LARGEST).all() or not np.array_equal(numbers, np.rint(numbers)):
        raise DataError(
            f"{folder / name}: the last two columns hold fractions or numbers that are not finite; expected the label "
            "and the data set"
        )
    return Outputs(logits, numbers[:, 0].astype(np.int64), numbers[:, 1].astype(np.int64), confidences)


def write_outputs(
    folder: Path | str, trust: TrustModel, datasets: Sequence[pa.Table], *, score: str = P_CORRECT
) -> Outputs:
    """Write the outputs of a network and the scores of a TrustModel, for FD-Shifts to analyse without a checkpoint.

    Args:
        folder: the folder `test_results` to write to; the two files are replaced.
        trust: the fitted TrustModel.
        datasets: readings of each data set, as `gradmeter measure` writes them, in the order of its index: first the
            validation set, then those that the experiment's configuration queries. Rows have a "label"; without that
            column, or with a null, an input is unknown.
        score: "p_correct", "p_known" or "p_correct_if_known".

    Returns:
        What was written.

    Raises:
        InputError: if there are no data sets, or the meta classifier does not give the score.
        DataError: if labels are no whole numbers.
        OutputError: if the folder cannot be written.
    """
    outputs = _outputs(trust, datasets, score)
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot create {folder} ({error.strerror}); choose another folder") from error
    raw = np.column_stack([outputs.logits, outputs.labels, outputs.datasets])
    _write(folder / LOGITS, raw)
    assert outputs.confidences is not None
    _write(folder / CONFIDENCES, outputs.confidences)
    return outputs


def write_confidences(
    folder: Path | str, trust: TrustModel, datasets: Sequence[pa.Table], *, score: str = P_CORRECT
) -> Outputs:
    """Write the scores of a TrustModel beside the outputs that FD-Shifts wrote for the same network and samples.

    Args:
        folder: the folder `test_results` of the experiment; `external_confids.npz` is replaced.
        trust: the fitted TrustModel.
        datasets: readings of the same samples in the same order, as for `write_outputs`.
        score: as for `write_outputs`.

    Returns:
        The outputs with the new scores.

    Raises:
        DataError: if the experiment has no outputs, or other samples, labels or predictions than the readings.
        Those of `write_outputs`.
    """
    theirs, ours = read_outputs(folder), _outputs(trust, datasets, score)
    if theirs.logits.shape != ours.logits.shape:
        raise DataError(
            f"{folder} has outputs of shape {theirs.logits.shape}, the readings have {ours.logits.shape}; {_EXPECTED}"
        )
    if (row := _first(theirs.datasets != ours.datasets)) is not None:
        raise DataError(
            f"{folder} has data set {theirs.datasets[row]} in row {row:,}, the readings have {ours.datasets[row]}; "
            f"{_EXPECTED}"
        )
    if (row := _first((theirs.labels != ours.labels) & (ours.labels != NO_LABEL))) is not None:
        raise DataError(
            f"{folder} has label {theirs.labels[row]} in row {row:,}, the readings have {ours.labels[row]}; {_EXPECTED}"
        )
    differing = float((theirs.predictions != ours.predictions).mean())
    if differing > _DIFFERING:
        raise DataError(f"{folder} has other predictions in {100 * differing:.3g} % of the rows; {_EXPECTED}")
    assert ours.confidences is not None
    _write(Path(folder) / CONFIDENCES, ours.confidences)
    return Outputs(theirs.logits, theirs.labels, theirs.datasets, ours.confidences)


def _outputs(trust: TrustModel, datasets: Sequence[pa.Table], score: str) -> Outputs:
    if score not in SCORES:
        raise InputError(f"score {score!r}; expected {', '.join(SCORES)}")
    if isinstance(datasets, pa.Table):
        raise InputError("datasets is one table; expected a sequence of tables, one for each data set")
    if not isinstance(datasets, Sequence):
        raise InputError(f"datasets is a {type(datasets).__name__}; expected a sequence of tables, such as a list")
    if not datasets:
        raise InputError("there are no data sets; expected readings of at least one")
    if other := [table for table in datasets if not isinstance(table, pa.Table)]:
        raise InputError(f"a data set is a {type(other[0]).__name__}; expected a pyarrow.Table of readings")
    logits, labels, confidences = [], [], []
    for table in datasets:
        column = trust.verdicts(table)[score]
        if column.null_count:
            raise InputError(f"the meta classifier does not give {score}; expected {P_CORRECT}, or gradmeter")
        confidences.append(column.to_numpy())
        logits.append(Readings.from_arrow(table).logits.double().cpu().numpy())
        labels.append(_labels(table))
    indices = np.repeat(np.arange(len(datasets)), [len(table) for table in datasets])
    return Outputs(np.concatenate(logits), np.concatenate(labels), indices, np.concatenate(confidences))


def _labels(table: pa.Table) -> NDArray[np.int64]:
    """The labels of readings, [N]; `NO_LABEL` where there is none.

    Raises:
        DataError: if they are no whole numbers up to 2^53, or there are several columns of them.
    """
    column = column_of(table, "label")
    if column is None:
        return np.full(len(table), NO_LABEL)
    if not (pa.types.is_integer(column.type) or pa.types.is_null(column.type)):
        raise DataError(f"labels have type {column.type}; expected whole numbers, the classes")
    try:
        labels: NDArray[np.int64] = column.cast(pa.int64()).fill_null(NO_LABEL).to_numpy()
    except pa.ArrowInvalid as error:
        raise DataError(f"a label is no class ({one_line(error)}); expected whole numbers, the classes") from error
    if (row := _first((labels > _LARGEST) | (labels < -_LARGEST))) is not None:
        raise DataError(f"a label is no class ({labels[row]}); expected whole numbers up to 2^53, the classes")
    return labels


def _first(rows: NDArray[np.bool_]) -> int | None:
    """The index of the first true row; None if there is none."""
    return int(rows.argmax()) if rows.any() else None


def _read(path: Path) -> NDArray[Any]:
    """The only array of an archive.

    Raises:
        DataError: if it is damaged or holds no array of real numbers.
    """
    try:
        # Given a path, NumPy would leave a damaged file open.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            array = archive["arr_0"]
    except ValueError as error:
        # NumPy's own message may advise to unpickle the file.
        raise DataError(f"{path} is damaged or not of FD-Shifts: no .npz archive of numbers; write it again") from error
    except Exception as error:  # on damaged files, libraries raise errors of any type
        raise DataError(f"{path} is damaged or not of FD-Shifts ({one_line(error):.200}); write it again") from error
    if array.dtype.kind not in "fiu":
        raise DataError(f"{path} has dtype {array.dtype}; expected numbers")
    return np.asarray(array)


def _write(path: Path, array: NDArray[Any]) -> None:
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, array)
