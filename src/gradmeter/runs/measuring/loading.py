"""Batches of a source's samples, in order, those that cannot be read set aside."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch.utils.data import DataLoader, Dataset

from gradmeter.errors import GradmeterError, InputError, one_line
from gradmeter.runs.engines.processes import WorkerError
from gradmeter.runs.measuring.dataset import Skipped
from gradmeter.sources.samples import Encoded, Sample, Source, Unreadable

SYSTEMATIC = 8
"""Samples of a batch: where all of so many fail, that is no chance."""


@dataclass(frozen=True)
class Batch:
    """Some samples of a source.

    Attributes:
        ids: of the samples that could be read.
        labels: their labels.
        inputs: of a network for them; None where there is none.
        skipped: the others.
    """

    ids: list[str]
    labels: list[int | None]
    inputs: Any
    skipped: list[Skipped]

    def without(self, reasons: Mapping[int, str]) -> Batch:
        """The same, some samples set aside: row to reason."""
        kept = [row for row in range(len(self.ids)) if row not in reasons]
        return Batch(
            [self.ids[row] for row in kept],
            [self.labels[row] for row in kept],
            _rows(self.inputs, kept) if kept else None,
            [*self.skipped, *(Skipped(self.ids[row], reason) for row, reason in reasons.items())],
        )


def _rows(inputs: Any, rows: Sequence[int]) -> Any:
    """Some of the samples of a network's inputs, a tensor or a mapping of tensors."""
    if isinstance(inputs, Mapping):
        return {name: value[rows] for name, value in inputs.items()}
    return inputs[rows]


def batch_of(found: Sequence[Sample | Skipped], prepare: Callable[[Sequence[Any]], Any]) -> Batch:
    """A batch of what was read; what cannot be prepared is set aside, too."""
    skipped = [one for one in found if isinstance(one, Skipped)]
    read = [one for one in found if not isinstance(one, Skipped)]
    try:
        inputs = prepare([sample.content for sample in read]) if read else None
    except Exception as error:  # preprocessing may be anybody's
        alone = [one if isinstance(one, Skipped) else _prepared(one, prepare) for one in found]
        failed = len(read) - sum(isinstance(one, Sample) for one in alone)
        if not failed or failed == len(read) >= SYSTEMATIC:  # it is not for one of them that it fails
            raise InputError(
                f"{read[0].id} to {read[-1].id} cannot be prepared for the network ({type(error).__name__}: "
                f"{one_line(error)}); expected samples that its preprocessing takes"
            ) from error
        return batch_of(alone, prepare)
    return Batch([sample.id for sample in read], [sample.label for sample in read], inputs, skipped)


def _prepared(sample: Sample, prepare: Callable[[Sequence[Any]], Any]) -> Sample | Skipped:
    """A sample, if it can be prepared."""
    try:
        prepare([sample.content])
    except Exception as error:
        return Skipped(sample.id, f"cannot be prepared for the network ({type(error).__name__}: {one_line(error)})")
    return sample


def decoded(encoded: Encoded, decoder: Callable[[bytes], Any]) -> Sample | Skipped:
    """A sample of what is stored, or why there is none."""
    try:
        return Sample(encoded.id, decoder(encoded.content), encoded.label)
    except Unreadable as error:
        return Skipped(encoded.id, str(error))


def fetched(source: Source, indices: Sequence[int]) -> list[Encoded | Skipped]:
    """Samples as they are stored, or why there is none."""
    fetch = partial(_fetched, source)
    if source.at_once == 1:
        return list(map(fetch, indices))
    with ThreadPoolExecutor(source.at_once) as threads:
        return list(threads.map(fetch, indices))


def _fetched(source: Source, index: int) -> Encoded | Skipped:
    try:
        return source.fetch(index)
    except Unreadable as error:
        return Skipped(source.id(index), str(error))


@dataclass(frozen=True)
class _Batches(Dataset[Any]):
    """Read and prepared in the loading processes; what they raise comes back as it is."""

    source: Source
    prepare: Callable[[Sequence[Any]], Any]

    def __getitems__(self, indices: Sequence[int]) -> Batch | GradmeterError:
        try:
            found = fetched(self.source, indices)
            samples = [one if isinstance(one, Skipped) else decoded(one, self.source.decoder) for one in found]
            return batch_of(samples, self.prepare)
        except GradmeterError as error:
            # PyTorch would put where it happened around what happened.
            return error


def _as_it_is(batch: Any) -> Any:
    return batch


def load_batches(
    source: Source, prepare: Callable[[Sequence[Any]], Any], batches: Sequence[Sequence[int]], workers: int
) -> Iterator[Batch]:
    """Read batches of samples.

    Args:
        source: the samples.
        prepare: from decoded images or texts to a network's inputs.
        batches: numbers of the samples of each batch.
        workers: processes that read ahead; 0 for this one.

    Raises:
        DataError: if the store of the samples does not answer.
        InputError: if a whole batch cannot be prepared.
    """
    sampler: Any = batches  # ranges serve as well as the lists that DataLoader is declared for
    samples = _Batches(source, prepare)
    for batch in DataLoader(samples, batch_sampler=sampler, num_workers=workers, collate_fn=_as_it_is):
        if isinstance(batch, GradmeterError):
            raise batch
        yield batch


@contextmanager
def processes_may_end() -> Iterator[None]:
    """Work during which `load_batches` may be in use: PyTorch tells of a process that ended wherever this one is then.

    Raises:
        WorkerError: if one did.
    """
    try:
        yield
    except RuntimeError as error:
        if not str(error).startswith("DataLoader worker"):
            raise
        raise WorkerError(
            f"a process that reads samples ended ({one_line(error)}); run the same command again, it goes on where it "
            "stood"
        ) from error
