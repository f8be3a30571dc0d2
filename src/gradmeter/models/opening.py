"""From MODEL, as a user names it, to a classifier."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from gradmeter.errors import InputError
from gradmeter.models.classifier import Classifier
from gradmeter.models.preprocessing import ImageOptions

Opener = Callable[[str, "Path | None", ImageOptions], Classifier]

# Module that opens each kind of model, and the extra that installs what it needs.
_KINDS = {
    "timm": ("gradmeter.models.timm_models", "timm"),
    "torchvision": ("gradmeter.models.torchvision_models", "torchvision"),
    "hf": ("gradmeter.models.transformers_models", "transformers"),
}
# What people call them otherwise.
_OTHERWISE = {"huggingface": "hf", "transformers": "hf"}
EXPECTED = "timm:NAME, torchvision:NAME, hf:NAME_OR_FOLDER or package.module:function"


def runs_code(model: str) -> bool:
    """Whether MODEL names a function, which runs when the model is opened."""
    return model.partition(":")[0] not in _KINDS


def nearest_kind(module: str) -> str | None:
    """The kind of model that somebody may have meant who wrote `module`."""
    near = difflib.get_close_matches(module, [*_KINDS, *_OTHERWISE], 1)
    return _OTHERWISE.get(near[0], near[0]) if near else None


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
        from gradmeter.models.functions import open_function

        return open_function(model, weights, options or ImageOptions())
    where, extra = _KINDS[kind]
    try:
        opener: Opener = import_module(where).open_model
    except ModuleNotFoundError as error:
        raise InputError(
            f'{model} needs the package {error.name}, which is not installed; pip install "gradmeter[{extra}]"'
        ) from error
    return opener(name, weights, options or ImageOptions())
