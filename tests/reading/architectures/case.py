"""The cases of the table of architectures."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from oracles.loop import Inputs, cast
from oracles.networks import CLASSES, classifier, randomise, samples


@dataclass(frozen=True)
class Case:
    """A network and its inputs.

    Attributes:
        make: creates the network with any weights.
        inputs: two or three samples; floating-point tensors are cast to the network's dtype.
    """

    make: Callable[[], nn.Module]
    inputs: Inputs

    def build(self, dtype: torch.dtype = torch.float64) -> tuple[nn.Module, Inputs]:
        """The network with random weights, in train mode except for BatchNorm, and its inputs."""
        torch.manual_seed(0)
        # without gradients, so that the weights that the old weight_norm computes can be copied
        with torch.no_grad():
            model = randomise(self.make().to(dtype)).train()
        for module in model.modules():
            if isinstance(module, _BatchNorm):
                module.eval()
        return model, cast(self.inputs, dtype)


class Network(nn.Module):
    """A network given by its members and its forward pass, a function of the network and the inputs."""

    def __init__(self, rule: Callable[..., Any], **members: nn.Module | nn.Parameter) -> None:
        super().__init__()
        for name, member in members.items():
            setattr(self, name, member)
        self.rule = rule

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.rule(self, *args, **kwargs)


def network(rule: Callable[..., Any], inputs: Inputs, **members: Callable[[], nn.Module | nn.Parameter]) -> Case:
    """A case of a `Network`; its members are created for each test."""
    return Case(lambda: Network(rule, **{name: make() for name, make in members.items()}), inputs)


def body(shape: tuple[int, ...], *layers: Callable[[], nn.Module]) -> Case:
    """A case of a sequence of layers and a dense layer to the logits, for samples of this shape."""
    return Case(lambda: classifier(shape, *(layer() for layer in layers)), samples(2, *shape))


def weights(*shape: int) -> Callable[[], nn.Parameter]:
    """A bare parameter."""
    return lambda: nn.Parameter(torch.zeros(shape))


def head(width: int) -> Callable[[], nn.Module]:
    """A dense layer to the logits."""
    return lambda: nn.Linear(width, CLASSES)


def tokens(samples: int, length: int, vocabulary: int) -> Tensor:
    """Integers [samples, length]; each sample has a repeated token and zeros at its end."""
    numbers = torch.randint(1, vocabulary, (samples, length), generator=torch.Generator().manual_seed(3))
    numbers[:, 1] = numbers[:, 0]
    for sample in range(samples):
        numbers[sample, length - 1 - sample :] = 0
    return numbers


def present(numbers: Tensor) -> Tensor:
    """The mask of the tokens that are not padding."""
    return numbers != 0
