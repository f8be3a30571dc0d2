"""What one method needs and says on one network, found in a process of its own."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch

from gradmeter.research.speed_benchmark.memory import peak_growth
from gradmeter.research.speed_benchmark.methods import Method, predicted_loss
from gradmeter.research.speed_benchmark.models import Model


@dataclass(frozen=True)
class Probe:
    """A method's first look at a network.

    Attributes:
        memory: bytes; the peak of two calls with the whole batch above what was resident before them.
        seconds: of the second call.
        norms: the Euclidean norm of each sample's whole gradient, None where the method does not tell it.
    """

    memory: int
    seconds: float
    norms: list[float] | None


def probe(model: Model, method: Method, threads: int) -> Probe:
    """Measure memory and norms; to be run in a fresh process."""
    torch.set_num_threads(threads)
    network, inputs = model.build()
    run = method.prepare(network, inputs).run
    run(inputs[:1])  # loads the code, so that it does not count
    network.zero_grad()
    norms, seconds = None, 0.0

    def twice() -> None:
        nonlocal norms, seconds
        run(inputs)
        start = time.perf_counter()
        norms = run(inputs)
        seconds = time.perf_counter() - start

    memory = peak_growth(twice)
    return Probe(memory, seconds, None if norms is None else norms.double().tolist())


def exact_norms(model: Model, threads: int) -> list[float]:
    """The norms that a method should tell: one sample at a time, in float64."""
    torch.set_num_threads(threads)
    network, inputs = model.build()
    network.double()
    norms = []
    for sample in inputs.double().split(1):
        network.zero_grad()
        predicted_loss(network(sample)).backward()
        gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
        norms.append(float(torch.nn.utils.get_total_norm(gradients)))
    return norms
