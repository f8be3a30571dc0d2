"""Run an ONNX file that holds a network and its judge, by onnxruntime and without PyTorch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import onnxruntime
from numpy.typing import ArrayLike, NDArray

from gradmeter.apps.onnx.checksum import checksum_of_file
from gradmeter.apps.onnx.metadata import CHECKSUM, Metadata, is_judged
from gradmeter.errors import DataError, InputError, one_line
from gradmeter.files import plainly_named

INPUT = "inputs"
"""Name of the graph's input."""
OUTPUTS = {
    "prediction": ("i", 1),
    "probabilities": ("f", 2),
    "p_known": ("f", 1),
    "p_correct_if_known": ("f", 1),
    "p_correct": ("f", 1),
    "accepted": ("b", 1),
    "unfamiliar": ("b", 1),
    "unfamiliar_layers": ("i", 2),
}
"""Names of the graph's outputs, as in `gradmeter.trust.traced.Verdicts`, with NumPy's kind of type and the number of
dimensions of each."""

# Further optimisations change the layout of images, so that convolutions add up their products in another order.
_OPTIMISED = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
# Graphs state shapes that onnxruntime computes again, and warn about each difference.
_ERRORS_ONLY = 3


@dataclass(frozen=True, eq=False)
class JudgedModel:
    """A network with its judge.

    Attributes:
        name: of the file.
        metadata: what the file says about the network and its judge.
        session: onnxruntime's session.
    """

    name: str
    metadata: Metadata
    session: onnxruntime.InferenceSession

    @classmethod
    def open(cls, path: Path, *, threads: int = 0) -> Self:
        """Open a file that `gradmeter export` wrote.

        Args:
            path: of the file.
            threads: number of threads; 0 for one for each core.

        Raises:
            DataError: if it is missing, damaged, or holds something else.
        """
        session = _session(path, threads)
        properties = session.get_modelmeta().custom_metadata_map
        metadata = Metadata.from_properties(str(path), properties)
        inputs, outputs = ([node.name for node in nodes] for nodes in (session.get_inputs(), session.get_outputs()))
        if inputs != [INPUT] or not {*OUTPUTS} <= {*outputs}:
            raise DataError(f"the graph of {path} has other inputs or outputs than its metadata say; export again")
        shapes = {node.name: tuple(node.shape) for node in (*session.get_inputs(), *session.get_outputs())}
        size = None if metadata.preprocessing is None else metadata.preprocessing.size
        if len(shapes["probabilities"]) != 2 or size not in (None, shapes[INPUT][2:]):
            raise DataError(f"the graph of {path} has other shapes than its metadata say; export again")
        width = shapes["probabilities"][1]
        if metadata.classes is not None and len(metadata.classes) != width:
            raise DataError(
                f"the graph of {path} has {width} classes, and its metadata name {len(metadata.classes)}; export again"
            )
        _require_intact(path, properties)
        return cls(str(path), metadata, session)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one input, such as (3, 224, 224)."""
        return tuple(self.session.get_inputs()[0].shape[1:])

    def __call__(self, inputs: ArrayLike) -> dict[str, NDArray[Any]]:
        """Judge N inputs.

        Args:
            inputs: [N, ...] numbers, each input of `shape`, preprocessed as the network takes them.

        Returns:
            The values of `OUTPUTS`: "prediction" [N] int64, "probabilities" [N, C] float32, "p_known",
            "p_correct_if_known" and "p_correct" [N] float32, "accepted" and "unfamiliar" [N] bool, and
            "unfamiliar_layers" [N, 3] int64.

        Raises:
            InputError: if the inputs have another shape or are not numbers.
            DataError: if onnxruntime cannot run the graph, or its outputs are no verdicts.
        """
        try:
            array = np.asarray(inputs, np.float32)
        except (TypeError, ValueError) as error:
            raise InputError(f"inputs are a {type(inputs).__name__}; expected numbers ({one_line(error)})") from error
        if array.shape[1:] != self.shape or not array.size:
            expected = ", ".join(["N >= 1", *map(str, self.shape)])
            raise InputError(f"inputs have shape {array.shape}; {self.name} takes ({expected}): preprocess them")
        try:
            values = self.session.run(list(OUTPUTS), {INPUT: array})
        except Exception as error:  # onnxruntime raises errors of many types
            raise DataError(
                f"onnxruntime cannot run {self.name} on inputs of shape {array.shape} ({one_line(error)}); free some "
                "memory if there was too little, otherwise export again"
            ) from error
        outputs = dict(zip(OUTPUTS, values, strict=True))
        if not self._are_verdicts(outputs, len(array)):
            raise DataError(f"the outputs of {self.name} are no verdicts on {len(array)} inputs; export again")
        return outputs

    def _are_verdicts(self, outputs: Mapping[str, NDArray[Any]], count: int) -> bool:
        """Whether outputs have the shapes and types that `__call__` returns, and values in range, or NaN."""
        if any((values.dtype.kind, values.ndim) != OUTPUTS[name] for name, values in outputs.items()):
            return False
        if any(len(values) != count for values in outputs.values()):
            return False
        predictions, layers = outputs["prediction"], outputs["unfamiliar_layers"]
        shares = np.stack([outputs[name] for name in ("p_known", "p_correct_if_known", "p_correct")])
        return not (
            (predictions < 0).any()
            or (predictions >= outputs["probabilities"].shape[1]).any()
            or (layers >= len(self.metadata.layers)).any()
            or (shares < 0).any()
            or (shares > 1).any()
        )


def is_exported(path: Path) -> bool:
    """Whether `gradmeter export` wrote a file, in any version; the weights may be damaged."""
    try:
        return is_judged(_session(path, 1).get_modelmeta().custom_metadata_map)
    except DataError:
        return False


def _session(path: Path, threads: int) -> onnxruntime.InferenceSession:
    """Open a file.

    Raises:
        DataError: if it is missing, or not a graph that onnxruntime can run.
    """
    if not path.is_file():
        fault = "not a regular file" if path.exists() else "no such file"
        raise DataError(f"{path}: {fault}; expected an .onnx file that gradmeter export wrote")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, _ERRORS_ONLY
    options.graph_optimization_level = _OPTIMISED
    try:
        with plainly_named(path) as plain:
            return onnxruntime.InferenceSession(plain, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises errors of many types for files that are not its own
        raise DataError(
            f"{path} cannot be opened by onnxruntime ({one_line(error)}); expected an .onnx file that gradmeter "
            "export wrote"
        ) from error


def _require_intact(path: Path, properties: Mapping[str, str]) -> None:
    """Compare the checksum of a file with the one in its metadata.

    Raises:
        DataError: if they differ.
    """
    others = {key: value for key, value in properties.items() if key != CHECKSUM}
    try:
        is_intact = json.dumps(checksum_of_file(path, others)) == properties.get(CHECKSUM)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read again ({one_line(error)}); copy it again") from error
    if not is_intact:
        raise DataError(
            f"{path} is damaged or was changed: its weights, graph or metadata do not have the checksum that gradmeter "
            "export wrote; copy it again, or export again"
        )
