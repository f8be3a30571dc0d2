"""A table of small networks, one for each way to build or use a layer."""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from gradmeter.research.study.network import PaperCNN

CLASSES = 3


def classifier(shape: tuple[int, ...], *body: nn.Module) -> nn.Sequential:
    """The body, a flattening and a dense layer to the logits, for inputs [N, *shape]."""
    features = nn.Sequential(*body, nn.Flatten()).eval()
    with torch.no_grad():
        width = features(torch.zeros(2, *shape)).shape[1]
    return nn.Sequential(*features, nn.Linear(width, CLASSES))


def with_same_parameters(layer: nn.Module) -> nn.Module:
    """Another module with the same parameters, as `SyncBatchNorm.convert_sync_batchnorm` makes."""
    other = copy.deepcopy(layer)
    for name, parameter in layer.named_parameters():
        setattr(other, name, parameter)
    return other


def randomise(model: nn.Module, seed: int = 0) -> nn.Module:
    """Randomise every parameter and running statistic: initial norms have scale 1 and shift 0, which hides errors."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            fan = max(1, parameter[0].numel()) if parameter.dim() > 1 else 4
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64) / fan**0.5)
        for name, buffer in model.named_buffers():
            if name.endswith("running_mean"):
                buffer.copy_(torch.randn(buffer.shape, generator=generator, dtype=torch.float64) / 4)
            elif name.endswith("running_var"):
                buffer.copy_(torch.rand(buffer.shape, generator=generator, dtype=torch.float64) + 0.5)
    return model


def samples(*shape: int, seed: int = 1) -> Tensor:
    """Inputs [N, ...] in float64."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class CalledTwice(nn.Module):
    """A convolution, a norm and a dense layer that are each called twice, on inputs of one size."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(2, 2, 3, padding=1)
        self.norm = nn.LayerNorm(8)
        self.mix = nn.Linear(8, 8)
        self.head = nn.Linear(16, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.conv(x).tanh())
        x = self.mix(self.norm(self.conv(x))).tanh()
        out: Tensor = self.head(self.mix(x).flatten(1))
        return out


class CalledOnTwoSizes(nn.Module):
    """A convolution called on inputs of two sizes, as in a pyramid."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 3, padding=1)
        self.pool = nn.AvgPool2d(2)
        self.head = nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.conv(x).tanh())
        out: Tensor = self.head(self.conv(x)[..., ::2, ::2].flatten(1))
        return out


class Tied(nn.Module):
    """Two dense layers share a weight; the second has its own bias."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.second = nn.Linear(4, 4)
        self.second.weight = self.first.weight
        self.head = nn.Linear(4, CLASSES, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.second(self.first(x).tanh()))
        return out


class Auxiliary(nn.Module):
    """Two heads that do not affect the logits, one of them directly on the input, and a layer that is never called."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Linear(4, 5)
        self.inner = nn.Linear(5, 2)
        self.outer = nn.Conv1d(1, 2, 3)
        self.idle = nn.Linear(3, 2)
        self.head = nn.Linear(5, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x, side = self.stem(x).tanh(), self.outer(x.unsqueeze(1))
        _ = self.inner(x).sum() + side.sum()
        out: Tensor = self.head(x)
        return out


class Residual(nn.Module):
    """A block of a ResNet: BatchNorm, in-place activations and an in-place sum."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, 4, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.relu = nn.ReLU(inplace=True)
        self.conv1 = nn.Conv2d(4, 4, 3, padding=1)
        self.conv2 = nn.Conv2d(4, 4, 3, padding=1, bias=False)
        self.shortcut = nn.Conv2d(4, 4, 1)
        self.head = nn.Linear(4, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.norm(self.stem(x)))
        y = self.conv2(self.relu(self.conv1(x)))
        y += self.shortcut(x)
        out: Tensor = self.head(self.relu(y).mean((2, 3)))
        return out


class Tokens(nn.Module):
    """Patches, dense layers over positions, a mean over them."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(2, 6, 2, stride=2)
        self.norm = nn.LayerNorm(6)
        self.mlp = nn.Sequential(nn.Linear(6, 5), nn.GELU(), nn.Linear(5, 6, bias=False))
        self.head = nn.Linear(6, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = x + self.mlp(self.norm(x))
        out: Tensor = self.head(x.mean(1))
        return out


class Recipe(nn.Module):
    """A network whose forward pass is a function of the network and its input, defined in a test.

    Its members are modules, or parameters given by their shape.
    """

    def __init__(self, recipe: Callable[[Any, Tensor], Any], **members: nn.Module | tuple[int, ...]) -> None:
        super().__init__()
        self.recipe = recipe
        for name, member in members.items():
            setattr(self, name, nn.Parameter(torch.zeros(member)) if isinstance(member, tuple) else member)

    def forward(self, x: Tensor) -> Any:
        return self.recipe(self, x)

    def __getattr__(self, name: str) -> Any:
        return super().__getattr__(name)


def frozen(model: nn.Module, first: int | None = None) -> nn.Module:
    """Freeze the first parameters of a model, by default all."""
    for parameter in list(model.parameters())[:first]:
        parameter.requires_grad_(False)
    return model


Case = tuple[Callable[[], nn.Module], tuple[int, ...]]


def _body(shape: tuple[int, ...], *layers: Callable[[], nn.Module]) -> Case:
    return lambda: classifier(shape, *(layer() for layer in layers)), shape


def _conv2d(**options: Any) -> Case:
    return _body(
        (2, 7, 6), lambda: nn.Conv2d(2, 4, 3, padding=1), nn.Tanh, lambda: nn.Conv2d(4, 4, 3, **options), nn.Tanh
    )


CASES: dict[str, Case] = {
    "paper valid": (PaperCNN, (1, 28, 28)),
    "paper same": (lambda: PaperCNN(padding="same"), (1, 28, 28)),
    "conv1d stride dilation groups": _body(
        (4, 12), lambda: nn.Conv1d(4, 6, 3, stride=2, dilation=2, groups=2, padding=2), nn.Tanh
    ),
    "conv1d after a transposition": _body(
        (5, 3),
        lambda: nn.Linear(3, 4),
        lambda: nn.Unflatten(1, (5, 1)),
        lambda: nn.Flatten(1, 2),
        lambda: nn.Conv1d(5, 2, 2),
    ),
    "conv2d leftover of the stride": _conv2d(stride=(3, 2)),
    "conv2d dilation": _conv2d(dilation=(2, 1)),
    "conv2d groups": _conv2d(groups=2, stride=2, padding=1),
    "conv2d depthwise": _conv2d(groups=4, padding=(1, 0)),
    "conv2d no bias": _conv2d(bias=False),
    "conv2d zeros": _conv2d(padding=(2, 1), padding_mode="zeros"),
    "conv2d reflect": _conv2d(padding=(2, 1), padding_mode="reflect"),
    "conv2d replicate": _conv2d(padding=(2, 1), padding_mode="replicate"),
    "conv2d circular": _conv2d(padding=(2, 1), padding_mode="circular"),
    "conv2d same": _conv2d(padding="same", dilation=2),
    "conv2d same circular": _conv2d(padding="same", padding_mode="circular"),
    "conv2d same even kernel": _body((2, 6, 5), lambda: nn.Conv2d(2, 3, (2, 4), padding="same"), nn.Tanh),
    "conv2d 1x1": _body((3, 5, 4), lambda: nn.Conv2d(3, 4, 1, stride=2), nn.Tanh, lambda: nn.Conv2d(4, 2, 1)),
    "conv3d": _body(
        (2, 5, 4, 6),
        lambda: nn.Conv3d(2, 4, (3, 2, 3), stride=(2, 1, 1), padding=1, dilation=(1, 1, 2)),
        nn.Tanh,
        lambda: nn.Conv3d(4, 2, 2, groups=2, bias=False),
    ),
    "conv3d replicate": _body((1, 4, 3, 4), lambda: nn.Conv3d(1, 2, 3, padding=1, padding_mode="replicate"), nn.Tanh),
    "linear": _body((5,), lambda: nn.Linear(5, 7), nn.Tanh, lambda: nn.Linear(7, 4, bias=False), nn.Tanh),
    "linear over positions": _body((3, 5), lambda: nn.Linear(5, 4), nn.Tanh, lambda: nn.Linear(4, 2, bias=False)),
    "linear over a grid": _body((2, 3, 5), lambda: nn.Linear(5, 4), nn.Tanh, lambda: nn.Linear(4, 2)),
    "linear over one position": _body((1, 5), lambda: nn.Linear(5, 4), nn.Tanh),
    "batch norm flat": _body((5,), lambda: nn.Linear(5, 4), lambda: nn.BatchNorm1d(4), nn.Tanh),
    "batch norm 1d": _body((2, 6), lambda: nn.Conv1d(2, 4, 3), lambda: nn.BatchNorm1d(4), nn.Tanh),
    "batch norm 2d": _body((2, 5, 5), lambda: nn.Conv2d(2, 4, 3), lambda: nn.BatchNorm2d(4, eps=0.1), nn.Tanh),
    "batch norm 3d": _body((2, 3, 3, 4), lambda: nn.BatchNorm3d(2), nn.Tanh, lambda: nn.Conv3d(2, 2, 2)),
    "batch norm not affine": _body((2, 5, 5), lambda: nn.BatchNorm2d(2, affine=False), lambda: nn.Conv2d(2, 4, 3)),
    "layer norm": _body((4, 5), lambda: nn.LayerNorm(5), nn.Tanh, lambda: nn.Linear(5, 3)),
    "layer norm flat": _body((5,), lambda: nn.LayerNorm(5, eps=0.1), nn.Tanh),
    "layer norm two dimensions": _body((3, 4, 5), lambda: nn.LayerNorm((4, 5)), nn.Tanh),
    "layer norm no bias": _body((4, 5), lambda: nn.LayerNorm(5, bias=False), nn.Tanh),
    "group norm": _body((4, 3, 5), lambda: nn.GroupNorm(2, 4, eps=0.1), nn.Tanh, lambda: nn.Conv2d(4, 2, 2)),
    "group norm flat": _body((6,), lambda: nn.GroupNorm(2, 6), nn.Tanh),
    "instance norm 1d": _body((3, 6), lambda: nn.InstanceNorm1d(3, affine=True, eps=0.1), nn.Tanh),
    "instance norm 2d": _body((3, 4, 5), lambda: nn.InstanceNorm2d(3, affine=True), nn.Tanh),
    "instance norm 3d": _body((2, 3, 3, 2), lambda: nn.InstanceNorm3d(2, affine=True), nn.Tanh),
    "instance norm running": _body(
        (3, 4, 5), lambda: nn.InstanceNorm2d(3, affine=True, track_running_stats=True), nn.Tanh
    ),
    "rms norm": _body((4, 5), lambda: nn.RMSNorm(5), nn.Tanh),
    "rms norm two dimensions": _body((2, 4, 5), lambda: nn.RMSNorm((4, 5), eps=0.1), nn.Tanh),
    "in-place activation": _body(
        (2, 6, 6),
        lambda: nn.Conv2d(2, 4, 3),
        lambda: nn.ReLU(inplace=True),
        lambda: nn.Conv2d(4, 4, 3),
        lambda: nn.LeakyReLU(0.1, inplace=True),
    ),
    "called twice": (CalledTwice, (2, 8)),
    "called on two sizes": (CalledOnTwoSizes, (2, 8, 8)),
    "tied weights": (Tied, (4,)),
    "auxiliary heads": (Auxiliary, (4,)),
    "residual": (Residual, (2, 5, 5)),
    "tokens": (Tokens, (2, 6, 4)),
    "frozen": (lambda: frozen(Residual()), (2, 5, 5)),
    "frozen first layers": (lambda: frozen(Residual(), 4), (2, 5, 5)),
    "frozen flat": (lambda: frozen(classifier((5,), nn.Linear(5, 4), nn.Tanh())), (5,)),
    "frozen over positions": (lambda: frozen(Tokens()), (2, 6, 4)),
    "frozen 1d": (lambda: frozen(CalledTwice()), (2, 8)),
    "one dense layer": (lambda: nn.Linear(5, CLASSES), (5,)),
    "two classes": (lambda: nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 2)), (5,)),
}
"""Case name: (factory, shape of one sample)."""
