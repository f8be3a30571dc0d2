"""Memory, time and norms of one method on one network, measured in a separate process."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch

from gradmeter.research.speed_benchmark.memory import peak_growth
from gradmeter.research.speed_benchmark.methods import Method, predicted_loss
from gradmeter.research.speed_benchmark.models import Model


@dataclass(frozen=True)
class Probe:
    """Memory, time and norms of a method on a network.

    Attributes:
        memory: peak resident memory of two calls with the whole batch minus the resident memory before them, in bytes.
        seconds: time of the second call.
        norms: Euclidean norm of each sample's whole gradient; None if the method does not compute it.
    """

    memory: int
    seconds: float
    norms: list[float] | None


def probe(model: Model, method: Method, threads: int) -> Probe:
    """Measure a method on a network; call this in a new process."""
    torch.set_num_threads(threads)
    network, inputs = model.build()
    run = method.prepare(network, inputs).run
    run(inputs[:1])  # loads code, whose memory must not count
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
    """Return the exact norms: one float64 backward pass for each sample."""
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
