"""Open the classifier that MODEL on the command line names."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from gradmeter.errors import InputError
from gradmeter.sources.models.classifier import Classifier
from gradmeter.sources.models.functions import open_function
from gradmeter.sources.models.kinds import EXPECTED, KINDS, runs_code
from gradmeter.sources.models.preprocessing import ImageOptions

Opener = Callable[[str, "Path | None", ImageOptions], Classifier]


def open_model(model: str, weights: Path | None = None, options: ImageOptions | None = None) -> Classifier:
    """Open the classifier that MODEL names.

    Args:
        model: "timm:NAME", "torchvision:NAME", "hf:NAME_OR_FOLDER", or "package.module:function", whose code runs.
        weights: a `.safetensors` file, or a `.pt` file of tensors only; by default the weights published for this name.
        options: changes to the model's own preprocessing.

    Raises:
        InputError: if the model does not exist, or a package is missing.
        DataError: if the weights are missing or do not fit the network.
    """
    kind, colon, name = model.partition(":")
    if not colon or not kind or not name:
        raise InputError(f"{model} is not a name of a model; expected {EXPECTED}")
    if runs_code(model):
        return open_function(model, weights, options or ImageOptions())
    module, extra = KINDS[kind]
    try:
        opener: Opener = import_module(module).open_model
    except ModuleNotFoundError as error:
        raise InputError(
            f'{model} needs the package {error.name}, which is not installed; pip install "gradmeter[{extra}]"'
        ) from error
    return opener(name, weights, options or ImageOptions())
