"""Trained segmentation networks of torchvision or transformers, or from a function of the user."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from gradmeter.errors import InputError
from gradmeter.sources.models.classifier import Classifier
from gradmeter.sources.models.contained import contained
from gradmeter.sources.models.downloads import NO_CODE, download
from gradmeter.sources.models.functions import make_network
from gradmeter.sources.models.kinds import KINDS, runs_code
from gradmeter.sources.models.preprocessing import ImageOptions
from gradmeter.sources.models.weights import build_with, read_weights
from gradmeter.sources.samples import ImageKind

if TYPE_CHECKING:
    from PIL import Image

_EXPECTED = "torchvision:NAME, hf:NAME_OR_FOLDER or package.module:function"
# Side of generated images for networks that take images of any size.
_SIDE = 256


@dataclass(frozen=True)
class Normalised:
    """Resizes the shorter side, keeping the ratio of the sides, and normalises.

    Attributes:
        size: the shorter side of the result in pixels; None to keep the image's size.
        mean: the mean of each channel, for pixels in [0, 1].
        std: the standard deviation of each channel, for pixels in [0, 1].
    """

    size: int | None
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, images: Sequence[Image.Image]) -> Tensor:
        """A batch [1, channels, H, W] of one image."""
        from PIL import Image

        (image,) = images
        if self.size is not None:
            scale = self.size / min(image.size)
            width, height = (max(1, round(side * scale)) for side in image.size)
            image = image.resize((width, height), Image.Resampling.BILINEAR)
        levels = torch.from_numpy(np.array(image, np.float32)) / 255
        levels = levels.unsqueeze(0) if levels.dim() == 2 else levels.permute(2, 0, 1)
        mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (self.mean, self.std))
        return ((levels - mean) / std).unsqueeze(0)


@dataclass(frozen=True)
class _Processed:
    """Makes a batch of one image with an image processor."""

    processor: Any
    dtype: torch.dtype = field(repr=False)

    def __call__(self, images: Sequence[Any]) -> Mapping[str, Tensor]:
        pixels = self.processor(images=list(images), return_tensors="pt")["pixel_values"]
        return {"pixel_values": pixels.to(self.dtype)}


def open_segmenter(model: str, weights: Path | None = None, options: ImageOptions | None = None) -> Classifier:
    """Open the segmentation network that MODEL names; it maps images to logits [N, C, H, W].

    Args:
        model: "torchvision:NAME", "hf:NAME_OR_FOLDER", or "package.module:function", whose code runs.
        weights: a `.safetensors` file, or a `.pt` file of tensors only; by default the weights published for this name.
        options: changes to the model's own preprocessing; the size is that of an image's shorter side.

    Raises:
        InputError: if the model does not exist, or a package is missing.
        DataError: if the weights are missing or do not fit the network.
    """
    options = options or ImageOptions()
    kind, colon, name = model.partition(":")
    if not colon or not kind or not name or kind == "timm":
        raise InputError(f"{model} is not a name of a segmentation network; expected {_EXPECTED}")
    if runs_code(model):
        with contained():
            network = make_network(model)
        if weights is not None:
            network = build_with(lambda count: network, read_weights(weights)[0], weights)
        return _normalised(model, network, options, options.size, (0.0,), (1.0,))
    try:
        return _OPENERS[kind](name, weights, options)
    except ModuleNotFoundError as error:
        raise InputError(
            f'{model} needs the package {error.name}, which is not installed; pip install "gradmeter[{KINDS[kind][1]}]"'
        ) from error


def _normalised(
    title: str,
    network: nn.Module,
    options: ImageOptions,
    size: int | None,
    mean: tuple[float, ...],
    std: tuple[float, ...],
) -> Classifier:
    changed = options.changed()
    each = options.channels if len(mean) == 1 else 1
    batch = Normalised(size, changed.get("mean", mean * each), changed.get("std", std * each))
    return Classifier(title, network.eval(), None, ImageKind(options.mode, size or _SIDE), batch)


def _torchvision(name: str, weights: Path | None, options: ImageOptions) -> Classifier:
    from torchvision.models import get_model, get_model_weights, list_models, segmentation

    title = f"torchvision:{name}"
    if name not in list_models(module=segmentation):
        raise InputError(
            f"torchvision has no segmentation network {name!r}; expected one of {', '.join(list_models(segmentation))}"
        )
    if options.grey:
        raise InputError(f"{title} takes images of three channels; remove --grey: grey images are converted")
    published = get_model_weights(name).DEFAULT
    if weights is None:
        with contained():  # torch.hub prints the address
            network: nn.Module = download(title, lambda: get_model(name, weights=published))
    else:
        tensors = read_weights(weights)[0]
        auxiliary = any("aux_classifier." in key for key in tensors)
        arguments: dict[str, Any] = {"aux_loss": True} if auxiliary else {}

        def build(count: int | None) -> nn.Module:
            outputs = {} if count is None else {"num_classes": count}
            built: nn.Module = get_model(name, weights=None, weights_backbone=None, **arguments, **outputs)
            return built

        network = build_with(build, tensors, weights)
    preset = published.transforms()
    size = options.size or preset.resize_size[0]
    return _normalised(title, network, options, size, tuple(preset.mean), tuple(preset.std))


def _transformers(name: str, weights: Path | None, options: ImageOptions) -> Classifier:
    from transformers import AutoConfig, AutoImageProcessor, AutoModelForSemanticSegmentation
    from transformers.models.auto.modeling_auto import MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING_NAMES

    from gradmeter.sources.models.transformers_weights import pretrained, with_weights

    title = f"hf:{name}"
    if options.changed() or options.grey:
        raise InputError(f"{title} has its own preprocessing; change its preprocessor_config.json instead")
    config = download(title, lambda: AutoConfig.from_pretrained(name, **NO_CODE))
    if config.model_type not in MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING_NAMES:
        raise InputError(f"{title} is a network of the kind {config.model_type}; expected a segmentation network")
    auto: Any = AutoModelForSemanticSegmentation
    network: Any = pretrained(title, auto, name) if weights is None else with_weights(auto, config, weights)
    processor = download(title, lambda: AutoImageProcessor.from_pretrained(name, **NO_CODE))
    return Classifier(title, network.eval(), None, ImageKind("RGB", _SIDE), _Processed(processor, network.dtype))


_OPENERS: dict[str, Callable[[str, Path | None, ImageOptions], Classifier]] = {
    "torchvision": _torchvision,
    "hf": _transformers,
}
