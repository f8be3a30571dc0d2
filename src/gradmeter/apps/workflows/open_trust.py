"""A saved TrustModel together with the classifier that it was fitted for."""

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
    """Open what `gradmeter fit` saved.

    Args:
        folder: of the TrustModel.
        model: MODEL, where it is not the one that the folder names. A function of the user's must be named here:
            a folder from elsewhere must not choose which code runs.
        weights: the file of weights, where it is not where it was.
        device: where the network is tried.

    Raises:
        DataError: if the folder is none of `gradmeter fit`, incomplete or changed, or of another network, be it only
            by what it does with the same weights.
        InputError: if the model is a function and was not named, or the network has no answer to noise.
    """
    if not holds_trust(folder):
        raise DataError(f"{folder} holds no TrustModel; expected a folder that gradmeter fit wrote")
    notes = read_notes(folder)
    if "recipe" not in notes:
        raise DataError(f"{folder} does not say how to open its network; expected a folder that gradmeter fit wrote")
    recipe = Recipe.from_json(notes["recipe"])
    if model is None and recipe.runs_code:
        raise InputError(
            f"{folder} was fitted with {recipe.model}, a function, and functions run code; if you trust it, name it: "
            f"--model {recipe.model}"
        )
    if weights is not None or model is not None:
        recipe = replace(recipe, model=model or recipe.model, weights=weights or recipe.weights)
    classifier = recipe.open(device)
    trust = TrustModel.load(folder, classifier.network)
    if not answers_as_fitted(classifier, notes):
        raise DataError(
            f"{classifier.name} has the weights with which {folder} was fitted, and answers otherwise to the same "
            "noise: its code or its preprocessing changed; expected those it was fitted with: restore them, or fit anew"
        )
    trust.notes = {**trust.notes, "recipe": recipe.to_json()}
    return trust, classifier


def answers_as_fitted(classifier: Classifier, notes: Mapping[str, Any]) -> bool:
    """Whether a classifier answers as the one did of which `gradmeter fit` noted the answer.

    Raises:
        DataError: if the note is damaged.
    """
    if "answer" not in notes:  # of an earlier version
        return True
    try:
        return classifier.answers_as(notes["answer"])
    except (TypeError, ValueError) as error:
        raise DataError(f"the note on the network's answer is damaged ({one_line(error)}); fit anew") from error
