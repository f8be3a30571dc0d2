"""Graphs compute what their modules compute, also where that depends on small numbers."""

import logging
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from apps.onnx.exported import needs_exporter
from gradmeter.apps.onnx.graph import to_graph
from gradmeter.errors import UnsupportedModelError

pytestmark = [pytest.mark.slow, needs_exporter]


class Output(NamedTuple):
    values: Tensor


class Function(nn.Module):
    """Calls a function of the inputs."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, inputs: Tensor) -> Output:
        return Output(self.function(inputs))


@pytest.mark.parametrize(
    "function",
    [
        lambda x: (x - x.mean(1, keepdim=True)) / (x.std(1, keepdim=True) + 1e-8),
        lambda x: x / (x.norm(dim=1, keepdim=True) + 1e-10),
        lambda x: x * (1 + 2**-18) - x,
        lambda x: (x - 1e-9) / (x - 1e-9).abs(),
    ],
    ids=["standardised", "normalised", "product", "difference"],
)
def test_small_numbers_stay(function: Callable[[Tensor], Tensor]) -> None:
    inputs = torch.tensor([[0.0, 0.0, 0.0], [0.5, -2.0, 1.0]], dtype=torch.float64)
    graph = to_graph(Function(function), inputs, "inputs", ["values"], "the function")
    (values,) = onnxruntime.InferenceSession(graph.SerializeToString()).run(None, {"inputs": inputs.numpy()})
    np.testing.assert_allclose(values, function(inputs).numpy(), rtol=1e-6)


class LastState(nn.Module):
    """Two recurrent layers, the second of which begins with the last state of the first."""

    def __init__(self, kind: type[nn.RNNBase]) -> None:
        super().__init__()
        self.first, self.second = kind(6, 4, batch_first=True, num_layers=2), kind(6, 4, num_layers=2)

    def forward(self, inputs: Tensor) -> Output:
        _, state = self.first(inputs)
        outputs, _ = self.second(inputs.nan_to_num().transpose(0, 1), state)
        return Output(outputs[-1])


@pytest.mark.parametrize(
    "network",
    [
        LastState(nn.LSTM),
        LastState(nn.GRU),
        LastState(nn.RNN),
        Function(lambda x: torch.nn.functional.max_pool1d(x, 3, 2, 1).flatten(1)),
        Function(lambda x: torch.nn.functional.max_pool2d(x[:, None], 2, ceil_mode=True).flatten(1)),
        Function(lambda x: torch.nn.functional.max_pool3d(x[:, None, None], (1, 2, 2), dilation=(1, 2, 1)).flatten(1)),
        Function(lambda x: torch.nn.functional.max_pool1d(x, 2, return_indices=True)[0].flatten(1)),
        Function(
            lambda x: torch.cond(x.shape[0] > 3, lambda x: x.sum(2), lambda x: torch.max_pool1d(x, 6)[..., 0], (x,))
        ),
    ],
    ids=["LSTM", "GRU", "RNN", "1d", "2d", "3d", "with indices", "in a branch"],
)
def test_nan_stays(network: nn.Module) -> None:
    """The operations of onnxruntime return a result of the other values."""
    torch.manual_seed(0)
    inputs = torch.randn(3, 5, 6)
    inputs[1, 2, 3] = torch.nan
    graph = to_graph(network, inputs, "inputs", ["values"], "the network")
    (values,) = onnxruntime.InferenceSession(graph.SerializeToString()).run(None, {"inputs": inputs.numpy()})
    with torch.no_grad():
        expected = network(inputs).values.numpy()
    assert np.isnan(expected[1]).any()
    np.testing.assert_allclose(values, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "function", [torch.nn.functional.logsigmoid, lambda x: torch.logaddexp(x, -x)], ids=["logsigmoid", "logaddexp"]
)
def test_large_numbers_stay_finite(function: Callable[[Tensor], Tensor], dtype: torch.dtype) -> None:
    inputs = torch.tensor([[0.0, 0.5, -2.0], [1e3, -1e3, 1e5]], dtype=dtype)
    graph = to_graph(Function(function), inputs, "inputs", ["values"], "the function")
    (values,) = onnxruntime.InferenceSession(graph.SerializeToString()).run(None, {"inputs": inputs.numpy()})
    np.testing.assert_allclose(values, function(inputs).numpy(), rtol=1e-6)


def test_a_network_that_asks_for_the_length_of_its_batch_learns_what_to_do() -> None:
    inputs = torch.arange(6.0).reshape(2, 3)
    with pytest.raises(UnsupportedModelError, match=r"fixes the batch size; .* x\.size\(0\) in place of len\(x\)"):
        to_graph(Function(lambda x: x.reshape(len(x), 3)), inputs, "inputs", ["values"], "the function")
    to_graph(Function(lambda x: x.reshape(x.size(0), 3)), inputs, "inputs", ["values"], "the function")


def test_errors_of_the_exporter_are_raised_and_not_logged_too() -> None:
    records: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = records.append  # type: ignore[method-assign]
    logger = logging.getLogger("torch._subclasses.fake_tensor")
    logger.addHandler(handler)
    try:
        with pytest.raises(UnsupportedModelError, match="cannot be written to ONNX"):
            to_graph(Function(lambda x: torch.stack([*x] * 0)), torch.ones(2, 3), "inputs", ["values"], "the function")
    finally:
        logger.removeHandler(handler)
    assert records == []
