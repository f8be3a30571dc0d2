import time
from dataclasses import dataclass, field

import pytest
import torch
from threadpoolctl import threadpool_info, threadpool_limits
from torch import Tensor, nn

from gradmeter.research.speed_benchmark import timing
from gradmeter.research.speed_benchmark.methods import METHODS, Method, Prepared
from gradmeter.research.speed_benchmark.timing import take_turns
from research.speed_benchmark.tiny import REFUSING, TINY, TIRING

pytestmark = pytest.mark.slow


@dataclass
class Recorder:
    """Methods that record their runs in `calls`."""

    calls: list[str] = field(default_factory=list)

    def method(self, name: str, seconds: float = 0) -> Method:
        def prepare(network: nn.Module, inputs: Tensor) -> Prepared:
            def run(batch: Tensor) -> None:
                self.calls.append(name)
                time.sleep(seconds)

            return Prepared(run, f"{name} is ready")

        return Method(name, "peer", prepare, "nothing")


def quiet(note: str) -> None:
    """Show no progress."""


def test_methods_take_turns_each_warmed_up_and_slow_ones_drop_out(monkeypatch: pytest.MonkeyPatch) -> None:
    recorder, returned = Recorder(), []
    monkeypatch.setattr(timing, "return_freed_memory", lambda: returned.append(True))
    methods = {name: recorder.method(name) for name in "abc"}
    timings = take_turns(TINY, methods, {"a": 3, "b": 3, "c": 1}, 1, quiet)
    assert "".join(recorder.calls) == "ab" + "aabbc" + "bbaa" + "aabb"
    assert len(returned) == 7, "before each timed run"
    assert [len(timing.seconds) for timing in timings.values()] == [3, 3, 1]
    assert timings["b"].note == "b is ready"


def test_seconds_are_those_of_one_call() -> None:
    timings = take_turns(TINY, {"slow": Recorder().method("slow", 0.05)}, {"slow": 2}, 1, quiet)
    assert timings["slow"].seconds == pytest.approx([0.05, 0.05], abs=0.045)


def test_linear_algebra_of_numpy_uses_the_threads_too() -> None:
    counts = set[int]()

    def count(_: Tensor) -> None:
        counts.update(pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas")

    method = Method("counting", "peer", lambda *_: Prepared(count), "nothing")
    with threadpool_limits(3, "blas"):
        take_turns(TINY, {"counting": method}, {"counting": 2}, 1, quiet)
    assert counts <= {1}, "empty where NumPy uses Accelerate"


def test_an_error_ends_one_method_only_and_threads_are_restored() -> None:
    before = torch.get_num_threads()
    methods = {"plain": METHODS["plain"], "refusing": REFUSING, "tiring": TIRING}
    timings = take_turns(TINY, methods, dict.fromkeys(methods, 2), 2, quiet)
    assert torch.get_num_threads() == before
    assert len(timings["plain"].seconds) == 2
    assert timings["plain"].error is None
    assert (timings["refusing"].seconds, timings["refusing"].error) == ([], "NotImplementedError: no | such layers")
    assert (timings["tiring"].seconds, timings["tiring"].error) == ([], "RuntimeError: tired")


def test_each_method_has_a_network_of_its_own() -> None:
    networks = []

    def prepare(network: nn.Module, inputs: Tensor) -> Prepared:
        networks.append(network)
        return Prepared(lambda batch: None)

    method = Method("looking", "peer", prepare, "nothing")
    take_turns(TINY, {"a": method, "b": method}, {"a": 1, "b": 1}, 1, quiet)
    first, second = networks
    assert first is not second
    torch.testing.assert_close(first.state_dict(), second.state_dict())
