"""Parts of a data set made by actors of a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gradmeter.runs.engines.processes import WorkerError
from gradmeter.runs.engines.ray import actors, cluster, through_actors
from gradmeter.runs.measuring.dataset import PART, MeasuredSet, Note, Skipped
from gradmeter.runs.measuring.loading import batch_of, decoded, fetched
from gradmeter.runs.measuring.reader import Reader
from gradmeter.runs.measuring.work import BATCH, Work
from gradmeter.sources.samples import Encoded, Sample, Source, Unreadable

# Bytes of the stored samples of a part: as a whole it goes from the process that reads to the one that measures.
_PART_BYTES = 128 * 2**20
# Bytes of small parts that are read together, so that what lies in one row group of a table is decoded once, and shares
# of the work of an actor, at least, so that all end together.
_READ_BYTES, _SHARES = 32 * 2**20, 8
# Samples whose size tells that of all.
_WEIGHED = 16
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
    """Samples of a part, fewer where they are large."""
    return max(1, min(PART, _PART_BYTES // _bytes(source)))


def _bytes(source: Source) -> int:
    """Of the largest of some samples as they are stored."""
    places = np.linspace(0, len(source) - 1, min(_WEIGHED, len(source))).round().astype(int)
    sizes = []
    for place in places:
        try:
            sizes.append(len(source.fetch(int(place)).content))
        except Unreadable:
            continue
    return max([1, *sizes])


def ray_parts(
    reader: Reader, source: Source, parts: Mapping[int, Sequence[int]], measured: MeasuredSet, work: Work
) -> None:
    """Let actors write the parts.

    Raises:
        WorkerError: if one was not written for a reason that nobody told.
    """
    gpus = work.device.startswith("cuda")
    with cluster() as ray:
        shared = ray.put(source)
        count = min(actors(ray, work.workers, gpus=gpus), len(parts))
        arguments = {
            "reader": ray.put(reader),
            "decoder": source.decoder,
            "measured": measured,
            "device": work.device,
        }
        together = _READ_BYTES // (_bytes(source) * max(map(len, parts.values())))
        together = max(1, min(together, len(parts) // (_SHARES * count)))
        each = list(parts.items())
        tables = [partial(_fetched, shared, each[at : at + together]) for at in range(0, len(each), together)]
        for answers in through_actors(ray, tables, _PartWriter, arguments, count=count, gpus=gpus):
            for note in answers.to_pylist():
                for one in note["skipped"]:
                    work.on_skip(Skipped(**one))
                work.on_progress(note["rows"] + len(note["skipped"]))
    if lost := parts.keys() - measured.complete():
        raise WorkerError(f"{len(lost)} of {len(parts)} parts were not written; run the same command again")


def _fetched(shared: Any, parts: Sequence[tuple[int, Sequence[int]]]) -> pa.Table:
    """The samples of some parts as they are stored."""
    import ray

    source: Source = ray.get(shared)
    rows = [_stored(part, one) for part, samples in parts for one in fetched(source, samples)]
    return pa.Table.from_pylist(rows, _SCHEMA)


def _stored(part: int, one: Encoded | Skipped) -> dict[str, Any]:
    if isinstance(one, Skipped):
        return {"part": part, "id": one.id, "unreadable": one.reason}
    return {"part": part, "id": one.id, "content": one.content, "label": one.label}


class _PartWriter:
    """An actor: it holds the network, and makes of the samples of parts these parts of the data set."""

    def __init__(self, reader: Any, decoder: Callable[[bytes], Any], measured: MeasuredSet, device: str) -> None:
        import ray

        self._reader: Reader = ray.get(reader)
        self._reader.move(device)
        self._decoder, self._measured, self._device = decoder, measured, device

    def __call__(self, samples: pa.Table) -> pa.Table:
        notes = []
        for part in samples["part"].unique().to_pylist():
            # One that was killed may have written some of them.
            note = self._measured.note(part) or self._write(part, samples.filter(pc.equal(samples["part"], part)))
            notes.append(asdict(note))
        return pa.Table.from_pylist(notes, _NOTES)

    def _write(self, part: int, samples: pa.Table) -> Note:
        tables, missed = [], []
        for start in range(0, len(samples), BATCH):
            found = [self._decoded(one) for one in samples.slice(start, BATCH).to_pylist()]
            batch, table = self._reader.rows(batch_of(found, self._reader.classifier.batch), self._device)
            missed += batch.skipped
            if table is not None:
                tables.append(table)
        return self._measured.write(part, pa.concat_tables(tables) if tables else None, missed)

    def _decoded(self, stored: Mapping[str, Any]) -> Sample | Skipped:
        if stored["unreadable"] is not None:
            return Skipped(stored["id"], stored["unreadable"])
        return decoded(Encoded(stored["id"], stored["content"], stored["label"]), self._decoder)
