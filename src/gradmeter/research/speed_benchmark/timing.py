"""Times of several methods that take turns, so that load on the machine affects all of them."""

from __future__ import annotations

import copy
import gc
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from threadpoolctl import threadpool_limits
from torch import Tensor

from gradmeter.research.speed_benchmark.isolation import one_line
from gradmeter.research.speed_benchmark.memory import return_freed_memory
from gradmeter.research.speed_benchmark.methods import Method, Prepared
from gradmeter.research.speed_benchmark.models import Model
from gradmeter.research.threads import torch_threads


@dataclass
class Timing:
    """One method's times on one network.

    Attributes:
        seconds: one time for each of its rounds.
        note: what its preparation decided.
        error: why the method failed, in one line; None if it did not.
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
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Timing]:
    """Time the methods on one network, one after the other in every round; each round starts with a different one.

    Args:
        model: the network.
        methods: the methods by name.
        rounds: number of rounds of each method, counted from the first; a method with a single round is slow and gets
            no warm-up.
        threads: number of threads of PyTorch and of NumPy's linear algebra; the previous numbers are restored
            afterwards.
        on_step: called with a method's title before each of its rounds.
        clock: returns seconds.

    Returns:
        The times by name, including those of methods that failed.
    """
    timings = {name: Timing() for name in methods}
    with torch_threads(threads), threadpool_limits(threads), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network, inputs = model.build()
        prepared: dict[str, Prepared] = {}
        for name, method in methods.items():
            on_step(method.title)
            with _record_errors(timings[name]):
                prepared[name] = method.prepare(copy.deepcopy(network), inputs)
                timings[name].note = prepared[name].note
                if rounds[name] > 1:
                    prepared[name].run(inputs)
        names = list(methods)
        for number in range(max(rounds.values())):
            gc.collect()
            shift = number % len(names)
            for name in names[shift:] + names[:shift]:
                timing = timings[name]
                if number < rounds[name] and timing.error is None:
                    on_step(methods[name].title)
                    with _record_errors(timing):
                        timing.seconds.append(_seconds(prepared[name], inputs, clock, warm=rounds[name] > 1))
    return timings


def _seconds(prepared: Prepared, inputs: Tensor, clock: Callable[[], float], *, warm: bool) -> float:
    """Time one run as if the method were alone in its process.

    Freed memory is returned to the system, and an untimed run allocates the method's own: after a package that stores
    every gradient, all other methods would be slower in the fragmented memory.
    """
    return_freed_memory()
    if warm:
        prepared.run(inputs)
    start = clock()
    for _ in range(prepared.calls):
        prepared.run(inputs)
    return (clock() - start) / prepared.calls


@contextmanager
def _record_errors(timing: Timing) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # any error of a measured package is a result
        timing.error = one_line(error)
