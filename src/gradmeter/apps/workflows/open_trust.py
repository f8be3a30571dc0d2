"""Opening a saved TrustModel together with the classifier that it was fitted for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from gradmeter.errors import DataError, InputError, one_line
from gradmeter.sources.models import Classifier, Recipe
from gradmeter.sources.models.answering import ClassifierFailed
from gradmeter.sources.samples.left_out import kind_of
from gradmeter.stages import stage
from gradmeter.trust.model import TrustModel
from gradmeter.trust.saving import holds_trust, read_notes


def open_trust(
    folder: str | Path, *, model: str | None = None, weights: Path | None = None, device: str = "cpu"
) -> tuple[TrustModel, Classifier]:
    """Open a TrustModel that `gradmeter fit` saved, and its classifier.

    Opening the network takes seconds. If another process replaces the TrustModel in the meantime, for example by one
    for another preprocessing, the new one is opened.

    Args:
        folder: folder of the TrustModel.
        model: MODEL, if it is not the one that the folder names. Required if it is a function of the user's, because a
            folder from elsewhere must not choose which code is run.
        weights: file of the weights, if it has moved.
        device: device on which the network is tried.

    Raises:
        DataError: if the folder was not written by `gradmeter fit`, is incomplete or changed, or belongs to another
            network, even to one with the same weights but other outputs.
        InputError: if the model is a function and `model` is None, or the network fails on noise, as another network
            may that takes other samples.
    """
    folder = Path(folder)
    with stage("opening the TrustModel and its network"):
        while True:
            notes = _notes_of(folder)
            recipe = _recipe_of(folder, notes, model, weights)
            classifier = _opened(recipe, folder, device)
            try:
                trust = TrustModel.load(folder, classifier.network)
            except DataError:
                if _are_equal(notes, _notes_of(folder)):
                    raise
                continue  # it may belong to another network
            if _are_equal(notes, trust.notes):
                break
        if not has_same_outputs(classifier, notes):
            raise DataError(
                f"{classifier.name} has the weights that {folder} was fitted with, but gives other outputs on the same "
                "noise, so its code or its preprocessing has changed; restore them, or fit again"
            )
    trust.notes = {**trust.notes, "recipe": recipe.to_json()}
    return trust, classifier


def _notes_of(folder: Path) -> dict[str, Any]:
    if not holds_trust(folder):
        raise DataError(f"{folder} holds no TrustModel; expected a folder that gradmeter fit wrote")
    notes = read_notes(folder)
    if "recipe" not in notes:
        raise DataError(f"{folder} does not say how to open its network; expected a folder that gradmeter fit wrote")
    return notes


def _recipe_of(folder: Path, notes: Mapping[str, Any], model: str | None, weights: Path | None) -> Recipe:
    recipe = Recipe.from_json(notes["recipe"])
    if model is None and recipe.runs_code:
        raise InputError(
            f"the network of {folder} is made by the function {recipe.model}, whose code would be run; if you trust "
            f"it, give --model {recipe.model}"
        )
    if weights is None and recipe.weights is not None and _is_missing(recipe.weights):
        raise DataError(
            f"{recipe.weights}, the weights that {folder} was fitted with: no such file; if it has moved, give its "
            "path with --weights"
        )
    if weights is None and model is None:
        return recipe
    return replace(recipe, model=model or recipe.model, weights=weights or recipe.weights)


def _opened(recipe: Recipe, folder: Path, device: str) -> Classifier:
    try:
        return recipe.open(device)
    except ClassifierFailed as error:  # which advises options that commands with a TrustModel do not have
        cause = error.__cause__ or error
        raise InputError(
            f"{recipe.model} fails on samples like those of {folder} ({type(cause).__name__}: {one_line(cause)}); "
            "expected the network that it was fitted for, and its code and libraries as they were"
        ) from cause


def _is_missing(path: Path) -> bool:
    try:
        return kind_of(path) is None
    except OSError:  # which opening it explains
        return False


def _are_equal(before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    # As text, because NaN, in damaged notes, is not equal to itself.
    return json.dumps(before, sort_keys=True) == json.dumps(now, sort_keys=True)


def has_same_outputs(classifier: Classifier, notes: Mapping[str, Any]) -> bool:
    """Return whether a classifier gives the outputs that `gradmeter fit` saved.

    Raises:
        DataError: if the saved outputs are damaged.
    """
    if "answer" not in notes:  # saved by an earlier version
        return True
    try:
        return classifier.answers_as(notes["answer"])
    except InputError:  # a ValueError, too: the network fails
        raise
    except (TypeError, ValueError) as error:
        raise DataError(f"the saved outputs of the network are damaged ({one_line(error)}); fit again") from error
