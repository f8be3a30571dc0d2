"""Readings of all pools of an exam, kept on disk, and what they cost."""

from __future__ import annotations

import json
import re
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from gradmeter.files import read_json, write_text
from gradmeter.reading.meter import GradientMeter
from gradmeter.reading.readings import Readings
from gradmeter.research.gradient_gain.exam import Exam
from gradmeter.research.own_files import own_file

_BATCH = 200
_TIMED_BATCH, _ROUNDS = 64, 5

PRICE = "price.json"
"""Name of the file of the price in the folder of a network's readings."""


@dataclass(frozen=True)
class Price:
    """Milliseconds per input, in batches of 64.

    Attributes:
        plain: the network's forward pass.
        forward: the meter without gradients.
        gradients: the meter with the gradients of two pseudo-labels.
    """

    plain: float
    forward: float
    gradients: float

    @classmethod
    def measure(cls, network: nn.Module, inputs: Tensor) -> Self:
        """Return medians over rounds in which the three take turns, after one round that is not counted."""
        batch = inputs[:_TIMED_BATCH]
        meter = GradientMeter(network)
        steps: list[Callable[[Tensor], Any]] = [
            torch.inference_mode()(network),
            meter.for_trust_model(gradients=False, second_look=None),
            meter.for_trust_model(second_look=None),
        ]
        rounds = [[_milliseconds(step, batch) for step in steps] for _ in range(_ROUNDS + 1)][1:]
        return cls(*(statistics.median(times) for times in zip(*rounds, strict=True)))


def _milliseconds(step: Callable[[Tensor], Any], batch: Tensor) -> float:
    started = time.perf_counter()
    step(batch)
    return 1e3 * (time.perf_counter() - started) / len(batch)


def read_all(exam: Exam, folder: Path, report: Callable[[float, str], None]) -> dict[str, Readings]:
    """Return the readings of each pool; read those whose files are missing, and measure the price once.

    Args:
        exam: the network and its inputs.
        folder: where the readings and the price are kept.
        report: called with the share that is done and the name of a pool.
    """
    if not (folder / PRICE).exists():
        report(0, "the price")
        price = Price.measure(exam.network, exam.known.inputs)
        write_text(folder / PRICE, json.dumps(asdict(price)))
    # One look only: the question is what gradients add to a single forward pass.
    meter = GradientMeter(exam.network).for_trust_model(second_look=None)
    readings, pools = {}, list(exam.pools())
    for number, (name, inputs) in enumerate(pools):
        path = folder / f"{re.sub(r'[^A-Za-z0-9]+', '-', name)}.parquet"
        if not path.exists():
            report(number / len(pools), name)
            Readings.concatenate([meter(batch) for batch in inputs().split(_BATCH)]).write_parquet(path)
        readings[name] = Readings.read_parquet(path)
    return readings


def read_price(folder: Path) -> Price:
    """Return the price that `read_all` measured.

    Raises:
        DataError: if the file cannot be read.
    """
    path = folder / PRICE
    with own_file(path):
        return Price(**read_json(path))
