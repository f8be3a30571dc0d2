"""The measured networks: random weights from a fixed seed, in eval mode; nothing is downloaded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from gradmeter.research.cifar_resnets import CifarResNet
from gradmeter.research.study.network import PaperCNN

_SEED = 0
# Scale parameters below this switch their branch off, so that its gradients vanish.
_LEAST_SCALE = 1e-4


@dataclass(frozen=True)
class Model:
    """A network, the batch size it is measured with, and targets for the meter.

    Attributes:
        title: name on the page and in figures.
        make: returns the network; a module-level function, since measurements run in separate processes.
        shape: shape of one input.
        batch: samples in a batch.
        target: largest ratio of the meter's time to that of a plain forward and backward pass; None for no target.
        stretch_target: a more ambitious ratio; None for no target.
        best_plain_target: largest ratio of the meter's time to that of the best tiled pass; None for no target.
        distribution: the package it needs beyond gradmeter's dependencies; None for no package.
    """

    title: str
    make: Callable[[], nn.Module]
    shape: tuple[int, ...]
    batch: int
    target: float | None = None
    stretch_target: float | None = None
    best_plain_target: float | None = None
    distribution: str | None = None

    def build(self) -> tuple[nn.Module, Tensor]:
        """Return the network in eval mode and inputs [batch, *shape]; every call returns the same values."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(_SEED)
            network = self.make()
            inputs = self.inputs(self.batch)
        _randomise_scales(network)
        _settle_running_statistics(network, inputs)
        return network.eval(), inputs

    def inputs(self, samples: int, seed: int = _SEED) -> Tensor:
        """Return standard normal inputs [samples, *shape]."""
        return torch.randn(samples, *self.shape, generator=torch.Generator().manual_seed(seed))


def _paper_cnn() -> nn.Module:
    network = PaperCNN(padding="same")
    for layer in (network.conv1, network.conv2, network.conv3):
        layer.padding = (1, 1)  # the same padding as numbers: BackPACK misinterprets "same"
    return network


def resnet56() -> nn.Module:
    """The ResNet-56 for CIFAR-10 of He et al. (2016) with random weights."""
    network = CifarResNet(56)
    network.inputs = nn.Identity()  # the inputs are random
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight)
    return network


def _torchvision(name: str) -> nn.Module:
    from torchvision.models import get_model

    network: nn.Module = get_model(name, weights=None)
    return network


def _timm(name: str) -> nn.Module:
    import timm

    network: nn.Module = timm.create_model(name, pretrained=False)
    return network


def _randomise_scales(network: nn.Module) -> None:
    """Set scales of zero to one, so that gradients flow through branches that training starts without."""
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.rpartition(".")[2] in ("weight", "gamma", "layer_scale") and parameter.abs().max() < _LEAST_SCALE:
                parameter.fill_(1)


def _settle_running_statistics(network: nn.Module, inputs: Tensor) -> None:
    """Set the running statistics of every BatchNorm to those of one batch, as in a trained network."""
    norms = [module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    if not norms:
        return
    network.eval()
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.train()
        norm.momentum = 1.0
    with torch.no_grad():
        network(inputs)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


_SMALL, _LARGE = (3, 32, 32), (3, 224, 224)

MODELS: dict[str, Model] = {
    "paper-cnn": Model("Paper CNN, 28x28", _paper_cnn, (1, 28, 28), 1000, 0.5, 0.33, best_plain_target=1.2),
    "resnet18-32": Model(
        "ResNet-18, 32x32", partial(_torchvision, "resnet18"), _SMALL, 64, 1.1, 0.9, distribution="torchvision"
    ),
    "resnet18": Model(
        "ResNet-18, 224x224", partial(_torchvision, "resnet18"), _LARGE, 8, 1.1, 0.9, distribution="torchvision"
    ),
    "resnet56": Model("ResNet-56 for CIFAR-10, 32x32", resnet56, _SMALL, 64),
    "vit-tiny": Model(
        "ViT-tiny/16, 224x224", partial(_timm, "vit_tiny_patch16_224"), _LARGE, 8, 1.15, 1.0, distribution="timm"
    ),
    "resnet50": Model(
        "ResNet-50, 224x224", partial(_torchvision, "resnet50"), _LARGE, 8, 1.5, distribution="torchvision"
    ),
    "convnext-tiny": Model(
        "ConvNeXt-tiny, 224x224", partial(_torchvision, "convnext_tiny"), _LARGE, 8, 1.5, distribution="torchvision"
    ),
    "efficientnet-b0": Model(
        "EfficientNet-B0, 224x224", partial(_torchvision, "efficientnet_b0"), _LARGE, 8, 1.5, distribution="torchvision"
    ),
    "mobilenet-v3-small": Model(
        "MobileNetV3-small, 224x224",
        partial(_torchvision, "mobilenet_v3_small"),
        _LARGE,
        8,
        1.5,
        distribution="torchvision",
    ),
}
"""Networks by their name in `--models`, in the order of the page."""

MAIN_MODELS = ("paper-cnn", "resnet18-32", "resnet18", "vit-tiny")
"""Networks of the overview figure."""
