"""Networks of torchvision with the preprocessing that their published weights were trained with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torchvision
from torch import nn
from torchvision.models import get_model, get_model_weights, list_models

from gradmeter.errors import InputError
from gradmeter.sources.models.classifier import Classifier
from gradmeter.sources.models.downloads import fetched
from gradmeter.sources.models.preprocessing import ImageOptions, Stacked
from gradmeter.sources.models.weights import build_with, read_weights
from gradmeter.sources.samples import ImageKind

# Their published weights, and what is trained from these, are for pixels in [-1, 1], to which the networks themselves
# bring torchvision's usual scale, if told so. They come with or without the heads that only help to train them.
_ON_THEIR_OWN_SCALE = ("googlenet", "inception_v3")


def open_model(name: str, weights: Path | None, options: ImageOptions) -> Classifier:
    """The network NAME, with published weights unless a file is given.

    Raises:
        InputError: if torchvision has no such classifier, it is to take grey images, or its weights cannot be fetched.
        DataError: if the file is not for it.
    """
    title = f"torchvision:{name}"
    published = get_model_weights(name).DEFAULT if name in list_models(module=torchvision.models) else None
    if published is None:
        raise InputError(f"torchvision has no classifier {name!r}; list_models(torchvision.models) lists them")
    if options.grey:
        raise InputError(f"{title} takes images of three channels; leave --grey away, grey images are spread over them")
    classes: tuple[str, ...] | None = tuple(published.meta["categories"])
    if weights is None:
        network: nn.Module = fetched(title, lambda: get_model(name, weights=published))
    else:
        tensors, classes = read_weights(weights)

        own: dict[str, Any] = {}
        if name in _ON_THEIR_OWN_SCALE:
            helped = any("aux" in key.lower() for key in tensors)
            is_users_scale = options.mean is not None or options.std is not None
            own = {"transform_input": not is_users_scale, "aux_logits": helped, "init_weights": False}

        def build(count: int | None) -> nn.Module:
            outputs = {} if count is None else {"num_classes": count}
            made: nn.Module = get_model(name, weights=None, **own, **outputs)
            return made

        network = build_with(build, tensors, weights)
    settings: dict[str, Any] = {"resize_size": 256, **published.transforms.keywords}
    changed = options.changed()
    if "size" in changed:
        size = changed.pop("size")
        # The margin around the crop keeps its share.
        settings["resize_size"] = size * settings["resize_size"] // settings["crop_size"]
        settings["crop_size"] = size
    transform = published.transforms.func(**{**settings, **changed})
    return Classifier(
        title, network.eval(), classes, ImageKind(options.mode, settings["resize_size"]), Stacked(transform)
    )
