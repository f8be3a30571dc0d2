"""Graphs compute what their modules compute, also where that depends on small numbers."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from apps.onnx.exported import needs_exporter
from gradmeter.apps.onnx.graph import to_graph

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
