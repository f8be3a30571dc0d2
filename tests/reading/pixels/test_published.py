"""Segmentation networks of torchvision, transformers and segmentation-models-pytorch, at a few pixels."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.models import segmentation as vision
from transformers import SegformerConfig, SegformerForSemanticSegmentation

from gradmeter import PixelMeter
from oracles.moments import assert_agree
from oracles.networks import randomise, samples
from oracles.pixels import pixel_statistics

IMAGES = samples(2, 3, 64, 96).float()
CLASSES = 5
PIXELS = [(0, 0, 0), (1, 9, 13), (0, 15, 22), (1, 7, 1)]


def _segformer() -> nn.Module:
    small: dict[str, Any] = {
        "num_encoder_blocks": 2,
        "depths": [1, 1],
        "sr_ratios": [2, 1],
        "hidden_sizes": [8, 16],
        "patch_sizes": [7, 3],
        "strides": [4, 2],
        "num_attention_heads": [1, 2],
        "mlp_ratios": [2, 2],
        "decoder_hidden_size": 12,
        "num_labels": CLASSES,
    }
    return SegformerForSemanticSegmentation(SegformerConfig(**small))


def _vision(name: str) -> nn.Module:
    network: nn.Module = getattr(vision, name)(weights=None, weights_backbone=None, num_classes=CLASSES)
    return network


def _smp(name: str, classes: int = CLASSES) -> nn.Module:
    smp = pytest.importorskip("segmentation_models_pytorch", reason="segmentation-models-pytorch is not installed")
    network: nn.Module = getattr(smp, name)("resnet18", encoder_weights=None, classes=classes)
    return network


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[str, ...]]] = {
    "fcn_resnet50": (lambda: _vision("fcn_resnet50"), ("classifier.4",)),
    "deeplabv3_mobilenet_v3_large": (lambda: _vision("deeplabv3_mobilenet_v3_large"), ("classifier.4",)),
    "lraspp_mobilenet_v3_large": (
        lambda: _vision("lraspp_mobilenet_v3_large"),
        ("classifier.low_classifier", "classifier.high_classifier"),
    ),
    "segformer": (_segformer, ("decode_head.classifier",)),
    "unet": (lambda: _smp("Unet"), ("segmentation_head.0",)),
    "unet, binary": (lambda: _smp("Unet", 1), ("segmentation_head.0",)),
    "fpn": (lambda: _smp("FPN"), ("segmentation_head.0",)),
    "deeplabv3+": (lambda: _smp("DeepLabV3Plus"), ("segmentation_head.0",)),
}


# timm, under segmentation-models-pytorch, scripts functions, which PyTorch 2.13 deprecates.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", NETWORKS)
def test_last_layers(name: str) -> None:
    build, layers = NETWORKS[name]
    torch.manual_seed(0)
    network = build().eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            randomise(module)
    readings = PixelMeter(network)(IMAGES)
    assert readings.layers == layers
    for place, layer in enumerate(layers):
        expected = pixel_statistics(network, IMAGES, layer, pixels=PIXELS)
        values = np.stack([readings.values[n, place, :, y, x].numpy() for n, y, x in PIXELS])
        # Rounding errors of float32 in dozens of layers.
        assert_agree(values, expected, norms=1e-3, shapes=1e-2)
