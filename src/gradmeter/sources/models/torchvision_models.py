"""Networks of torchvision with the preprocessing of their published weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torchvision
from torch import nn
from torchvision.models import get_model, get_model_weights, list_models

from gradmeter.errors import InputError, warn
from gradmeter.sources.models.classifier import Classifier
from gradmeter.sources.models.contained import contained
from gradmeter.sources.models.downloads import download
from gradmeter.sources.models.preprocessing import ImageOptions, Stacked
from gradmeter.sources.models.weights import build_with, read_weights
from gradmeter.sources.samples import ImageKind

# Published weights of these networks, and those fine-tuned from them, are for pixels in [-1, 1]. With transform_input,
# the networks convert torchvision's usual normalisation to it. Weights may include the auxiliary training heads.
_TRANSFORM_INPUT = ("googlenet", "inception_v3")


def open_model(name: str, weights: Path | None, options: ImageOptions) -> Classifier:
    """Open the network NAME, with its published weights if no file of weights is given.

    Raises:
        InputError: if torchvision has no such classifier, `options` ask for grey images, or the weights cannot be
            downloaded.
        DataError: if the weights are missing or do not fit the network.
    """
    title = f"torchvision:{name}"
    published = get_model_weights(name).DEFAULT if name in list_models(module=torchvision.models) else None
    if published is None:
        raise InputError(f"torchvision has no classifier {name!r}; list_models(torchvision.models) lists all")
    if options.grey:
        raise InputError(f"{title} takes images of three channels; remove --grey: grey images are converted")
    classes: tuple[str, ...] | None = tuple(published.meta["categories"])
    if weights is None:
        with contained():  # torch.hub prints the address
            network: nn.Module = download(title, lambda: get_model(name, weights=published))
    else:
        tensors, classes = read_weights(weights)

        arguments: dict[str, Any] = {}
        if name in _TRANSFORM_INPUT:
            has_heads = any("aux" in key.lower() for key in tensors)
            rescales = not _changes_scale(options, published.transforms())
            arguments = {"transform_input": rescales, "aux_logits": has_heads, "init_weights": False}
            if rescales:
                warn(
                    f"{title} is built with transform_input=True, as for its published weights; if yours was trained "
                    "without it, give a function that returns it (package.module:function)"
                )

        def build(count: int | None) -> nn.Module:
            outputs = {} if count is None else {"num_classes": count}
            model: nn.Module = get_model(name, weights=None, **arguments, **outputs)
            return model

        network = build_with(build, tensors, weights)
    settings: dict[str, Any] = {"resize_size": 256, **published.transforms.keywords}
    changed = options.changed()
    if "size" in changed:
        size = changed.pop("size")
        # Keep the ratio of resized to cropped size.
        settings["resize_size"] = size * settings["resize_size"] // settings["crop_size"]
        settings["crop_size"] = size
    transform = published.transforms.func(**{**settings, **changed})
    return Classifier(
        title, network.eval(), classes, ImageKind(options.mode, settings["resize_size"]), Stacked(transform)
    )


def _changes_scale(options: ImageOptions, published: Any) -> bool:
    """Return whether mean or std differ from those of the published preprocessing."""
    changed = options.changed()
    return any(list(changed[name]) != list(getattr(published, name)) for name in ("mean", "std") if name in changed)
