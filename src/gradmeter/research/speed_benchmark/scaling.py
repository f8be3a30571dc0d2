"""What an image costs when there are many of them."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch

from gradmeter.reading.meter import GradientMeter
from gradmeter.research.speed_benchmark.memory import peak_growth
from gradmeter.research.speed_benchmark.models import Model

COUNTS = (1_000, 10_000, 100_000, 1_000_000)
"""Images that are measured."""

QUICK_COUNTS = COUNTS[:2]


@dataclass(frozen=True)
class Stream:
    """What measuring a stream of images took.

    Attributes:
        seconds: in the meter; making the images does not count.
        memory: bytes; the peak above what was resident before, images included.
    """

    seconds: float
    memory: int


def stream(model: Model, count: int, threads: int) -> Stream:
    """Measure images that are made batch by batch and dropped with their readings; to be run in a fresh process."""
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
