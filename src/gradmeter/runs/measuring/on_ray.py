"""Measuring parts of a data set with actors of a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gradmeter.runs.engines.processes import WorkerError
from gradmeter.runs.engines.ray import actors, cluster, fetched, through_actors
from gradmeter.runs.measuring.dataset import PART, MeasuredSet, Note, Skipped
from gradmeter.runs.measuring.loading import batch_of, decoded, fetch_samples
from gradmeter.runs.measuring.reader import Reader
from gradmeter.runs.measuring.work import BATCH, Work
from gradmeter.sources.samples import Encoded, Sample, Source, Unreadable

# Largest size in bytes of the stored samples of a part, which goes as a whole from the task that reads it to an actor.
_PART_BYTES = 128 * 2**20
# Small parts are read together, up to this many bytes, so that a row group of a table is decoded only once; but an
# actor gets at least this many groups of parts, so that all actors finish at about the same time.
_READ_BYTES, _SHARES = 32 * 2**20, 8
# Number of samples that are read to estimate the size of all.
_PROBED = 16
_SCHEMA = pa.schema(
    {
        "part": pa.int64(),
        "id": pa.string(),
        "content": pa.large_binary(),
        "label": pa.int64(),
        "unreadable": pa.string(),
    }
)
_NOTES = pa.schema({"rows": pa.int64(), "skipped": pa.list_(pa.struct({"id": pa.string(), "reason": pa.string()}))})


def part_size(source: Source) -> int:
    """Number of samples in a part; smaller if the samples are large."""
    return max(1, min(PART, _PART_BYTES // _largest_size(source)))


def _largest_size(source: Source) -> int:
    """Size in bytes of the largest of a few stored samples."""
    indices = np.linspace(0, len(source) - 1, min(_PROBED, len(source))).round().astype(int)
    sizes = [1]
    for index in indices:
        try:
            sizes.append(len(source.fetch(int(index)).content))
        except Unreadable:
            continue
    return max(sizes)


def ray_parts(
    reader: Reader, source: Source, parts: Mapping[int, Sequence[int]], measured: MeasuredSet, work: Work
) -> None:
    """Measure the parts on a Ray cluster, whose actors write them.

    Raises:
        WorkerError: if a part was not written although no worker reported an error.
    """
    gpus = work.device.startswith("cuda")
    with cluster() as ray:
        source_ref = ray.put(source)
        count = min(actors(ray, work.workers, gpus=gpus), len(parts))
        arguments = {
            "reader": ray.put(reader),
            "decoder": source.decoder,
            "measured": measured,
            "device": work.device,
        }
        group_size = _READ_BYTES // (_largest_size(source) * max(map(len, parts.values())))
        group_size = max(1, min(group_size, len(parts) // (_SHARES * count)))
        items = list(parts.items())
        groups = [items[start : start + group_size] for start in range(0, len(items), group_size)]
        tables = [partial(_fetch_parts, source_ref, group) for group in groups]
        for notes in through_actors(ray, tables, _PartWriter, arguments, count=count, gpus=gpus):
            for note in notes.to_pylist():
                for sample in note["skipped"]:
                    work.on_skip(Skipped(**sample))
                work.on_progress(note["rows"] + len(note["skipped"]))
    if missing := parts.keys() - measured.complete():
        raise WorkerError(f"{len(missing)} of {len(parts)} parts were not written; run the same command again")


def _fetch_parts(source_ref: Any, parts: Sequence[tuple[int, Sequence[int]]]) -> pa.Table:
    """The stored samples of some parts."""
    source: Source = fetched(source_ref)
    rows = [_row(part, sample) for part, indices in parts for sample in fetch_samples(source, indices)]
    return pa.Table.from_pylist(rows, _SCHEMA)


def _row(part: int, sample: Encoded | Skipped) -> dict[str, Any]:
    if isinstance(sample, Skipped):
        return {"part": part, "id": sample.id, "unreadable": sample.reason}
    return {"part": part, "id": sample.id, "content": sample.content, "label": sample.label}


class _PartWriter:
    """An actor that holds the network, measures the samples of parts and writes these parts of the data set."""

    def __init__(self, reader: Any, decoder: Callable[[bytes], Any], measured: MeasuredSet, device: str) -> None:
        self._reader: Reader = fetched(reader)
        self._reader.move(device)
        self._decoder, self._measured, self._device = decoder, measured, device

    def __call__(self, samples: pa.Table) -> pa.Table:
        notes = []
        for part in samples["part"].unique().to_pylist():
            # Ray repeats a task whose actor was killed; some of its parts may be complete.
            note = self._measured.note(part) or self._write(part, samples.filter(pc.equal(samples["part"], part)))
            notes.append(asdict(note))
        return pa.Table.from_pylist(notes, _NOTES)

    def _write(self, part: int, samples: pa.Table) -> Note:
        tables, skipped = [], []
        for start in range(0, len(samples), BATCH):
            decoded_samples = [self._decode(row) for row in samples.slice(start, BATCH).to_pylist()]
            batch, table = self._reader.rows(batch_of(decoded_samples, self._reader.classifier.batch), self._device)
            skipped += batch.skipped
            if table is not None:
                tables.append(table)
        return self._measured.write(part, pa.concat_tables(tables) if tables else None, skipped)

    def _decode(self, row: Mapping[str, Any]) -> Sample | Skipped:
        if row["unreadable"] is not None:
            return Skipped(row["id"], row["unreadable"])
        return decoded(Encoded(row["id"], row["content"], row["label"]), self._decoder)
