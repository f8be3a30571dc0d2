"""Dtypes other than float64, and gradients that are huge, tiny, nearly constant or very large."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gradmeter import GradientMeter
from gradmeter.reading.pseudo_labels import start_vector
from oracles.gradients import predicted_error
from oracles.loop import expected_readings
from oracles.moments import Array, assert_agree, eight
from oracles.networks import randomise, samples
from reading.architectures.case import Network
from reading.architectures.table import CASES
from reading.architectures.test_table import assert_readings

FLOAT32 = [
    "torchvision squeezenet1_1",
    "torchvision swin_t",
    "timm vit_tiny_patch16_224",
    "timm cait_xxs24_224",
    "transformers vit",
    "attention",
    "attention cross kdim vdim",
    "transformer encoder padded",
    "lstm both ways, two layers",
    "lstm time-major",
    "gru",
    "rnn cell",
    "embedding padding_idx",
    "embedding bag max",
    "conv1d",
    "conv3d",
    "conv_transpose2d",
    "batch norm",
    "group norm",
    "rms norm",
    "prelu per channel",
    "bilinear over positions",
    "token, position and scale",
    "einsum of positions and heads",
    "distances to prototypes",
    "in place",
    "one weight of two convolutions",
    "called on two sizes",
    "frames folded time-major",
    "windows folded",
    "frozen",
    "weight norm",
    "compiled eager",
    "checkpointed",
    "double precision on the way",
]
BFLOAT16 = [
    "attention",
    "transformer encoder",
    "lstm",
    "gru time-major",
    "embedding padding_idx",
    "embedding bag mean",
    "conv1d",
    "conv3d",
    "conv_transpose2d",
    "layer norm",
    "group norm",
    "bilinear",
    "token, position and scale",
    "einsum of positions and heads",
    "two dense layers tied",
    "frames folded",
    "image and text",
    "frozen",
]


@pytest.mark.parametrize("name", FLOAT32)
def test_float32(name: str) -> None:
    _against_float64(name, torch.float32, norms=2e-5, shapes=2e-4)


# A bfloat16 has 8 bits, so each layer rounds its activations and their gradients by up to 0.4 %.
@pytest.mark.parametrize("name", BFLOAT16)
def test_bfloat16(name: str) -> None:
    _against_float64(name, torch.bfloat16, norms=5e-2, shapes=0.2)


def _against_float64(name: str, dtype: torch.dtype, **tolerances: float) -> None:
    """The oracle starts from the network's logits, whose rounding is not that of the meter."""
    model, inputs = CASES[name].build(dtype)
    readings = GradientMeter(model)(inputs)
    assert readings.logits.dtype == dtype
    start = predicted_error(readings.logits)
    assert_readings(readings, expected_readings(model, inputs, lambda _: start), **tolerances)


def test_bfloat16_from_its_own_activations() -> None:
    """The accuracy of the meter alone: the reference starts from the network's activations and gradients."""
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 5), nn.Tanh(), nn.Flatten(), nn.Linear(20, 3))
    randomise(model.bfloat16()).eval()
    x = samples(3, 4, 6).bfloat16()
    readings = GradientMeter(model)(x)
    outputs: list[Tensor] = []
    activations: list[Tensor] = []
    hidden = x
    for layer in model:
        if isinstance(layer, nn.Linear):
            activations.append(hidden.detach())
        hidden = layer(hidden)
        if isinstance(layer, nn.Linear):
            outputs.append(hidden)
    start = start_vector("predicted")(hidden.detach().double())
    deltas = torch.autograd.grad(hidden, outputs, start.direction.bfloat16())
    factor = start.log_scale.exp()
    for index, (activation, delta) in enumerate(zip(activations, deltas, strict=True)):
        a = activation.double().reshape(3, -1, activation.shape[-1])
        d = delta.double().reshape(3, -1, delta.shape[-1]) * factor[:, None, None]
        gradient = torch.cat([torch.einsum("nto,nti->noi", d, a).flatten(1), d.sum(1)], 1)
        assert_agree(readings.values[:, index], eight(gradient.numpy()), norms=1e-5, shapes=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [1e-20, 1e20])
@pytest.mark.parametrize(
    ("make", "width"),
    [(lambda: nn.Linear(4, 5), 30), (lambda: nn.Conv1d(6, 3, 2), 9), (lambda: nn.LSTM(4, 3, batch_first=True), 18)],
    ids=["dense", "convolution", "recurrent"],
)
def test_huge_and_tiny_gradients(make: Callable[[], nn.Module], width: int, scale: float, dtype: torch.dtype) -> None:
    """Weights are small where inputs are large, so that the network computes the same at every scale."""
    model = randomise(Network(_first_output, layer=make(), head=nn.Linear(width, 3)).to(dtype)).eval()
    x = samples(2, 6, 4).to(dtype) * scale
    with torch.no_grad():
        next(model.parameters()).div_(scale)
    start = predicted_error(model(x).detach())
    expected = expected_readings(model, x, lambda _: start)
    digits = {"norms": 2e-5, "shapes": 2e-4} if dtype == torch.float32 else {"norms": 1e-9, "shapes": 1e-8}
    assert_readings(GradientMeter(model)(x), expected, **digits)


def _first_output(m: Any, x: Tensor) -> Tensor:
    out = m.layer(x)
    logits: Tensor = m.head((out[0] if isinstance(out, tuple) else out).flatten(1).tanh())
    return logits


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("positions", [1, 7])
def test_gradients_whose_mean_is_a_hundred_deviations(positions: int, dtype: torch.dtype) -> None:
    model = nn.Sequential(nn.Linear(64, 1, bias=False), nn.Tanh(), nn.Flatten(), nn.Linear(positions, 3))
    randomise(model.to(dtype)).eval()
    with torch.no_grad():
        next(model.parameters()).div_(8)
    # nearly equal at every position, so that the mean of their sum is a hundred standard deviations, too
    x = (1 + 0.01 * samples(2, 1, 64) + 1e-4 * samples(2, positions, 64, seed=2)).to(dtype)
    start = predicted_error(model(x).detach())
    layers, expected = expected_readings(model, x, lambda _: start)
    assert (abs(expected[:, 0, 4] / expected[:, 0, 5]) > 50).all()
    # a standard deviation of 1 % of the mean loses two digits, the third and fourth moments a few times that
    digits = {"norms": 2e-5, "shapes": 2e-3} if dtype == torch.float32 else {"norms": 1e-9, "shapes": 1e-6}
    assert_readings(GradientMeter(model)(x), (layers, expected), **digits)


def test_a_hundred_million_parameters() -> None:
    width = 10_000
    head = nn.Linear(width, 3)
    model = nn.Sequential(nn.Linear(width, width, bias=False), head).requires_grad_(False)
    with torch.no_grad():
        head.weight += 0.01  # the mean of the gradient's rows is not 0
    x = torch.rand(1, width, generator=torch.Generator().manual_seed(0))
    readings = GradientMeter(model)(x)
    error = predicted_error(readings.logits)
    delta = (error @ head.weight.double()).squeeze(0).numpy()
    assert_agree(readings.values[0, 0], _eight_of_product(delta, x[0].double().numpy()), norms=1e-5, shapes=1e-4)


def _eight_of_product(delta: Array, activation: Array) -> Array:
    """The statistics of an outer product, a hundred rows at a time."""
    count = delta.size * activation.size
    mean, sums = delta.mean() * activation.mean(), np.zeros(4)
    extremes = []
    for rows in np.split(delta, 100):
        gradient = np.multiply.outer(rows, activation).ravel()
        centred = gradient - mean
        square = centred * centred
        sums += np.abs(gradient).sum(), square.sum(), square @ centred, square @ square
        extremes += [gradient.min(), gradient.max()]
    variance, third, fourth = sums[1:] / count
    norm = ((variance + mean**2) * count) ** 0.5
    return np.array(
        [
            sums[0],
            norm,
            min(extremes),
            max(extremes),
            mean,
            variance**0.5,
            third / variance**1.5,
            fourth / variance**2 - 3,
        ]
    )
