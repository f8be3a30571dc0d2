"""Loading a source's samples in batches, in order; samples that cannot be read are skipped."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing.reduction import ForkingPickler
from typing import Any

from gradmeter.errors import GradmeterError, InputError, is_out_of_memory, one_line
from gradmeter.runs.machine import available_cores
from gradmeter.runs.measuring.dataset import Skipped
from gradmeter.sources.samples import Encoded, Sample, Source, Unreadable

SYSTEMATIC = 8
"""If all samples of a batch fail and there are at least this many, it is an error and they are not skipped."""


@dataclass(frozen=True)
class Batch:
    """Some samples of a source.

    Attributes:
        ids: ids of the samples that could be read.
        labels: their labels.
        inputs: the network's inputs for them; None if no sample could be read.
        skipped: the samples that could not be read.
    """

    ids: list[str]
    labels: list[int | None]
    inputs: Any
    skipped: list[Skipped]

    def without(self, reasons: Mapping[int, str]) -> Batch:
        """The batch with some samples skipped.

        Args:
            reasons: row of each sample to skip, and why.
        """
        kept = [row for row in range(len(self.ids)) if row not in reasons]
        return Batch(
            [self.ids[row] for row in kept],
            [self.labels[row] for row in kept],
            _rows(self.inputs, kept) if kept else None,
            [*self.skipped, *(Skipped(self.ids[row], reason) for row, reason in reasons.items())],
        )


def _rows(inputs: Any, rows: Sequence[int]) -> Any:
    """Rows of a network's inputs, a tensor or a mapping of tensors."""
    if isinstance(inputs, Mapping):
        return {name: value[rows] for name, value in inputs.items()}
    return inputs[rows]


def batch_of(samples: Sequence[Sample | Skipped], prepare: Callable[[Sequence[Any]], Any]) -> Batch:
    """Prepare samples for the network; skip those for which that fails.

    Raises:
        InputError: if the samples fail together but not alone, or if all of at least `SYSTEMATIC` samples fail.
    """
    skipped = [sample for sample in samples if isinstance(sample, Skipped)]
    read = [sample for sample in samples if not isinstance(sample, Skipped)]
    try:
        inputs = prepare([sample.content for sample in read]) if read else None
    except Exception as error:  # the preprocessing may be the user's code
        checked = [sample if isinstance(sample, Skipped) else _prepared_alone(sample, prepare) for sample in samples]
        failures = len(read) - sum(isinstance(sample, Sample) for sample in checked)
        if not failures or failures == len(read) >= SYSTEMATIC:  # no single sample is the cause
            expected = (
                "give more memory" if is_out_of_memory(error) else "expected samples that its preprocessing accepts"
            )
            raise InputError(
                f"{read[0].id} to {read[-1].id} cannot be prepared for the network ({type(error).__name__}: "
                f"{one_line(error)}); {expected}"
            ) from error
        return batch_of(checked, prepare)
    return Batch([sample.id for sample in read], [sample.label for sample in read], inputs, skipped)


def _prepared_alone(sample: Sample, prepare: Callable[[Sequence[Any]], Any]) -> Sample | Skipped:
    """The sample if it can be prepared alone, else why not."""
    try:
        prepare([sample.content])
    except Exception as error:
        return Skipped(sample.id, f"cannot be prepared for the network ({type(error).__name__}: {one_line(error)})")
    return sample


def decoded(encoded: Encoded, decoder: Callable[[bytes], Any]) -> Sample | Skipped:
    """Decode a sample; if it cannot be read, return why."""
    try:
        return Sample(encoded.id, decoder(encoded.content), encoded.label)
    except Unreadable as error:
        return Skipped(encoded.id, str(error))


def fetch_samples(source: Source, indices: Sequence[int]) -> list[Encoded | Skipped]:
    """Fetch samples as they are stored; for those that cannot be read, why."""
    fetch = partial(_fetch, source)
    if source.at_once == 1:
        return list(map(fetch, indices))
    with ThreadPoolExecutor(source.at_once) as threads:
        return list(threads.map(fetch, indices))


def _fetch(source: Source, index: int) -> Encoded | Skipped:
    try:
        return source.fetch(index)
    except Unreadable as error:
        return Skipped(source.id(index), str(error))


def read_batch(source: Source, prepare: Callable[[Sequence[Any]], Any], indices: Sequence[int]) -> Batch:
    """Load one batch of samples, as `load_batches` does, in this process and without PyTorch.

    Raises:
        Those of `load_batches`.
    """
    samples = [
        encoded if isinstance(encoded, Skipped) else decoded(encoded, source.decoder)
        for encoded in fetch_samples(source, indices)
    ]
    return batch_of(samples, prepare)


@dataclass(frozen=True)
class _Batches:
    """A data set that loads and prepares whole batches, in the processes of a DataLoader."""

    source: Source
    prepare: Callable[[Sequence[Any]], Any]

    def __getitems__(self, indices: Sequence[int]) -> Batch | GradmeterError:
        try:
            return read_batch(self.source, self.prepare, indices)
        except GradmeterError as error:
            # Returned, not raised: PyTorch would wrap the message in the traceback of the loading process.
            return error


def _identity(batch: Any) -> Any:
    return batch


class _Pickled:
    """What arrives as the batch where it is unpickled: in the DataLoader, which notices the end of its processes."""

    def __init__(self, batch: bytes) -> None:
        self._batch = batch

    def __reduce__(self) -> tuple[Callable[[bytes], Any], tuple[bytes]]:
        return pickle.loads, (self._batch,)


class _Pickler:
    """Pickles batches in a loading process, with tensors in shared memory while that suffices.

    The DataLoader would pickle them in a thread of the process, where an error is only printed: the batch would be
    lost, and the command would wait for it. Containers often have just 64 MB of shared memory.
    """

    def __init__(self) -> None:
        self._shared = True

    def __call__(self, batch: Any) -> _Pickled:
        if self._shared:
            try:
                return _Pickled(bytes(ForkingPickler.dumps(batch)))
            except (OSError, RuntimeError):  # too little memory, too small a limit of files or of their size
                self._shared = False
        return _Pickled(pickle.dumps(batch))


def load_batches(
    source: Source, prepare: Callable[[Sequence[Any]], Any], batches: Sequence[Sequence[int]], workers: int
) -> Iterator[Batch]:
    """Yield batches of samples.

    Args:
        source: the samples.
        prepare: turns decoded images or texts into a network's inputs.
        batches: for each batch, the indices of its samples.
        workers: number of processes that load ahead, of which at most one per core and batch is started; 0 to load in
            this process.

    Raises:
        DataError: if the storage that holds the samples does not answer.
        InputError: if a whole batch cannot be prepared.
    """
    from torch.utils.data import DataLoader

    sampler: Any = batches  # DataLoader is typed for lists, but accepts any sequence
    dataset: Any = _Batches(source, prepare)  # and for subclasses of Dataset
    processes = min(workers, len(batches), available_cores())
    loader = DataLoader(
        dataset, batch_sampler=sampler, num_workers=processes, collate_fn=_Pickler() if processes else _identity
    )
    for batch in loader:
        if isinstance(batch, GradmeterError):
            raise batch
        yield batch


@contextmanager
def explain_dead_workers() -> Iterator[None]:
    """Explain PyTorch's error if a loading process of `load_batches` dies while the block runs.

    PyTorch raises it from a signal handler, anywhere in the code that runs at that moment.

    Raises:
        WorkerError: if a loading process died.
    """
    try:
        yield
    except RuntimeError as error:
        if not str(error).startswith("DataLoader worker"):
            raise
        from gradmeter.runs.engines.processes import WorkerError  # imports PyTorch

        raise WorkerError(
            f"a process that loads samples was killed ({one_line(error)}); run the same command again, it continues "
            "where it stopped"
        ) from error
