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
from gradmeter.sources.samples import ArrayKind

Opener = Callable[[str, "Path | None", ImageOptions], Classifier]


def open_model(
    model: str,
    weights: Path | None = None,
    options: ImageOptions | None = None,
    arrays: ArrayKind | None = None,
) -> Classifier:
    """Open the classifier that MODEL names.

    Args:
        model: "timm:NAME", "torchvision:NAME", "hf:NAME_OR_FOLDER", or "package.module:function", whose code runs.
        weights: a `.safetensors` file, or a `.pt` file of tensors only; by default the weights published for this name.
        options: changes to the model's own preprocessing.
        arrays: the arrays that the network gets as they are, instead of images or texts.

    Raises:
        InputError: if the model does not exist, a package is missing, or there are options for arrays.
        DataError: if the weights are missing or do not fit the network.
    """
    kind, colon, name = model.partition(":")
    if not colon or not kind or not name:
        raise InputError(f"{model} is not a name of a model; expected {EXPECTED}")
    options = options or ImageOptions()
    if arrays is not None and (given := options.given()):
        raise InputError(
            f"{' and '.join(given)} given, but the data are arrays ({arrays}), which get no preprocessing; remove "
            f"{'it' if len(given) == 1 else 'them'}"
        )
    if runs_code(model):
        return open_function(model, weights, options, arrays)
    module, extra = KINDS[kind]
    try:
        opener: Opener = import_module(module).open_model
    except ModuleNotFoundError as error:
        raise InputError(
            f'{model} needs the package {error.name}, which is not installed; pip install "gradmeter[{extra}]"'
        ) from error
    classifier = opener(name, weights, options)
    return classifier if arrays is None else classifier.for_arrays(arrays)
