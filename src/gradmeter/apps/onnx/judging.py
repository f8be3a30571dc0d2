"""The workflow of `gradmeter judge` for an ONNX file; it needs no PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gradmeter.apps.onnx.judged_model import JudgedModel
from gradmeter.apps.workflows.verdict_files import JudgedSamples, write_verdicts
from gradmeter.errors import DataError, InputError
from gradmeter.runs.measuring.dataset import PART, MeasuredSet, Skipped
from gradmeter.runs.measuring.filling import cut, fill, none_readable, place_of
from gradmeter.runs.measuring.loading import SYSTEMATIC, Batch, read_batch
from gradmeter.runs.measuring.purpose import PLACE
from gradmeter.runs.measuring.work import Measured, Work
from gradmeter.sources.samples import ImageKind, Source, open_source
from gradmeter.trust.reasons import DOUBTFUL, unfamiliar_in
from gradmeter.trust.verdict_columns import VERDICT_COLUMNS

# Inputs that the graph judges together: the sums over their activations stay in cache.
_TOGETHER = 16


def source_for(model: JudgedModel, data: str) -> Source:
    """Open the samples that DATA names for a model.

    Raises:
        DataError: if `data` does not exist, or holds other samples than the model takes.
        InputError: if the file does not say how an image becomes an input.
    """
    steps, arrays = model.metadata.preprocessing, model.metadata.arrays
    if steps is None and arrays is None:
        raise InputError(
            f"{model.name} does not say how an image becomes an input of {model.metadata.model}; preprocess the images "
            "and run the file with onnxruntime, or judge them with the TrustModel's folder"
        )
    return open_source(data, None if steps is None else ImageKind(steps.mode, steps.side), arrays=arrays, labels=False)


def judge(model: JudgedModel, source: Source, out: str, work: Work) -> JudgedSamples:
    """Write a verdict on every sample; continue an earlier run that was interrupted.

    The rows are those of `gradmeter.apps.workflows.judge`.

    Args:
        model: the network and its judge.
        source: samples of `source_for`.
        out: path of a .csv file, or folder of a Parquet data set at a path or an address in an object store.
        work: callbacks, and whether to start over.

    Raises:
        DataError: if no sample can be read.
        InputError: if the samples have another shape than the model takes.
        OutputError: as `write_verdicts`.
    """

    def write_parts(parts: Mapping[int, Sequence[int]], measured: MeasuredSet) -> None:
        for part, indices in parts.items():
            tables, skipped = list[pa.Table](), list[Skipped]()
            for batch, table in _judged(model, source, cut(indices), work):
                tables += [] if table is None else [table]
                skipped += batch.skipped
            measured.write(part, pa.concat_tables(tables) if tables else None, skipped)

    def stream(folder: Any, purpose: Mapping[str, Any]) -> Measured:
        return fill(
            source, folder, purpose, work, write_parts, lambda: _begin(source, work), part=PART, content="verdicts"
        )

    return write_verdicts(out, _purpose(model, source), source, work, stream)


def verdicts(model: JudgedModel, source: Source, work: Work) -> Iterator[dict[str, Any]]:
    """Yield the rows of `judge` one by one without writing anything.

    Raises:
        DataError: at the end, if no sample could be read.
        InputError: as `judge`.
    """
    skipped = list[Skipped]()
    source.send_note(work.on_note)
    for batch, table in _judged(model, source, cut(range(len(source))), work):
        skipped += batch.skipped
        if table is not None:
            yield from table.to_pylist()
    if len(skipped) == len(source):
        raise none_readable(source, skipped)


def _begin(source: Source, work: Work) -> None:
    work.on_start(source.name, len(source))
    source.send_note(work.on_note)


def _purpose(model: JudgedModel, source: Source) -> dict[str, Any]:
    """Return what distinguishes these verdicts from others."""
    metadata = model.metadata
    guarantee = metadata.guarantee or {}
    return {
        "model": metadata.model,
        "onnx": dict(metadata.versions),
        "classes": metadata.classes,
        "data": source.name,
        PLACE: place_of(source),
        "samples": len(source),
        "contents": source.fingerprint(),
        "fit": metadata.fingerprint,
        "threshold": guarantee.get("threshold"),
        "score": guarantee.get("score"),
    }


def _judged(
    model: JudgedModel, source: Source, batches: Sequence[Sequence[int]], work: Work
) -> Iterator[tuple[Batch, pa.Table | None]]:
    """Yield batches of samples with their verdicts; None if no sample of the batch could be read or judged."""
    prepare = _preparation(model)
    for indices in batches:
        batch = read_batch(source, prepare, indices)
        table = None
        if batch.ids:
            parts = [model(batch.inputs[start : start + _TOGETHER]) for start in range(0, len(batch.ids), _TOGETHER)]
            outputs = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
            batch, outputs = _finite(source, batch, outputs)
            table = _table(model, batch.ids, outputs) if batch.ids else None
        for sample in batch.skipped:
            work.on_skip(sample)
        work.on_progress(len(batch.ids) + len(batch.skipped))
        yield batch, table


def _preparation(model: JudgedModel) -> Callable[[Sequence[Any]], NDArray[np.float32]]:
    """Return what turns decoded samples into a batch of inputs."""
    steps, arrays = model.metadata.preprocessing, model.metadata.arrays
    if steps is not None:
        return lambda images: np.stack([steps(image) for image in images])
    assert arrays is not None
    (name,) = arrays.names

    @np.errstate(over="ignore")  # Too large numbers become infinite, and the sample is skipped with that reason.
    def stacked(samples: Sequence[Any]) -> NDArray[np.float32]:
        return np.stack([sample[name] for sample in samples]).astype(np.float32)

    return stacked


def _finite(source: Source, batch: Batch, outputs: dict[str, NDArray[Any]]) -> tuple[Batch, dict[str, NDArray[Any]]]:
    """Skip samples for which the network or its judge overflows.

    Raises:
        DataError: if these are all of at least `SYSTEMATIC` samples.
    """
    finite = np.isfinite(outputs["probabilities"]).all(axis=1) & np.isfinite(outputs["p_correct"])
    if finite.all():
        return batch, outputs
    if not finite.any() and len(finite) >= SYSTEMATIC:
        raise DataError(
            f"{source.name}: the verdicts on all of {len(finite)} samples are not finite; expected inputs like those "
            "that the network was trained on: check the data"
        )
    reasons = {int(row): "the verdict on it is not finite" for row in np.flatnonzero(~finite)}
    return batch.without(reasons), {name: values[finite] for name, values in outputs.items()}


def _table(model: JudgedModel, ids: Sequence[str], outputs: Mapping[str, NDArray[Any]]) -> pa.Table:
    """Return the rows of samples."""
    classes, count = model.metadata.classes, len(ids)
    predictions = outputs["prediction"].tolist()
    named = predictions if classes is None else [classes[index] for index in predictions]
    columns: dict[str, Any] = {
        "id": pa.array(ids, pa.string()),
        "prediction": pa.array(named),
        "probability": pa.array(outputs["probabilities"].max(axis=1), pa.float64()),
    }
    for name in ("p_known", "p_correct_if_known", "p_correct"):
        columns[name] = pa.array(outputs[name], pa.float64())
    if model.metadata.guarantee is None:
        return pa.table(
            {**columns, **{name: pa.nulls(count, VERDICT_COLUMNS[name]) for name in ("accepted", "reason")}}
        )
    columns["accepted"] = pa.array(outputs["accepted"])
    columns["reason"] = pa.array(_reasons(model.metadata.layers, outputs), pa.string())
    return pa.table(columns)


def _reasons(layers: Sequence[str], outputs: Mapping[str, NDArray[Any]]) -> list[str | None]:
    """Return why predictions are not accepted, as `TrustModel.verdicts` does."""
    reasons = list[str | None]()
    for accepted, unfamiliar, numbers in zip(
        *(outputs[name].tolist() for name in ("accepted", "unfamiliar", "unfamiliar_layers")), strict=True
    ):
        named = [layers[number] for number in numbers if number >= 0]
        reasons.append(None if accepted else unfamiliar_in(named) if unfamiliar else DOUBTFUL)
    return reasons
