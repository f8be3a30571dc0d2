"""The parts of a network that detectors need: feature maps, the head and the last linear layer."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from gradmeter.errors import UnsupportedModelError
from gradmeter.research.cifar_resnets import CifarResNet
from gradmeter.research.ood_benchmark.networks import ResNet8
from gradmeter.research.study.network import PaperCNN

IMAGES, FEATURE_MAPS, EMBEDDING, LOGITS = "images", "feature maps", "embedding", "logits"
"""What a detector can start from: the images, the output of the last stage, or the input or output of the last layer.
"""


@dataclass(frozen=True)
class Parts:
    """A network in eval mode as a chain of modules.

    Attributes:
        network: the whole network.
        stages: consecutive modules; the last one outputs the feature maps.
        layers: modules of the network that correspond to the stages.
        pool: maps feature maps to the features of the last layer.
        last: the last linear layer.
    """

    network: nn.Module
    stages: tuple[nn.Module, ...]
    layers: tuple[nn.Module, ...]
    pool: nn.Module
    last: nn.Linear

    def __post_init__(self) -> None:
        """Set eval mode, so that fitting detectors does not change the network."""
        self.network.eval()

    @property
    def backbone(self) -> nn.Module:
        """The module that maps images to feature maps [N, C, H, W]."""
        return nn.Sequential(*self.stages).eval()

    @property
    def head(self) -> nn.Module:
        """The module that maps feature maps to logits."""
        return nn.Sequential(self.pool, self.last).eval()

    @property
    def encoder(self) -> nn.Module:
        """The module that maps images to features [N, D]."""
        return nn.Sequential(*self.stages, self.pool).eval()

    @property
    def last_weight(self) -> str:
        """The name of the parameter that is the last layer's weight."""
        return next(name for name, parameter in self.network.named_parameters() if parameter is self.last.weight)

    def after(self, start: str) -> Parts:
        """Return the part of the network from `IMAGES`, `FEATURE_MAPS`, `EMBEDDING` or `LOGITS` to the logits.

        A detector that does not read what comes before gives the same scores for it as for the whole network, and
        the pass through the rest of the network can be made once for many detectors.
        """
        if start == IMAGES:
            return self
        pool = self.pool if start == FEATURE_MAPS else nn.Identity()
        network = nn.Identity() if start == LOGITS else nn.Sequential(pool, self.last)
        return Parts(network, (nn.Identity(),), (), pool, self.last)


class _LeakyPool(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool2d(F.leaky_relu(x, 0.1), 2)


class _Mean(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean(dim=(2, 3))


def parts_of(network: nn.Module) -> Parts:
    """Return the parts of a network of the benchmark.

    Raises:
        UnsupportedModelError: for any other network.
    """
    if isinstance(network, PaperCNN):
        stages = (
            nn.Sequential(network.inputs, network.conv1, _LeakyPool()),
            nn.Sequential(network.conv2, _LeakyPool()),
            nn.Sequential(network.conv3),
        )
        return Parts(network, stages, (network.conv1, network.conv2, network.conv3), nn.Flatten(), network.dense)
    if isinstance(network, ResNet8):
        stem = nn.Sequential(network.conv, network.bn, nn.ReLU())
        return Parts(network, (stem, *network.blocks), tuple(network.blocks), _Mean(), network.fc)
    if isinstance(network, CifarResNet):
        stem = nn.Sequential(network.inputs, network.conv1, network.bn1, nn.ReLU())
        blocks = (network.layer1, network.layer2, network.layer3)
        return Parts(network, (stem, *blocks), blocks, _Mean(), network.linear)
    children = dict(network.named_children())
    if {"conv1", "bn1", "layer1", "layer2", "layer3", "layer4", "fc"} <= children.keys():
        stem = nn.Sequential(*(children[name] for name in ("conv1", "bn1", "relu", "maxpool")))
        layers = [children[f"layer{number}"] for number in range(1, 5)]
        last = children["fc"]
        assert isinstance(last, nn.Linear)
        return Parts(network, (stem, *layers), tuple(layers), _Mean(), last)
    raise UnsupportedModelError(f"{type(network).__name__} is no network of the benchmark; expected one of a task")
