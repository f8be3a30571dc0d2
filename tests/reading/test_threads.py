"""Several threads measure one network, or call it while it is measured."""

import copy
import os
import pickle
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor, nn

from gradmeter import GradientMeter, Readings
from gradmeter.reading.capture import recorded_calls
from gradmeter.reading.network import measuring


class Slow(nn.Module):
    """Lets other threads run in the middle of a forward pass."""

    def forward(self, x: Tensor) -> Tensor:
        time.sleep(0.002)
        return x


class CalledMeanwhile(nn.Module):
    """Lets another thread call the whole network, once, in the middle of a forward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.call: threading.Thread | None = None

    def forward(self, x: Tensor) -> Tensor:
        call, self.call = self.call, None
        if call is not None:
            call.start()
            call.join()
        return x


def network(between: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Linear(5, 7), nn.ReLU(), between, nn.Linear(7, 7), nn.ReLU(), nn.Linear(7, 3))
    return layers.double()


def assert_same(actual: Readings, expected: Readings) -> None:
    assert actual.activations is not None
    assert expected.activations is not None
    assert actual.embedding is not None
    torch.testing.assert_close(actual.values, expected.values)
    torch.testing.assert_close(actual.for_pseudo_label("uniform").values, expected.for_pseudo_label("uniform").values)
    torch.testing.assert_close(actual.activations.values, expected.activations.values)
    torch.testing.assert_close(actual.embedding, expected.embedding)


def test_measurements_at_the_same_time_do_not_mix() -> None:
    model = network(Slow()).train()
    model[0].requires_grad_(False)
    meter = GradientMeter(model).for_trust_model()
    batches = [factor * torch.randn(10, 5, dtype=torch.float64) for factor in range(1, 5)]
    expected = [meter(batch) for batch in batches]
    with ThreadPoolExecutor(len(batches)) as threads:
        for _ in range(3):
            for actual, alone in zip(threads.map(meter, batches), expected, strict=True):
                assert_same(actual, alone)
    assert model.training
    assert [parameter.requires_grad for parameter in model.parameters()] == [False] * 2 + [True] * 4


def test_another_thread_may_call_the_network_while_it_is_measured() -> None:
    between = CalledMeanwhile()
    model = network(between).eval()
    x = torch.randn(10, 5, dtype=torch.float64)
    expected = GradientMeter(model).for_trust_model()(x)
    answers: list[Tensor] = []

    def answer() -> None:
        with torch.no_grad():
            answers.append(model(2 * x))

    between.call = threading.Thread(target=answer)
    actual = GradientMeter(model).for_trust_model()(x)
    assert len(answers) == 1
    assert_same(actual, expected)


def test_calls_of_another_thread_are_not_recorded() -> None:
    between = CalledMeanwhile()
    model = network(between)
    x = torch.randn(10, 5, dtype=torch.float64)
    between.call = threading.Thread(target=model, args=(x,))
    with recorded_calls({"last": model[-1]}) as calls:
        model(x)
    assert len(calls) == 1


class Copied(nn.Module):
    """Copies the whole network in the middle of a forward pass, as another thread may."""

    def __init__(self) -> None:
        super().__init__()
        self.whole: list[nn.Module] = []
        self.copies: list[nn.Module] = []

    def forward(self, x: Tensor) -> Tensor:
        if self.whole:
            model = self.whole.pop()
            self.copies += [copy.deepcopy(model), pickle.loads(pickle.dumps(model))]
        return x


def test_a_copy_of_the_network_that_is_made_meanwhile_records_nothing() -> None:
    between = Copied()
    model = network(between)
    between.whole.append(model)
    x = torch.randn(10, 5, dtype=torch.float64)
    with recorded_calls({"last": model[-1]}) as calls:
        model(x)
        for other in between.copies:
            torch.testing.assert_close(other(x), model(x))
    assert len(between.copies) == 2
    assert len(calls) == 3


def test_a_process_that_is_forked_during_a_measurement_can_measure() -> None:
    """It waits for the end of the other thread's measurement, whose state it would have, and which never ends there."""
    network, inputs = nn.Linear(3, 4).eval().requires_grad_(False), torch.ones(2, 3)
    meter = GradientMeter(network)
    expected = meter(inputs)["all", "l2"]
    begun = threading.Event()

    def measure() -> None:
        with measuring(network):
            begun.set()
            time.sleep(0.3)

    thread = threading.Thread(target=measure)
    thread.start()
    assert begun.wait(10)
    if (child := os.fork()) == 0:
        is_kept = not network.weight.requires_grad
        os._exit(0 if is_kept and torch.equal(meter(inputs)["all", "l2"], expected) else 1)
    thread.join()
    until = time.monotonic() + 10
    while (ended := os.waitpid(child, os.WNOHANG)) == (0, 0) and time.monotonic() < until:
        time.sleep(0.01)
    if ended == (0, 0):
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert ended == (child, 0)
