"""The cost per image for large numbers of images."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch

from gradmeter.reading.meter import GradientMeter
from gradmeter.research.speed_benchmark.memory import peak_growth
from gradmeter.research.speed_benchmark.models import Model

COUNTS = (1_000, 10_000, 100_000, 1_000_000)
"""Numbers of images that are measured."""

QUICK_COUNTS = COUNTS[:2]


@dataclass(frozen=True)
class Stream:
    """Time and memory of a stream of images.

    Attributes:
        seconds: time in the meter; generating the images is not included.
        memory: peak resident memory minus the resident memory before, in bytes; images are included.
    """

    seconds: float
    memory: int


def stream(model: Model, count: int, threads: int) -> Stream:
    """Generate images batch by batch, measure them and discard them with their readings; call this in a new process."""
    torch.set_num_threads(threads)
    network, inputs = model.build()
    meter = GradientMeter(network)
    meter(inputs)
    seconds = 0.0

    def run() -> None:
        nonlocal seconds
        for number, first in enumerate(range(0, count, model.batch)):
            batch = model.inputs(min(model.batch, count - first), seed=number)
            start = time.perf_counter()
            meter(batch)
            seconds += time.perf_counter() - start

    memory = peak_growth(run)
    return Stream(seconds, memory)
