"""Norms of a batch of one, whose gradients PyTorch 2.13 computes wrong if the orders in memory differ."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from gradmeter import GradientMeter
from gradmeter.reading.network import nodes_below, sound_gradients
from oracles.gradients import expected_readings
from oracles.moments import assert_agree
from oracles.networks import randomise, samples

EXACT = {"norms": 1e-10, "shapes": 1e-8}


class Tokens(nn.Module):
    """A norm between images and tokens, in both directions."""

    def __init__(self, norm: nn.Module, convolution: type[nn.Conv1d | nn.Conv2d | nn.Conv3d]) -> None:
        super().__init__()
        self.first, self.norm, self.mix = convolution(2, 6, 2), norm, nn.Linear(6, 6)
        self.second, self.head = convolution(6, 6, 2), nn.Linear(6, 3)

    def forward(self, images: Tensor) -> Tensor:
        images = self.norm(self.first(images))
        tokens = torch.tanh(self.mix(images.flatten(2).transpose(1, 2)))
        images = tokens.transpose(1, 2).unflatten(2, images.shape[2:])
        result: Tensor = self.head(torch.tanh(self.second(self.norm(images))).flatten(2).transpose(1, 2).mean(1))
        return result


class Squeezed(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images.squeeze(3).transpose(1, 2)


class Averaged(nn.Module):
    def __init__(self, axis: int) -> None:
        super().__init__()
        self.axis = axis

    def forward(self, values: Tensor) -> Tensor:
        return values.mean(self.axis, keepdim=True)


NORMS: dict[str, Callable[[], nn.Module]] = {
    "BatchNorm1d": lambda: Tokens(nn.BatchNorm1d(6), nn.Conv1d),
    "BatchNorm2d": lambda: Tokens(nn.BatchNorm2d(6), nn.Conv2d),
    "BatchNorm3d": lambda: Tokens(nn.BatchNorm3d(6), nn.Conv3d),
    "InstanceNorm2d": lambda: Tokens(nn.InstanceNorm2d(6, affine=True), nn.Conv2d),
    "InstanceNorm2d with statistics": lambda: Tokens(
        nn.InstanceNorm2d(6, affine=True, track_running_stats=True), nn.Conv2d
    ),
    "InstanceNorm3d": lambda: Tokens(nn.InstanceNorm3d(6, affine=True), nn.Conv3d),
}


@pytest.mark.parametrize("kind", NORMS)
@pytest.mark.parametrize("channels_last", [False, True])
def test_one_sample_as_in_a_batch(kind: str, channels_last: bool) -> None:
    torch.manual_seed(0)
    model = NORMS[kind]().double().eval()
    randomise(model)
    dimensions = model.first.weight.dim() - 2
    inputs = samples(3, 2, *(5, 4, 6)[:dimensions])
    if channels_last and dimensions > 1:
        model.to(memory_format=torch.channels_last if dimensions == 2 else torch.channels_last_3d)
    layers, values = expected_readings(model, inputs)
    meter = GradientMeter(model)
    assert meter.layers == layers
    for number in range(3):
        assert_agree(meter(inputs[number : number + 1]).values, values[number : number + 1], **EXACT)
    assert_agree(meter(inputs).values, values, **EXACT)


def test_images_one_pixel_wide() -> None:
    torch.manual_seed(0)
    spectra = nn.Sequential(nn.Conv2d(2, 6, 3), nn.ReLU(), Averaged(3), nn.BatchNorm2d(6))
    tokens = nn.Sequential(Squeezed(), nn.Tanh(), nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 3))
    model = nn.Sequential(spectra, tokens, Averaged(1), nn.Flatten()).double().eval()
    randomise(model)
    inputs = samples(3, 2, 9, 5)
    _, values = expected_readings(model, inputs)
    assert_agree(GradientMeter(model)(inputs).values, values, **EXACT)


@pytest.mark.parametrize("samples_in_batch", [1, 3])
def test_norms_in_a_checkpoint(samples_in_batch: int) -> None:
    class Checkpointed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = NORMS["BatchNorm2d"]()

        def forward(self, images: Tensor) -> Tensor:
            result: Tensor = checkpoint(self.inner, images, use_reentrant=False)
            return result

    torch.manual_seed(0)
    model = Checkpointed().double().eval()
    randomise(model)
    inputs = samples(samples_in_batch, 2, 5, 4)
    assert_agree(GradientMeter(model)(inputs).values, GradientMeter(model.inner)(inputs).values.numpy(), **EXACT)


class Convolution(torch.autograd.Function):
    """Autograd names its operation after the class."""

    @staticmethod
    def forward(context: Any, images: Tensor) -> Tensor:
        return 2 * images

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        return 2 * gradients[0]


@pytest.mark.parametrize("name", ["Convolution", "NativeBatchNorm"])
def test_an_operation_of_a_user_that_is_named_like_one_of_pytorch(name: str) -> None:
    operation = type(name, (Convolution,), {})

    class Own(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            result: Tensor = operation.apply(images)
            return result

    model = nn.Sequential(nn.Conv2d(2, 6, 2), Own(), nn.Flatten(), nn.Linear(24, 3)).double().eval()
    inputs = samples(3, 2, 3, 3)
    meter = GradientMeter(model)
    assert_agree(meter(inputs[:1]).values, meter(inputs).values[:1].numpy(), **EXACT)


def test_switches_of_pytorch_that_a_user_locked(monkeypatch: pytest.MonkeyPatch) -> None:
    # As `disable_global_flags` does, for good.
    monkeypatch.setitem(torch.backends.flags_frozen.__globals__, "__allow_nonbracketed_mutation_flag", False)
    assert torch.backends.flags_frozen()
    assert len(GradientMeter(nn.Sequential(nn.Flatten(), nn.Linear(12, 3)))(samples(2, 12).float())) == 2


@pytest.mark.parametrize("order", ["contiguous", "tokens", "neither"])
@pytest.mark.parametrize("of_gradient", ["contiguous", "tokens", "neither"])
def test_a_norm_and_all_orders(order: str, of_gradient: str) -> None:
    def laid_out(images: Tensor, order: str) -> Tensor:
        if order == "tokens":
            return images.flatten(2).transpose(1, 2).contiguous().transpose(1, 2).unflatten(2, images.shape[2:])
        return images.transpose(2, 3).contiguous().transpose(2, 3) if order == "neither" else images

    norm = nn.BatchNorm2d(6).double().eval()
    randomise(norm)
    images, gradient = laid_out(samples(1, 6, 4, 5), order).requires_grad_(), samples(1, 6, 4, 5)
    (expected,) = torch.autograd.grad(norm(images.contiguous()), images, gradient)
    output = norm(images)
    with sound_gradients(nodes_below([output.grad_fn])):
        (actual,) = torch.autograd.grad(output, images, laid_out(gradient, of_gradient))
    torch.testing.assert_close(actual, expected)
