"""A TrustModel and its network as a model of MLflow: its predictions are verdicts.

MLflow imports this module to load a model (the flavor "python_function" with a `loader_module`). Nothing is pickled:
the model's data are a folder of `TrustModel.save` and a file of weights. The module is not among the adapters in
`gradmeter.trust`, because it opens networks by their names and decodes images.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import replace
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from safetensors.torch import save_file
from torch import Tensor

from gradmeter.apps.workflows.judge import reader_of
from gradmeter.apps.workflows.open_trust import has_same_outputs, open_trust
from gradmeter.errors import DataError, InputError
from gradmeter.runs.measuring.loading import Batch, batch_of, decoded
from gradmeter.sources.models import Recipe
from gradmeter.sources.models.kinds import KINDS
from gradmeter.sources.models.weights import read_weights
from gradmeter.sources.samples import Encoded, decoder_for
from gradmeter.trust.data import read_inputs
from gradmeter.trust.model import TrustModel
from gradmeter.trust.saving import read_notes
from gradmeter.trust.verdict_columns import VERDICT_COLUMNS
from gradmeter.version import __version__

try:
    import mlflow.pyfunc
    import pandas as pd
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"gradmeter.apps.mlflow needs the package {error.name}, which is not installed; run "
        'pip install "gradmeter[mlflow]"',
        name=error.name,
    ) from error

_TRUST, _WEIGHTS = "trust", "weights.safetensors"
# Options of which MLflow takes one.
_REQUIREMENTS = ("conda_env", "pip_requirements", "extra_pip_requirements")
# Images that are decoded at a time.
_AT_ONCE = 256
_EXPECTED = "an array, a mapping to arrays, or contents of files (bytes) or texts in a list or a frame of one column"


def save_model(path: Path | str, trust: TrustModel, recipe: Recipe | None = None, **options: Any) -> None:
    """Save a TrustModel and its network as an MLflow model.

    Args:
        path: the folder to write.
        trust: the fitted TrustModel; the weights of its network are saved with it.
        recipe: how to open the network and prepare images; None for a TrustModel of `gradmeter fit`, opened by
            `gradmeter.apps.workflows.open_trust.open_trust`. A function of yours ("package.module:function") must be
            importable where the model is loaded: give its file to `code_paths`. The weights are replaced by the saved
            ones; what else "hf:NAME" reads is fetched when the model is loaded.
        **options: of `mlflow.pyfunc.save_model`, such as `signature`, `input_example`, `code_paths`, and
            `pip_requirements`, by default gradmeter and PyTorch of these versions.

    Raises:
        InputError: if there is no recipe.
        DataError: if the recipe opens another network than that of the TrustModel, or prepares inputs otherwise.
        GradmeterError: before `fit`.
    """
    with tempfile.TemporaryDirectory() as folder:
        mlflow.pyfunc.save_model(path, **_arguments(Path(folder), trust, recipe, options))


def log_model(name: str, trust: TrustModel, recipe: Recipe | None = None, **options: Any) -> Any:
    """Log a TrustModel and its network to the current MLflow run, as `save_model` saves them.

    Args:
        name: the name of the model.
        trust: as for `save_model`.
        recipe: as for `save_model`.
        **options: of `mlflow.pyfunc.log_model`, such as those of `save_model` and `registered_model_name`.

    Returns:
        MLflow's `ModelInfo`, whose `model_uri` `mlflow.pyfunc.load_model` takes.

    Raises:
        Those of `save_model`.
    """
    with tempfile.TemporaryDirectory() as folder:
        return mlflow.pyfunc.log_model(name=name, **_arguments(Path(folder), trust, recipe, options))


def _arguments(folder: Path, trust: TrustModel, recipe: Recipe | None, options: dict[str, Any]) -> dict[str, Any]:
    """Write the model's data to a folder, open them to check, and return arguments for MLflow, with the options."""
    if recipe is None:
        if "recipe" not in trust.notes:
            raise InputError("the TrustModel does not say how to open its network; give a Recipe")
        recipe = Recipe.from_json(trust.notes["recipe"])
    state = trust.meter.model.state_dict()
    if other := [name for name, value in state.items() if not isinstance(value, Tensor)]:
        raise InputError(
            f"the network's state holds {other[0]!r}, a {type(state[other[0]]).__name__}; expected tensors only, "
            "because nothing is pickled: let get_extra_state return a tensor"
        )
    # Clones, because safetensors refuses tensors that share memory.
    weights = {name: value.detach().cpu().clone() for name, value in state.items()}
    save_file({name: value.contiguous() for name, value in weights.items()}, folder / _WEIGHTS)
    classes = recipe.classes
    if classes is None and recipe.weights is not None:
        _, classes = read_weights(recipe.weights)
    recipe = replace(recipe, weights=folder / _WEIGHTS, classes=classes)
    classifier = replace(recipe.open(), network=trust.meter.model)
    if not has_same_outputs(classifier, trust.notes):
        raise DataError(
            f"the recipe of {recipe.model} prepares inputs otherwise than those that the TrustModel was fitted to (the "
            "network gives other outputs on the same noise); leave the recipe out, or give the same preprocessing"
        )
    described = copy(trust)
    described.notes = {**trust.notes, "recipe": recipe.to_json(), "answer": classifier.trial.tolist()}
    described.save(folder / _TRUST)
    _load_pyfunc(str(folder))  # compares the answers
    arguments: dict[str, Any] = {"loader_module": __name__, "data_path": str(folder)}
    if options.keys().isdisjoint(_REQUIREMENTS):
        extra = "" if recipe.runs_code else f"[{KINDS[recipe.model.partition(':')[0]][1]}]"
        torch_version = torch.__version__.partition("+")[0]
        arguments["pip_requirements"] = [f"gradmeter{extra}=={__version__}", f"torch=={torch_version}"]
    return arguments | options


class Judging:
    """What `mlflow.pyfunc.load_model` wraps.

    Args:
        folder: the model's data.
    """

    def __init__(self, folder: Path) -> None:
        # A model of MLflow may bring code of its own, and whoever loads it trusts it: so it may name a function, too.
        recipe = Recipe.from_json(read_notes(folder / _TRUST)["recipe"])
        if recipe.runs_code:
            _require_own_code(recipe.model.partition(":")[0])
        self._trust, self._classifier = open_trust(folder / _TRUST, model=recipe.model, weights=folder / _WEIGHTS)
        self._reader = reader_of(self._trust, self._classifier)
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        self._reader.move(self._device)

    def predict(self, model_input: Any, params: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """Return the verdict on each input.

        Args:
            model_input: inputs as the network takes them, prepared: an array [N, ...], or a mapping from names to
                arrays. Or contents of image files (`bytes`; for a network of texts, texts), to be prepared here: a
                list, an array, or a frame with one column of them.
            params: unused.

        Returns:
            A frame with a row for each input and the columns of `TrustModel.verdicts`; "prediction" is the name of the
            class if the classes have names. What there is none of is None and not NaN, which JSON does not have.

        Raises:
            DataError: if an image cannot be read, or the network fails on an input.
            InputError: for other inputs, and those of `TrustModel.verdicts`.
        """
        files = _files(model_input)
        if files is None:
            tables = [self._of_arrays(model_input)]
        else:
            tables = [self._of_files(files, start) for start in range(0, len(files), _AT_ONCE)]
        verdicts = pa.concat_tables(tables).select([*VERDICT_COLUMNS])
        frame = verdicts.to_pandas()
        for name in VERDICT_COLUMNS:
            if verdicts[name].null_count:
                frame[name] = pd.Series(verdicts[name].to_pylist(), dtype=object)
        return frame

    def _of_arrays(self, arrays: Any) -> pa.Table:
        """Return the verdicts on inputs that are prepared for the network."""
        readings = read_inputs(self._trust.meter, arrays)
        rows = Batch([str(row) for row in range(len(readings))], [None] * len(readings), None, [])
        return self._reader.tabulate(rows, readings)

    def _of_files(self, files: Sequence[bytes], start: int) -> pa.Table:
        """Return the verdicts on `_AT_ONCE` files from `start` on."""
        if self._classifier.arrays is not None:
            raise InputError(f"{self._classifier.name} takes arrays; expected an array, or a mapping to arrays")
        decoder = decoder_for(self._classifier.image)
        rows = range(start, min(start + _AT_ONCE, len(files)))
        samples = [decoded(Encoded(str(row), files[row], None), decoder) for row in rows]
        batch, table = self._reader.rows(batch_of(samples, self._classifier.batch), self._device)
        if batch.skipped:
            raise DataError(f"input {batch.skipped[0].id} has no verdict: {batch.skipped[0].reason}; remove it")
        assert table is not None
        return table


def _load_pyfunc(data_path: str) -> Judging:
    """Load a model's data; MLflow calls this."""
    # MLflow puts the code that the model brings first. Modules of the current folder must not come before it.
    if "" not in sys.path:
        sys.path.append("")
    return Judging(Path(data_path))


def _require_own_code(module: str) -> None:
    """Check that a module is not imported already from another file than the one that `sys.path` finds now.

    Raises:
        InputError: if it is, and the files differ.
    """
    imported_file = getattr(sys.modules.get(module), "__file__", None)
    model_file = _file_of(module)
    files = [path for path in map(Path, filter(None, (imported_file, model_file))) if path.is_file()]
    if len({path.read_bytes() for path in files}) > 1:
        raise InputError(
            f"the model brings {model_file}, but this process has imported {module} from {imported_file}; load the "
            "model in another process"
        )


def _file_of(module: str) -> str | None:
    """Return the file from which a module would be imported if none of its name was imported."""
    spec, path, parts = None, None, module.split(".")
    for depth in range(len(parts)):
        if (spec := PathFinder.find_spec(".".join(parts[: depth + 1]), path)) is None:
            return None
        path = spec.submodule_search_locations
    return None if spec is None else spec.origin


def _files(model_input: Any) -> list[bytes] | None:
    """Return the contents of files, or texts in UTF-8, in the input of a model; None if it holds arrays.

    Raises:
        InputError: if there are no inputs, or they are neither.
    """
    if isinstance(model_input, pd.DataFrame):
        if model_input.shape[1] != 1:
            raise InputError(f"a frame of {model_input.shape[1]} columns; expected one column, of images or texts")
        model_input = model_input.iloc[:, 0].tolist()
    if isinstance(model_input, np.ndarray) and model_input.dtype.kind == "S":
        raise InputError(
            f"the array has the dtype {model_input.dtype}, which drops zeros at the end of a file; expected a list, or "
            "an array of the dtype object"
        )
    if isinstance(model_input, np.ndarray) and model_input.dtype.kind in "OU":
        model_input = model_input.ravel().tolist()
    if isinstance(model_input, np.ndarray | Mapping):
        return None
    if not isinstance(model_input, list) or not model_input:
        raise InputError(f"inputs are an empty list or a {type(model_input).__name__}; expected {_EXPECTED}")
    if other := [value for value in model_input if not isinstance(value, bytes | str)]:
        raise InputError(f"an input is a {type(other[0]).__name__}; expected {_EXPECTED}")
    try:
        return [value.encode() if isinstance(value, str) else value for value in model_input]
    except UnicodeEncodeError as error:
        raise InputError(f"the text {error.object!r} cannot be encoded in UTF-8; expected {_EXPECTED}") from error
