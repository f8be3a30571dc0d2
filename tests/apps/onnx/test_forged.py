"""Files whose graph or metadata were forged, with a checksum to match, end in one line."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from gradmeter.apps.onnx.checksum import checksum_of
from gradmeter.apps.onnx.judged_model import OUTPUTS, JudgedModel
from gradmeter.apps.onnx.metadata import CHECKSUM, Metadata
from gradmeter.apps.onnx.preprocessing import ImageSteps
from gradmeter.errors import DataError

COUNT, CLASSES, SIDE = 5, 3, 4
INPUTS = np.zeros((COUNT, 1, SIDE, SIDE), np.float32)
VERDICTS: dict[str, Any] = {
    "prediction": np.full(COUNT, 2),
    "probabilities": np.full((COUNT, CLASSES), 1 / 3, np.float32),
    **{name: np.full(COUNT, 0.5, np.float32) for name in ("p_known", "p_correct_if_known", "p_correct")},
    **{name: np.ones(COUNT, np.bool_) for name in ("accepted", "unfamiliar")},
    "unfamiliar_layers": np.array([[0, 1, -1]] * COUNT),
}
STEPS = ImageSteps("L", SIDE, (("resize", 8, 0), ("crop", SIDE, SIDE)), "bilinear", (0.5,), (0.5,))
METADATA = Metadata("net", None, STEPS, None, None, "A probability.", ("0", "2"), "fit", {})


def write(path: Path, outputs: dict[str, Any], **changed: object) -> Path:
    """Write a graph with constant outputs, and metadata of which some values are changed."""
    outputs = {**VERDICTS, **outputs}
    graph = helper.make_graph(
        [helper.make_node("Identity", [f"{name}_value"], [name]) for name in outputs],
        "graph",
        [helper.make_tensor_value_info("inputs", TensorProto.FLOAT, ["N", 1, SIDE, SIDE])],
        [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
            for name, value in outputs.items()
        ],
        [numpy_helper.from_array(value, f"{name}_value") for name, value in outputs.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    forged = {f"gradmeter.{name}": json.dumps(value) for name, value in changed.items()}
    sign(model, {**METADATA.to_properties(), **forged}, path)
    return path


def sign(model: onnx.ModelProto, properties: dict[str, str], path: Path) -> None:
    """Write a graph without metadata with these and the checksum of both."""
    checksum = checksum_of(model.SerializeToString(), properties)
    helper.set_model_props(model, {**properties, CHECKSUM: json.dumps(checksum)})
    onnx.save(model, path)


def test_the_outputs_that_are_expected(tmp_path: Path) -> None:
    verdicts = JudgedModel.open(write(tmp_path / "a.onnx", {}))(INPUTS)
    assert [*verdicts] == [*OUTPUTS]
    for name, expected in VERDICTS.items():
        np.testing.assert_array_equal(verdicts[name], expected)


@pytest.mark.parametrize(
    "changed",
    [
        {"preprocessing": {**STEPS.to_json(), "side": float("inf")}},
        {"preprocessing": {**STEPS.to_json(), "mean": [10**400]}},
        {"preprocessing": {**STEPS.to_json(), "steps": [["fit", 10**6, 10**6], ["crop", SIDE, SIDE]]}},
        {"preprocessing": {**STEPS.to_json(), "steps": [["crop", float("inf"), 4]]}},
        {"preprocessing": {**STEPS.to_json(), "steps": [["crop", -1, 4]]}},
        {"preprocessing": {**STEPS.to_json(), "steps": [["crop", 2 * SIDE, SIDE]]}},
        {"classes": ["a", "b", "\ud800"]},
        {"model": "\ud800"},
        {"classes": ["a", "b"]},
    ],
)
def test_metadata(changed: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="export again") as raised:
        JudgedModel.open(write(tmp_path / "a.onnx", {}, **changed))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "outputs",
    [
        {"prediction": np.full(COUNT, CLASSES)},
        {"prediction": np.full(COUNT, -1)},
        {"prediction": np.full(COUNT, 1.5)},
        {"prediction": np.zeros(3, np.int64)},
        {"probabilities": np.full(COUNT, 0.5, np.float32)},
        {"probabilities": np.zeros((COUNT, 0), np.float32)},
        {"p_known": np.float32(0.5)},
        {"p_correct": np.full(COUNT, -3, np.float32)},
        {"p_correct": np.full(COUNT, 1.5, np.float32)},
        {"accepted": np.ones(COUNT, np.float32)},
        {"unfamiliar_layers": np.zeros(COUNT, np.int64)},
        {"unfamiliar_layers": np.full((COUNT, 3), 2)},
    ],
)
def test_outputs_that_are_no_verdicts(outputs: dict[str, Any], tmp_path: Path) -> None:
    path = write(tmp_path / "a.onnx", {name: np.asarray(value) for name, value in outputs.items()})
    with pytest.raises(DataError, match="export again"):
        JudgedModel.open(path)(INPUTS)


def test_layers_that_the_metadata_do_not_name(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no verdicts on 5 inputs"):
        JudgedModel.open(write(tmp_path / "a.onnx", {}, layers=[]))(INPUTS)


def test_a_graph_that_fails_for_some_inputs(tmp_path: Path) -> None:
    path = write(tmp_path / "a.onnx", {})
    model = onnx.load(path)
    (node,) = (node for node in model.graph.node if node.output[0] == "p_known")
    node.CopyFrom(helper.make_node("Reshape", ["inputs", "shape"], ["p_known"]))
    model.graph.initializer.append(numpy_helper.from_array(np.array([7]), "shape"))
    (output,) = (output for output in model.graph.output if output.name == "p_known")
    output.CopyFrom(helper.make_tensor_value_info("p_known", TensorProto.FLOAT, [7]))
    model.ClearField("metadata_props")
    sign(model, METADATA.to_properties(), path)
    with pytest.raises(DataError, match=r"cannot run .*export again") as raised:
        JudgedModel.open(path)(INPUTS)
    assert "\n" not in str(raised.value)
