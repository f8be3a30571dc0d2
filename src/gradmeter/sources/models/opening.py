"""From MODEL, as a user names it, to a classifier."""

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
    """The classifier that MODEL names.

    Args:
        model: "timm:NAME", "torchvision:NAME", "hf:NAME_OR_FOLDER", or "package.module:function", whose code runs.
        weights: `.safetensors`, or `.pt` of tensors only; by default what the library publishes for this name.
        options: what differs from the model's own preprocessing.

    Raises:
        InputError: if there is no such model, or a package is missing.
        DataError: if the weights are missing or another network's.
    """
    kind, colon, name = model.partition(":")
    if not colon or not kind or not name:
        raise InputError(f"{model}: expected {EXPECTED}")
    if runs_code(model):
        return open_function(model, weights, options or ImageOptions())
    where, extra = KINDS[kind]
    try:
        opener: Opener = import_module(where).open_model
    except ModuleNotFoundError as error:
        raise InputError(
            f'{model} needs the package {error.name}, which is not installed; pip install "gradmeter[{extra}]"'
        ) from error
    return opener(name, weights, options or ImageOptions())
