"""PyTorch's own backward pass, without the layers for which it corrupts memory or crashes."""

import subprocess
import sys
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from gradmeter.reading.network import loss_gradients


class Functional(nn.Module):
    """A strided 1 x 1 convolution that is no module."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.rand(8, 3, 1, 1)), nn.Parameter(torch.rand(8))

    def forward(self, images: Tensor) -> Tensor:
        return F.conv2d(images, self.weight, self.bias, stride=2)


def followed(layer: nn.Module) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(layer, nn.ReLU(), nn.Conv2d(8, 4, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))


@pytest.mark.parametrize(
    ("layer", "left_out"),
    [
        (nn.Conv2d(3, 8, 3, stride=2), set()),
        (nn.Conv2d(3, 8, 1), set()),
        (nn.Conv2d(3, 8, 1, stride=2), {"0.weight", "0.bias"}),
        (Functional(), {"0.weight", "0.bias"}),
        (
            parametrizations.weight_norm(nn.Conv2d(3, 8, 1, stride=2, bias=False)),
            {"0.parametrizations.weight.original0", "0.parametrizations.weight.original1"},
        ),
    ],
)
@pytest.mark.parametrize("is_traced", [False, True])
def test_against_autograd(layer: nn.Module, left_out: set[str], is_traced: bool) -> None:
    network, images = followed(layer), torch.rand(5, 3, 9, 9)
    assert_like_autograd(network, torch.jit.trace(network, images) if is_traced else network, images, left_out)


@pytest.mark.parametrize(
    ("layer", "left_out"),
    [
        (nn.Sequential(nn.GroupNorm(1, 3), nn.Conv2d(3, 8, 3)), {"0.0.weight", "0.0.bias"}),
        (nn.Sequential(nn.Conv2d(3, 8, 3), nn.GroupNorm(2, 8)), set()),
        (
            nn.Sequential(nn.Conv2d(3, 8, 1, stride=2), nn.GroupNorm(2, 8), nn.GroupNorm(2, 8, affine=False)),
            {"0.0.weight", "0.0.bias", "0.1.weight", "0.1.bias"},
        ),
    ],
)
def test_group_norms_whose_input_has_no_gradient(layer: nn.Module, left_out: set[str]) -> None:
    network = followed(layer)
    assert_like_autograd(network, network, torch.rand(5, 3, 9, 9), left_out)


def assert_like_autograd(network: nn.Module, called: Any, images: Tensor, left_out: set[str]) -> None:
    parameters = dict(network.named_parameters())
    expected = torch.autograd.grad(
        F.cross_entropy(network(images), network(images).argmax(1), reduction="sum"), list(parameters.values())
    )
    actual = loss_gradients(called(images), list(parameters.values()))
    assert {name for name, gradient in zip(parameters, actual, strict=True) if gradient is None} == left_out
    for gradient, reference in zip(actual, expected, strict=True):
        if gradient is not None:
            torch.testing.assert_close(gradient, reference)


def test_no_parameter_that_can_be_asked_for() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 1, stride=2), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    assert loss_gradients(network(torch.rand(2, 3, 9, 9)), list(network.parameters())) == (None, None)


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    ["network", "network.to(memory_format=torch.channels_last)", "traced(network, x)", "Dynamic().eval()"],
)
def test_what_crashes_pytorch(change: str) -> None:
    code = f"""
import torch
from torch import nn
from torch.jit import trace as traced
from gradmeter import GradientMeter
class Dynamic(nn.Module):
    def __init__(self):
        super().__init__()
        self.kernel, self.head = nn.Linear(3, 3 * 48), nn.Linear(48, 4)
    def forward(self, x):
        kernels = self.kernel(x.mean((2, 3))).view(len(x), 48, 3, 1, 1)
        outputs = [torch.conv2d(image[None], kernel, stride=2) for image, kernel in zip(x, kernels)]
        return self.head(torch.cat(outputs).mean((2, 3)))
network = nn.Sequential(nn.Conv2d(3, 48, 1, 2, bias=False), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(48, 4))
network, x = network.eval(), torch.rand(2, 3, 224, 224)
meter = GradientMeter({change})
meter.costs(x)
meter(x)
GradientMeter(nn.Sequential(nn.GroupNorm(1, 3), nn.Flatten(), nn.Linear(3 * 224 * 224, 4))).costs(x)
"""
    process = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
