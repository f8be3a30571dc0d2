"""The checksum notices every changed bit of a file, and does not depend on where its metadata stand."""

from contextlib import suppress
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from gradmeter.apps.onnx.checksum import checksum_of, checksum_of_file

PROPERTIES = {"a": "1", "b": "2"}


def model() -> onnx.ModelProto:
    """A graph that adds a constant, with another constant in a branch."""
    weights = numpy_helper.from_array(np.arange(3, dtype=np.float32), "weights")
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [3])
    inner = helper.make_graph(
        [helper.make_node("Constant", [], ["c"], value=weights)],
        "inner",
        [],
        [helper.make_tensor_value_info("c", TensorProto.FLOAT, [3])],
    )
    condition = numpy_helper.from_array(np.array(True), "condition")
    nodes = [
        helper.make_node("If", ["condition"], ["chosen"], then_branch=inner, else_branch=inner),
        helper.make_node("Add", ["x", "chosen"], ["y"]),
    ]
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, [3])
    return helper.make_model(helper.make_graph(nodes, "outer", [value], [result], [weights, condition]))


def test_each_bit_counts() -> None:
    content = model().SerializeToString()
    whole = checksum_of(content, PROPERTIES)
    for position in range(len(content)):
        changed = bytearray(content)
        changed[position] ^= 1 << position % 8
        with suppress(ValueError):  # no longer a protocol buffer
            assert checksum_of(changed, PROPERTIES) != whole, position


def test_metadata_count_by_their_content(tmp_path: Path) -> None:
    written = model()
    whole = checksum_of(written.SerializeToString(), PROPERTIES)
    helper.set_model_props(written, {"c": "3", **PROPERTIES})
    path = tmp_path / "model.onnx"
    onnx.save(written, path)
    assert checksum_of_file(path, dict(reversed(PROPERTIES.items()))) == whole
    onnx.save(onnx.load(path), path)
    assert checksum_of_file(path, PROPERTIES) == whole
    for others in ({"a": "1"}, {"a": "1", "b": "3"}, {"a": "12", "b": ""}, {}):
        assert checksum_of_file(path, others) != whole


@pytest.mark.parametrize("content", [b"\x0f", b"\x0a\x05abc", b"\x08", b"\xff" * 12])
def test_what_is_no_protocol_buffer(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"ends early|no end|wire type"):
        checksum_of(content, {})
