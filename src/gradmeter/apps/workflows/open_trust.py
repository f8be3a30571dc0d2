"""Opening a saved TrustModel together with the classifier that it was fitted for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from gradmeter.errors import DataError, InputError, one_line
from gradmeter.sources.models import Classifier, Recipe
from gradmeter.trust.model import TrustModel
from gradmeter.trust.saving import holds_trust, read_notes


def open_trust(
    folder: Path, *, model: str | None = None, weights: Path | None = None, device: str = "cpu"
) -> tuple[TrustModel, Classifier]:
    """Open a TrustModel that `gradmeter fit` saved, and its classifier.

    Args:
        folder: folder of the TrustModel.
        model: MODEL, if it is not the one that the folder names. Required if it is a function of the user's, because a
            folder from elsewhere must not choose which code is run.
        weights: file of the weights, if it has moved.
        device: device on which the network is tried.

    Raises:
        DataError: if the folder was not written by `gradmeter fit`, is incomplete or changed, or belongs to another
            network, even to one with the same weights but other outputs.
        InputError: if the model is a function and `model` is None, or the network fails on noise.
    """
    if not holds_trust(folder):
        raise DataError(f"{folder} holds no TrustModel; expected a folder that gradmeter fit wrote")
    notes = read_notes(folder)
    if "recipe" not in notes:
        raise DataError(f"{folder} does not say how to open its network; expected a folder that gradmeter fit wrote")
    recipe = Recipe.from_json(notes["recipe"])
    if model is None and recipe.runs_code:
        raise InputError(
            f"the network of {folder} is made by the function {recipe.model}, whose code would be run; if you trust "
            f"it, give --model {recipe.model}"
        )
    if weights is not None or model is not None:
        recipe = replace(recipe, model=model or recipe.model, weights=weights or recipe.weights)
    classifier = recipe.open(device)
    trust = TrustModel.load(folder, classifier.network)
    if not has_same_outputs(classifier, notes):
        raise DataError(
            f"{classifier.name} has the weights that {folder} was fitted with, but gives other outputs on the same "
            "noise, so its code or its preprocessing has changed; restore them, or fit again"
        )
    trust.notes = {**trust.notes, "recipe": recipe.to_json()}
    return trust, classifier


def has_same_outputs(classifier: Classifier, notes: Mapping[str, Any]) -> bool:
    """Return whether a classifier gives the outputs that `gradmeter fit` saved.

    Raises:
        DataError: if the saved outputs are damaged.
    """
    if "answer" not in notes:  # saved by an earlier version
        return True
    try:
        return classifier.answers_as(notes["answer"])
    except (TypeError, ValueError) as error:
        raise DataError(f"the saved outputs of the network are damaged ({one_line(error)}); fit again") from error
