"""A network that a function of the user's own makes: the one place where gradmeter runs code that it is given."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

from torch import nn

from gradmeter.errors import InputError, one_line
from gradmeter.sources.models.classifier import Classifier
from gradmeter.sources.models.contained import contained
from gradmeter.sources.models.kinds import nearest_kind
from gradmeter.sources.models.preprocessing import ImageOptions, ResizeAndNormalise, Stacked
from gradmeter.sources.models.weights import build_with, read_weights
from gradmeter.sources.samples import ImageKind


def open_function(model: str, weights: Path | None, options: ImageOptions) -> Classifier:
    """The network that "package.module:function" returns; modules of the current folder are found, too.

    A network of timm keeps timm's preprocessing. For any other one the size of images must be given; mean and
    deviation are 0 and 1 unless they are.

    Raises:
        InputError: if there is no such function, it fails, returns no module, or the size is missing.
        DataError: if the file of weights is not for it.
    """
    network = _made(model)
    classes = None
    if weights is not None:
        tensors, classes = read_weights(weights)
        network = build_with(lambda count: network, tensors, weights)
    if isinstance(getattr(network, "pretrained_cfg", None), dict):  # others may use the name, too
        from gradmeter.sources.models.timm_models import with_timm_preprocessing

        return with_timm_preprocessing(model, network, classes, options)
    if options.size is None:
        raise InputError(f"{model} does not say which images it takes; give --image-size, and --mean and --std")
    changed = {"mean": (0.0,) * options.channels, "std": (1.0,) * options.channels, **options.changed()}
    return Classifier(
        model, network, classes, ImageKind(options.mode, options.size), Stacked(ResizeAndNormalise(**changed))
    )


def _made(model: str) -> nn.Module:
    """What the function returns, in eval mode."""
    with contained():
        return _returned(model)


def _returned(model: str) -> nn.Module:
    module, _, function = model.partition(":")
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        make = getattr(import_module(module), function)
    except (Exception, SystemExit) as error:  # the module is the user's, or no name of one
        kind = nearest_kind(module) if isinstance(error, ModuleNotFoundError) and error.name == module else None
        if kind is not None:
            raise InputError(f"{model}: {one_line(error)}; did you mean {kind}:{function}?") from error
        raise InputError(
            f"{model}: {one_line(error)}; expected package.module:function, which is in this folder or installed"
        ) from error
    try:
        network = make()
        if isinstance(network, nn.Module):
            network.eval()
    except (Exception, SystemExit) as error:  # the function is the user's
        raise InputError(
            f"{model} failed with {type(error).__name__}: {one_line(error)}; expected a function without arguments"
        ) from error
    if not isinstance(network, nn.Module):
        raise InputError(f"{model} returned a {type(network).__name__}; expected a torch.nn.Module")
    return network
