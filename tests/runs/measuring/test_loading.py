"""Loading and preparing batches: which samples are skipped, and which failures are errors."""

import multiprocessing
import resource
import threading
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from gradmeter.errors import InputError
from gradmeter.runs.measuring import Skipped
from gradmeter.runs.measuring.loading import batch_of, fetch_samples, load_batches
from gradmeter.sources.samples import Encoded, Sample, Source, Unlabelled, Unreadable

SAMPLES = [Sample("a", 1, 0), Skipped("b", "damaged"), Sample("c", 2, None), Sample("d", 3, 1)]


def test_a_sample_that_cannot_be_prepared_is_skipped() -> None:
    def halved(contents: Sequence[int]) -> list[float]:
        return [6 / (content - 2) for content in contents]

    batch = batch_of(SAMPLES, halved)
    assert (batch.ids, batch.labels, batch.inputs) == (["a", "d"], [0, 1], [-6, 6])
    assert batch.skipped == [
        Skipped("b", "damaged"),
        Skipped("c", "cannot be prepared for the network (ZeroDivisionError: division by zero)"),
    ]


def test_none_can_be_prepared() -> None:
    """A few samples are skipped; if all of many fail, it is an error."""

    def fail(contents: Sequence[int]) -> None:
        raise MemoryError

    batch = batch_of(SAMPLES, fail)
    assert (batch.ids, batch.inputs, len(batch.skipped)) == ([], None, 4)
    assert batch.skipped[0].reason == "cannot be prepared for the network (MemoryError: MemoryError)"
    with pytest.raises(InputError, match=r"MemoryError\); give more memory"):
        batch_of([Sample(str(number), number, None) for number in range(8)], fail)


def test_samples_that_cannot_be_prepared_together_are_an_error() -> None:
    def alone(contents: Sequence[int]) -> None:
        if len(contents) > 1:
            raise RuntimeError("stack expects each tensor to be equal size")

    with pytest.raises(InputError, match="equal size"):
        batch_of(SAMPLES, alone)


class Distant(Source):
    """Four samples that can only be fetched at the same time; the third is damaged."""

    name, classes, labelled, at_once = "distant", None, False, 4

    def __init__(self) -> None:
        self.barrier = threading.Barrier(4)

    def __len__(self) -> int:
        return 4

    def id(self, index: int) -> str:
        return str(index)

    def fetch(self, index: int) -> Encoded:
        self.barrier.wait(10)
        if index == 2:
            raise Unreadable("damaged")
        return Encoded(str(index), bytes([index]), 7)

    def decoder(self, content: bytes) -> str:
        return "abcd"[content[0]]

    def fingerprint(self) -> str:
        return ""


def test_slow_samples_are_fetched_at_the_same_time() -> None:
    source = Unlabelled(Distant())
    assert fetch_samples(source, range(4)) == [
        Encoded("0", b"\0", None), Encoded("1", b"\1", None), Skipped("2", "damaged"), Encoded("3", b"\3", None)
    ]  # fmt: skip
    (batch,) = load_batches(source, list, [range(4)], 0)
    assert (batch.ids, batch.inputs, batch.skipped) == (["0", "1", "3"], ["a", "b", "d"], [Skipped("2", "damaged")])


class Small(Source):
    """Two samples."""

    name, classes, labelled, decoder = "small", None, False, staticmethod(len)

    def __len__(self) -> int:
        return 2

    def id(self, index: int) -> str:
        return str(index)

    def fetch(self, index: int) -> Encoded:
        return Encoded(str(index), b"12"[:index], None)

    def fingerprint(self) -> str:
        return ""


@pytest.mark.parametrize(("batches", "cores", "processes"), [(1, 3, 1), (3, 2, 2)])
def test_processes_that_would_not_help_are_not_started(
    batches: int, cores: int, processes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some hundred would take all of the machine's memory."""
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(cores)))
    before = len(multiprocessing.active_children())
    loaded = load_batches(Small(), list, [range(2)] * batches, 3)
    assert next(loaded).inputs == [0, 1]
    assert len(multiprocessing.active_children()) == before + processes


def large(contents: Sequence[int]) -> Tensor:
    return torch.arange(30_000.0)


def test_batches_arrive_without_shared_memory() -> None:
    """A DataLoader prints an error in its process and waits for ever; containers often have 64 MB."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))  # shared memory is a file
    try:
        loaded = list(load_batches(Small(), large, [range(2)] * 3, 1))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert all(batch.inputs.equal(large([])) for batch in loaded)
    assert len(loaded) == 3
