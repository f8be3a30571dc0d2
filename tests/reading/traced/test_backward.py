"""The traced backward pass gives the per-sample gradients of a loop of torch.func, in float64."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from apps.onnx.exported import needs_exporter
from gradmeter import GradientMeter, InputError, UnsupportedModelError
from gradmeter.reading.network import owning_modules
from gradmeter.reading.traced import TracedForward, TracedGradients
from oracles.gradients import expected_readings


class Convolutions(nn.Module):
    """Strides, dilation, groups, BatchNorm, pooling and a shortcut without parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 4, 3, padding="same", dilation=2)
        self.norm = nn.BatchNorm2d(4)
        self.grouped = nn.Conv2d(4, 8, (3, 2), stride=(2, 1), padding=1, groups=2, bias=False)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.gate = nn.Conv2d(8, 8, 1)
        self.last = nn.Linear(16, 3)
        for values in (self.norm.running_mean, self.norm.running_var):
            assert values is not None
            values.uniform_(0.5, 1.5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(self.norm(self.first(x)), 3, 2, padding=1).relu_()
        y = F.leaky_relu(self.grouped(x), 0.1)
        x = F.pad(x[:, :, ::2], (0, 1, 0, 0, 2, 2)) + F.hardtanh(y, -0.5, 0.5)
        x = x * torch.sigmoid(self.gate(x.mean((2, 3), keepdim=True)))
        x = F.avg_pool2d(self.depthwise(x), 3, 2, padding=1)
        pooled = F.adaptive_avg_pool2d(x, 1), -F.adaptive_avg_pool2d(F.hardswish(y), (1, 2)).sum((2, 3), keepdim=True)
        return self.last(F.dropout(torch.cat(pooled, 1), training=self.training).flatten(1))


class Sequence(nn.Module):
    """Dense layers on the positions of a sequence, one of them called twice, and a convolution along it."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.mix, self.along = nn.Linear(6, 5), nn.Linear(5, 5), nn.Conv1d(5, 4, 3, stride=2)
        self.unused, self.last = nn.Linear(2, 2), nn.Linear(4, 3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.embed(x.flatten(1).unflatten(1, (12, 6))))
        x = self.mix(F.relu6(self.mix(x))) / 2 - x
        return self.last(F.hardsigmoid(self.along(x.transpose(1, 2))).mean(2))


class Transformer(nn.Module):
    """Attention with the samples along the second axis, a class token, LayerNorm, scales and GELU."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(2, 8, 2, stride=2)
        self.token, self.places = (nn.Parameter(torch.randn(1, size, 8)) for size in (1, 10))
        self.norm, self.attention = nn.LayerNorm(8), nn.MultiheadAttention(8, 2, batch_first=True)
        self.scale, self.shift = nn.Parameter(torch.randn(8)), nn.Parameter(torch.randn(8))
        self.widen, self.narrow = nn.Linear(8, 12), nn.Parameter(torch.randn(12, 8))
        self.last = nn.Linear(8, 3)
        nn.init.normal_(self.norm.weight)
        nn.init.normal_(self.norm.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.places
        y = self.norm(x)
        x = x + self.attention(y, y, y, need_weights=False)[0] * self.scale.reshape(1, 1, 8)
        gate, value = self.widen(self.norm(x)).split([6, 6], -1)
        x = x + torch.cat([F.gelu(gate), F.gelu(value, approximate="tanh")], -1) @ self.narrow
        return self.last(x[:, 0] - self.shift)


class Normalised(nn.Module):
    """GroupNorm of images and of vectors, and a LayerNorm over several axes."""

    def __init__(self) -> None:
        super().__init__()
        self.images, self.vectors, self.both = nn.GroupNorm(2, 4), nn.GroupNorm(2, 6), nn.LayerNorm([4, 3, 3])
        self.first, self.middle, self.last = nn.Conv2d(2, 4, 2, stride=2), nn.Linear(36, 6), nn.Linear(6, 3)
        for norm in (self.images, self.vectors, self.both):
            nn.init.normal_(norm.weight)
            nn.init.normal_(norm.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.both(F.elu(self.images(self.first(x)), 0.7))
        return self.last(self.vectors(self.middle(x.flatten(1))))


class Entries(nn.Module):
    """Functions of single entries, and a choice between two tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.rows, self.last = nn.Linear(6, 2), nn.Linear(24, 3)

    def forward(self, x: Tensor) -> Tensor:
        # The rows of an image are folded into the batch.
        x = self.rows(x.reshape(-1, 6)).reshape(-1, 24)
        size = x.abs() + 0.5
        x = torch.where(x > 0, size.sqrt() + size.log(), size.rsqrt() - x.exp()) + size**-1.5
        return self.last(torch.softmax(x, 1) * F.silu(x) * x[:, 3, None])


class Rows(nn.Module):
    """The rows of an image are folded into the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.rows, self.last = nn.Linear(6, 2), nn.Linear(24, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.rows(x.transpose(0, 1).reshape(-1, 6)).reshape(2, -1, 12)
        return self.last(x.transpose(0, 1).reshape(-1, 24))


def small() -> nn.Module:
    return nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(12, 3))


def traced(network: nn.Module, inputs: Tensor, *labels: str, biases: bool = True) -> TracedGradients:
    layers = [*owning_modules(network)]
    forward = TracedForward(network, inputs, (), embedding=False)
    return TracedGradients(forward, inputs, labels or ("predicted",), layers, biases=biases)


def inputs_of(samples: int) -> Tensor:
    return torch.randn(samples, 2, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("make", "biases"),
    [
        *((make, True) for make in (Convolutions, Sequence, Transformer, Normalised, Entries, Rows)),
        (Transformer, False),
    ],
)
@needs_exporter
def test_gradients(make: Callable[[], nn.Module], biases: bool) -> None:
    torch.manual_seed(0)
    network, inputs = make().double().eval(), inputs_of(8)
    reader = traced(network, inputs[:3], biases=biases)
    for part in (inputs[3:], inputs[3:4]):
        with torch.no_grad():
            given = reader(part).gradients["predicted"]
        _, expected = expected_readings(network, part, biases=biases)
        values = given.values.clone()
        values[:, :, :6] *= given.log_scale.exp()[:, None, None]
        np.testing.assert_allclose(values, expected[:, :-1], rtol=1e-6, atol=1e-12)


@pytest.mark.slow
def test_a_vision_transformer_of_timm() -> None:
    """ViT-tiny of three blocks, whose LayerNorms have weights as different as those of a trained one."""
    timm = pytest.importorskip("timm", reason="timm is not installed")
    torch.manual_seed(0)
    sizes = {"img_size": 32, "patch_size": 8, "depth": 3, "num_classes": 10}
    network = timm.create_model("vit_tiny_patch16_224", **sizes).double().eval()
    for parameter in network.parameters():
        if parameter.dim() == 1:
            parameter.data.add_(0.2 * torch.randn_like(parameter))
    inputs = torch.randn(4, 3, 32, 32, dtype=torch.float64)
    with torch.no_grad():
        given = traced(network, inputs[:3])(inputs[2:]).gradients["predicted"]
    _, expected = expected_readings(network, inputs[2:])
    values = given.values.clone()
    values[:, :, :6] *= given.log_scale.exp()[:, None, None]
    np.testing.assert_allclose(values, expected[:, :-1], rtol=1e-5, atol=1e-12)


def test_each_pseudo_label_has_its_own_backward_pass() -> None:
    torch.manual_seed(0)
    network, inputs = small().eval(), inputs_of(6).float()
    labels = ("predicted", "uniform", "all-ones", "counterfactual", "expected")
    readings = GradientMeter(network, labels)(inputs)
    with torch.no_grad():
        given = traced(network, inputs[:3], *labels)(inputs).gradients
    for label in labels:
        expected = readings.for_pseudo_label(label)
        values = given[label].values.clone()
        values[:, :, :6] *= given[label].log_scale.exp()[:, None, None]
        np.testing.assert_allclose(given[label].log_scale, expected.log_scale, atol=1e-5)
        np.testing.assert_allclose(values, expected.values[:, :-1], rtol=1e-3, atol=1e-4)


class Transposed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up, self.last = nn.ConvTranspose2d(2, 2, 2), nn.Linear(98, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.up(x).flatten(1))


class Tabled(nn.Module):
    """A parameter that is looked up in a table, as the position biases of a Swin transformer."""

    def __init__(self) -> None:
        super().__init__()
        self.last, self.table = nn.Linear(72, 3), nn.Parameter(torch.zeros(5, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.last(x.flatten(1)) + self.table[torch.tensor([4])]


class Sorted(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(72, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.first(x.flatten(1)).sort(1).values)


class Detached(nn.Module):
    """A part that does not count for the gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(72, 3), nn.Linear(72, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(x.flatten(1)) * self.first(x.flatten(1)).detach()


class Branching(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(72, 3)

    def forward(self, x: Tensor) -> Tensor:
        logits = self.last(x.flatten(1))
        return logits if float(x.sum()) > 0 else -logits


class Counting(nn.Module):
    """The length of a batch is a fixed number for torch.export."""

    def __init__(self) -> None:
        super().__init__()
        self.token, self.last = nn.Parameter(torch.zeros(1, 4)), nn.Linear(76, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.cat([self.token.expand(len(x), 4), x.flatten(1)], 1))


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (Transposed, ("'up'", "transposed")),
        (Tabled, ("the network", "index")),
        (Sorted, ("the network", "sort")),
        (Detached, ("the network", "alias")),
        (Branching, ("traced",)),
        (Counting, ("the network fixes the batch size", "x.size(0) in place of len(x)")),
    ],
)
def test_what_is_refused_is_named(make: Callable[[], nn.Module], named: tuple[str, ...]) -> None:
    with pytest.raises(UnsupportedModelError) as caught:
        traced(make().double().eval(), inputs_of(3))
    assert all(name in str(caught.value) for name in named), str(caught.value)
    assert "\n" not in str(caught.value)


class Reversed(torch.autograd.Function):
    """The identity, through which gradients change their sign."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return -gradients[0]


def reversed_(x: Tensor) -> Tensor:
    reverse: Callable[[Tensor], Tensor] = Reversed.apply
    return reverse(x)


def stopped(x: Tensor) -> Tensor:
    """Softmax, whose gradient is taken to be that of the identity."""
    with torch.no_grad():
        change = torch.softmax(x, 1) - x
    return x + change


def hooked(x: Tensor) -> Tensor:
    if x.requires_grad:
        x.register_hook(lambda gradient: 2 * gradient)
    return x


class Behind(nn.Module):
    """A dense layer whose gradients pass through a function."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.last, self.function = nn.Linear(72, 4), nn.Linear(4, 3), function

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.function(self.first(x.flatten(1)).relu()))


@pytest.mark.parametrize(
    ("function", "named"),
    [
        (reversed_, "torch.autograd.Function Reversed,"),
        (stopped, "layer 'first' are not those"),
        (hooked, "layer 'first' are not those"),
    ],
)
@needs_exporter
def test_gradients_that_are_not_those_of_the_operations(function: Callable[[Tensor], Tensor], named: str) -> None:
    torch.manual_seed(0)
    with pytest.raises(UnsupportedModelError, match=named):
        traced(Behind(function).double().eval(), inputs_of(6))
    traced(Behind(torch.tanh).double().eval(), inputs_of(6))


def test_no_warning_of_pytorch_is_passed_on() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        traced(small().double().eval(), inputs_of(3))


def test_a_pseudo_label_without_a_name() -> None:
    with pytest.raises(InputError, match="'7'"):
        traced(small().eval(), inputs_of(3).float(), "7")
