"""Networks returned by a function of the user. Only this module runs code that the user names."""

from __future__ import annotations

import sys
from contextlib import nullcontext, suppress
from importlib import import_module
from pathlib import Path, PurePath

from torch import nn
from torch.fx import GraphModule

from gradmeter.errors import InputError, one_line
from gradmeter.sources.models.array_batch import ArrayBatch
from gradmeter.sources.models.classifier import Classifier
from gradmeter.sources.models.contained import contained
from gradmeter.sources.models.kinds import nearest_kind
from gradmeter.sources.models.preprocessing import ImageOptions, ResizeAndNormalise, Stacked
from gradmeter.sources.models.weights import build_with, read_weights
from gradmeter.sources.samples import ArrayKind, ImageKind

# The package whose modules need no search in the current folder.
_OURS = __name__.partition(".")[0]


def open_function(
    model: str, weights: Path | None, options: ImageOptions, arrays: ArrayKind | None = None
) -> Classifier:
    """Open the network that "package.module:function" returns. Modules in the current folder can be imported.

    A network of timm keeps timm's preprocessing. For other networks, `options` must have the size of images; mean and
    std default to 0 and 1. With `arrays` there is no preprocessing.

    Raises:
        InputError: if the function does not exist, fails or does not return a module, or the size is missing.
        DataError: if the weights are missing or do not fit the network.
    """
    with contained():
        network = make_network(model)
    classes = None
    if weights is not None:
        tensors, classes = read_weights(weights)
        network = build_with(lambda count: network, tensors, weights)
    if arrays is not None:
        return Classifier(model, network, classes, None, ArrayBatch.of(arrays, network), arrays)
    config = getattr(network, "pretrained_cfg", None)
    if isinstance(config, dict) and config:  # other networks may use the name with another type
        from gradmeter.sources.models.timm_models import with_timm_preprocessing

        return with_timm_preprocessing(model, network, classes, options)
    if options.size is None:
        raise InputError(
            f"{model} does not define its image size; give --image-size, and --mean and --std if needed, or, if it "
            "takes other inputs than images, an .npz archive of arrays as data"
        )
    changed = {"mean": (0.0,) * options.channels, "std": (1.0,) * options.channels, **options.changed()}
    return Classifier(
        model, network, classes, ImageKind(options.mode, options.size), Stacked(ResizeAndNormalise(**changed))
    )


def make_network(model: str) -> nn.Module:
    """Import and call the function; return its network in eval mode.

    Raises:
        InputError: if there is no such function, or it fails or does not return a module.
    """
    module, _, function = model.partition(":")
    _require_module(module, function)
    # In the folder of gradmeter demo, a file may be named like a module of Python.
    if "" not in sys.path and module.partition(".")[0] != _OURS:
        sys.path.insert(0, "")
    try:
        make = getattr(import_module(module), function)
    except (Exception, SystemExit) as error:  # code of the user may raise anything
        is_missing = isinstance(error, ImportError | AttributeError)
        reason = f"{model}: {'' if is_missing else f'{type(error).__name__}: '}{one_line(error)}"
        kind = nearest_kind(module) if isinstance(error, ModuleNotFoundError) and error.name == module else None
        if kind is not None:
            raise InputError(f"{reason}; did you mean {kind}:{function}?") from error
        raise InputError(f"{reason}; expected package.module:function, in this folder or installed") from error
    if isinstance(make, nn.Module):
        raise InputError(f"{model} is a network; expected a function without arguments that returns it")
    try:
        network = make()
        if isinstance(network, nn.Module):
            # A module of torch.export stays in the mode of its export.
            with suppress(NotImplementedError) if isinstance(network, GraphModule) else nullcontext():
                network.eval()
    except (Exception, SystemExit) as error:
        expected = "without arguments" if isinstance(error, TypeError) else "that returns a network"
        raise InputError(
            f"{model} failed with {type(error).__name__}: {one_line(error)}; expected a function {expected}"
        ) from error
    if not isinstance(network, nn.Module):
        raise InputError(f"{model} returned a {type(network).__name__}; expected a torch.nn.Module")
    return network


def _require_module(module: str, function: str) -> None:
    """Check that a module is not spelled as the path of its file.

    Raises:
        InputError: if it is.
    """
    path = PurePath(module)
    if path.suffix == ".py" or len(path.parts) > 1:
        parts = path.with_suffix("").parts
        is_below = all(map(str.isidentifier, parts))
        meant = f"{'.'.join(parts)}:{function}" if is_below else f"{path.stem}:{function} in {path.parent}"
        raise InputError(f"{module}:{function} is a path; expected package.module:function: did you mean {meant}?")
