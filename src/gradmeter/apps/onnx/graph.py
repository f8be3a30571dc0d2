"""Write a module to an ONNX graph with a batch size that varies."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import onnx
import onnx_ir
import torch
from onnx_ir import passes
from onnx_ir.passes import common
from onnxscript import opset20 as operations
from onnxscript import optimizer
from torch import Tensor, nn

from gradmeter.apps.onnx.not_a_number import keep_nan
from gradmeter.errors import InputError, UnsupportedModelError, one_line
from gradmeter.reading.network import attention_without_fast_path
from gradmeter.reading.traced import FIXED_BATCH
from gradmeter.runs.interrupts import interrupts_kept

OPSET = 20
# The first version whose exporter writes branches.
_OLDEST = (2, 10)


def _log_sigmoid(x: Any) -> Any:
    return operations.Sub(operations.Log(operations.Sigmoid(operations.Abs(x))), operations.Relu(operations.Neg(x)))


def _logaddexp(x: Any, y: Any) -> Any:
    return operations.Sub(
        operations.Max(x, y), operations.Log(operations.Sigmoid(operations.Abs(operations.Sub(x, y))))
    )


# The exporter's own forms are infinite for large inputs: log(sigmoid(x)) below -104, log(exp(x) + exp(y)) above 88.
# log(sigmoid(|x|)), which is -log(1 + exp(-|x|)), is finite.
_STABLE: dict[Callable[..., Any], Callable[..., Any]] = {
    torch.ops.aten.log_sigmoid.default: _log_sigmoid,
    torch.ops.aten.logaddexp.default: _logaddexp,
}


def is_supported() -> bool:
    """Whether PyTorch is new enough to write branches."""
    return tuple(map(int, _version().split(".")[:2])) >= _OLDEST


def require_exporter() -> None:
    """Check that PyTorch is new enough to write branches.

    Raises:
        InputError: if it is not.
    """
    if not is_supported():
        needed = ".".join(map(str, _OLDEST))
        raise InputError(f"PyTorch is {_version()}; an export needs {needed} or later: pip install -U torch")


def _version() -> str:
    return torch.__version__.partition("+")[0]


def to_graph(module: nn.Module, inputs: Tensor, name: str, outputs: Sequence[str], title: str) -> onnx.ModelProto:
    """Write a module to ONNX.

    Args:
        module: maps inputs [N, ...] to a named tuple of tensors [N, ...].
        inputs: [n, ...] some inputs, at least two.
        name: of the graph's input.
        outputs: names of the graph's outputs.
        title: of the network, for messages.

    Raises:
        UnsupportedModelError: if PyTorch cannot trace the module, or ONNX lacks one of its operations.
    """
    require_exporter()
    dynamic = ({0: torch.export.Dim("N", min=1)},)
    with _quiet(), interrupts_kept(), torch.no_grad(), attention_without_fast_path():
        try:
            program = torch.onnx.export(
                module.eval(),
                (inputs,),
                dynamo=True,
                verbose=False,
                input_names=[name],
                output_names=list(outputs),
                dynamic_shapes=dynamic,
                opset_version=OPSET,
                optimize=False,  # see `_simplify`
                custom_translation_table=_STABLE,
            )
        except Exception as error:  # the exporter raises errors of many types
            raise UnsupportedModelError(
                f"{title} cannot be written to ONNX ({one_line(_first(error))}); expected operations that torch.export "
                "can trace and ONNX has"
            ) from error
    assert program is not None
    _simplify(program.model)
    graph = program.model_proto
    if not graph.graph.input[0].type.tensor_type.shape.dim[0].dim_param:
        raise UnsupportedModelError(f"{title} {FIXED_BATCH}")
    keep_nan(graph.graph)
    _strip(graph.graph)
    onnx.checker.check_model(graph)
    return graph


def _simplify(model: onnx_ir.Model) -> None:
    """Simplify a graph as the exporter does, without its rules that take x + 1e-8 for x and x * 1.00001 for x.

    A network that divides by x + 1e-8 would otherwise return NaN for x = 0.
    """
    optimizer.inline(model)
    optimizer.fold_constants(model)
    optimizer.remove_unused_nodes(model)
    passes.Sequential(
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        common.LiftSubgraphInitializersToMainGraphPass(),
        common.DeduplicateInitializersPass(),
        common.CommonSubexpressionEliminationPass(),
    )(model)


def set_properties(graph: onnx.ModelProto, properties: Mapping[str, str]) -> None:
    """Set the metadata of a graph."""
    onnx.helper.set_model_props(graph, dict(properties))


def _strip(graph: onnx.GraphProto) -> None:
    """Remove the exporter's notes on where each operation came from, which are larger than the weights."""
    graph.ClearField("metadata_props")
    for value in (*graph.value_info, *graph.input, *graph.output, *graph.initializer):
        value.ClearField("metadata_props")
        value.ClearField("doc_string")
    graph.ClearField("value_info")
    for node in graph.node:
        node.ClearField("metadata_props")
        node.ClearField("doc_string")
        for attribute in node.attribute:
            if attribute.HasField("g"):
                _strip(attribute.g)


def _first(error: BaseException) -> BaseException:
    """The error that caused the others."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hide what the exporter prints and logs, also of errors, which it raises as well."""
    level = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
