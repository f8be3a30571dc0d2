"""Let NaN through operations in which onnxruntime drops it, unlike PyTorch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator

import onnx
from onnx import NodeProto, TensorProto
from onnx.helper import make_node

_POOLS = ("GlobalMaxPool", "MaxPool")
_RECURRENT = ("GRU", "LSTM")
_WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
# Numbers of the inputs of a recurrent layer that hold its sequences [steps, N, D] and its initial states [K, N, D].
_SEQUENCES_AND_STATES = (0, 5, 6)


def keep_nan(graph: onnx.GraphProto, unread: Iterable[str] = ()) -> None:
    """Make the outputs of these operations NaN where PyTorch's are; those of a recurrent layer at all steps.

    Otherwise an input with NaN may get a verdict like any other. Behind a layer with weights, maxima drop NaN without
    harm, because the judge reads means of the layer's outputs, which are then NaN.

    Args:
        graph: is changed.
        unread: names of values around the graph, of which the judge may have read no such means.
    """
    values = {*unread, *(value.name for value in graph.input)}
    nodes = list[NodeProto]()
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                keep_nan(attribute.g, values)
        if node.op_type in _RECURRENT:
            nodes += _keeping(node, len(node.output), _in_sequences)
        elif node.op_type in _POOLS and node.input[0] in values:
            nodes += _keeping(node, 1, _in_windows)
        else:
            nodes.append(node)
        if node.op_type not in _WEIGHTED and not values.isdisjoint(node.input):
            values.update(filter(None, node.output))
    del graph.node[:]
    graph.node.extend(nodes)


def _keeping(
    node: NodeProto, values: int, where: Callable[[NodeProto, str], Iterator[NodeProto]]
) -> Iterator[NodeProto]:
    """Yield nodes with the same outputs, of which the first `values` are NaN where the inputs are."""
    names = [name for name in node.output[:values] if name]
    prefix = f"{names[0]}_nan"
    dropping = _copy(node)
    dropping.output[:] = [f"{prefix}_{name}" if name in names else name for name in node.output]
    yield dropping
    yield from where(node, prefix)
    yield make_node("Constant", [], [f"{prefix}_value"], value_float=math.nan)
    for name in names:
        yield make_node("CastLike", [f"{prefix}_value", f"{prefix}_{name}"], [f"{prefix}_like_{name}"])
        yield make_node("Where", [prefix, f"{prefix}_like_{name}", f"{prefix}_{name}"], [name])


def _in_windows(node: NodeProto, prefix: str) -> Iterator[NodeProto]:
    """Yield nodes that compute, as `prefix`, which windows hold NaN."""
    yield from _is_nan(node.input[0], f"{prefix}_in")
    pool = _copy(node)
    pool.name = f"{prefix}_pool"
    pool.input[:], pool.output[:] = [f"{prefix}_in"], [f"{prefix}_out"]
    yield pool
    yield make_node("Cast", [f"{prefix}_out"], [prefix], to=TensorProto.BOOL)


def _in_sequences(node: NodeProto, prefix: str) -> Iterator[NodeProto]:
    """Yield nodes that compute, as `prefix` [1, N, 1], which samples hold NaN."""
    yield make_node("Constant", [], [f"{prefix}_axes"], value_ints=[0, 2])
    found = []
    for number, name in enumerate(node.input):
        if name and number in _SEQUENCES_AND_STATES:
            found.append(f"{prefix}_{number}")
            yield from _is_nan(name, f"{found[-1]}_in")
            yield make_node("ReduceMax", [f"{found[-1]}_in", f"{prefix}_axes"], [found[-1]], keepdims=1)
    yield make_node("Max", found, [f"{prefix}_out"])
    yield make_node("Cast", [f"{prefix}_out"], [prefix], to=TensorProto.BOOL)


def _is_nan(name: str, out: str) -> Iterator[NodeProto]:
    """Yield nodes that compute 1 for NaN and 0 for other values."""
    yield make_node("IsNaN", [name], [f"{out}_bool"])
    yield make_node("Cast", [f"{out}_bool"], [out], to=TensorProto.FLOAT)


def _copy(node: NodeProto) -> NodeProto:
    copy = NodeProto()
    copy.CopyFrom(node)
    return copy
