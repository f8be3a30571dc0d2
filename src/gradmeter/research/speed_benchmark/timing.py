"""Times of several methods that take turns, so that whatever slows the machine slows all of them."""

from __future__ import annotations

import copy
import gc
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor

from gradmeter.research.speed_benchmark.isolation import one_line
from gradmeter.research.speed_benchmark.memory import return_freed_memory
from gradmeter.research.speed_benchmark.methods import Method, Prepared
from gradmeter.research.speed_benchmark.models import Model


@dataclass
class Timing:
    """One method's times on one network.

    Attributes:
        seconds: per round that it took part in, from the first.
        note: what its preparation decided.
        error: why it ended, None if it did not.
    """

    seconds: list[float] = field(default_factory=list)
    note: str = ""
    error: str | None = None


def take_turns(
    model: Model,
    methods: Mapping[str, Method],
    rounds: Mapping[str, int],
    threads: int,
    on_step: Callable[[str], None],
) -> dict[str, Timing]:
    """Time the methods on one network, one after the other in every round, each round starting with another one.

    Args:
        model: the network.
        methods: by name.
        rounds: how many rounds each method takes part in, those of the first; a method with one round only is so slow
            that it is spared the warm-up.
        threads: of PyTorch, which has its old number again afterwards.
        on_step: is told a method's title before each of its rounds.

    Returns:
        The times by name, also of those that failed.
    """
    timings = {name: Timing() for name in methods}
    with _threads(threads), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network, inputs = model.build()
        ready: dict[str, Prepared] = {}
        for name, method in methods.items():
            on_step(method.title)
            with _errors_noted(timings[name]):
                ready[name] = method.prepare(copy.deepcopy(network), inputs)
                timings[name].note = ready[name].note
                if rounds[name] > 1:
                    ready[name].run(inputs)
        names = list(methods)
        for number in range(max(rounds.values())):
            gc.collect()
            shift = number % len(names)
            for name in names[shift:] + names[:shift]:
                timing = timings[name]
                if number < rounds[name] and timing.error is None:
                    on_step(methods[name].title)
                    with _errors_noted(timing):
                        timing.seconds.append(_seconds(ready[name], inputs, warm=rounds[name] > 1))
    return timings


def _seconds(prepared: Prepared, inputs: Tensor, *, warm: bool) -> float:
    """Time one run as if the method were alone in its process.

    What others left of the heap goes back to the system, and a run that does not count lays out its own: in the
    leavings of a package that stores every gradient all others are slower.
    """
    return_freed_memory()
    if warm:
        prepared.run(inputs)
    start = time.perf_counter()
    for _ in range(prepared.calls):
        prepared.run(inputs)
    return (time.perf_counter() - start) / prepared.calls


@contextmanager
def _errors_noted(timing: Timing) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # whatever another package raises is a result here
        timing.error = one_line(error)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
