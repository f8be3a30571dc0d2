"""Networks of timm with the preprocessing they were trained with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import timm
import torch
from timm.data.config import resolve_data_config
from timm.data.imagenet_info import ImageNetInfo, infer_imagenet_subset
from timm.data.transforms_factory import create_transform
from torch import nn

from gradmeter.errors import InputError
from gradmeter.sources.models.classifier import Classifier
from gradmeter.sources.models.downloads import download
from gradmeter.sources.models.preprocessing import ImageOptions, Stacked
from gradmeter.sources.models.weights import build_with, read_weights
from gradmeter.sources.samples import ImageKind


def open_model(name: str, weights: Path | None, options: ImageOptions) -> Classifier:
    """Open the network NAME, with its published weights if no file of weights is given.

    Raises:
        InputError: if timm has no such network, or its weights cannot be downloaded.
        DataError: if the weights are missing or do not fit the network.
    """
    if not timm.is_model(name.partition(".")[0]):
        near = ", ".join(timm.list_models(f"*{name.partition('.')[0]}*")[:5])
        raise InputError(
            f"timm has no model {name!r}; {f'did you mean {near}?' if near else 'timm.list_models() lists all models'}"
        )
    try:
        timm.get_pretrained_cfg(name)
    except RuntimeError as error:
        tags = ", ".join(timm.list_pretrained(f"{name.partition('.')[0]}.*")) or name.partition(".")[0]
        raise InputError(f"timm has no weights {name!r}; expected one of {tags}") from error
    shape: dict[str, Any] = {"in_chans": 1} if options.grey else {}
    if options.size is not None and _has_fixed_size(name):
        shape["img_size"] = options.size
    title, classes = f"timm:{name}", None
    if weights is None:
        network = download(title, lambda: timm.create_model(name, pretrained=True, **shape))
        classes = _imagenet_classes(network)
    else:
        tensors, classes = read_weights(weights)

        def build(count: int | None) -> nn.Module:
            outputs: dict[str, Any] = {} if count is None else {"num_classes": count}
            model: nn.Module = timm.create_model(name, **shape, **outputs)
            # Published without classes, as DINOv2's: with any number, the weights show how many there are.
            return build(1) if count is None and _has_no_classes(model) else model

        network = build_with(build, tensors, weights)
    return with_timm_preprocessing(title, network.eval(), classes, options)


def _has_fixed_size(name: str) -> bool:
    """Whether a network is built for one image size, such as a transformer with learned positions."""
    with torch.device("meta"):
        return hasattr(getattr(timm.create_model(name), "patch_embed", None), "img_size")


def _has_no_classes(network: nn.Module) -> bool:
    return getattr(network, "num_classes", None) == 0


def with_timm_preprocessing(
    title: str, network: nn.Module, classes: tuple[str, ...] | None, options: ImageOptions
) -> Classifier:
    """A classifier with the preprocessing in the timm configuration of its network.

    Raises:
        InputError: if the network has no classes.
    """
    if _has_no_classes(network):
        raise InputError(f"{title} returns features and has no classes; expected a classifier: give its --weights")
    config: dict[str, Any] = resolve_data_config(pretrained_cfg=network.pretrained_cfg)
    changed = options.changed()
    if options.grey and len(config["mean"]) == 3:
        config["mean"], config["std"] = config["mean"][:1], config["std"][:1]
    if "size" in changed:
        size = changed.pop("size")
        config["input_size"] = (options.channels, size, size)
    config.update(changed)
    transform = create_transform(**config, is_training=False)
    side = int(config["input_size"][-1] / config["crop_pct"])  # as timm rounds before it crops
    return Classifier(title, network, classes, ImageKind(options.mode, side), Stacked(transform))


def _imagenet_classes(network: nn.Module) -> tuple[str, ...] | None:
    """The WordNet ids of the classes, which are the names of ImageNet's folders."""
    subset = infer_imagenet_subset(network)
    return tuple(ImageNetInfo(subset).label_names()) if subset else None
