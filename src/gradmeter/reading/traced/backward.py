"""What the gradients of each sample show: a forward pass that was traced, and the backward pass through it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx, nn
from torch.export.graph_signature import InputKind

from gradmeter.errors import InputError, UnsupportedModelError
from gradmeter.reading.network import owned_parameters
from gradmeter.reading.pseudo_labels import PSEUDO_LABELS, start_vector
from gradmeter.reading.statistics import METRICS, PowerSums, statistics_of_each
from gradmeter.reading.traced.derivatives import require_derivatives_of_autograd, require_no_functions
from gradmeter.reading.traced.forward import ForwardReadings, TracedForward
from gradmeter.reading.traced.layouts import SamplesAt, is_reshaping, samples_at, value_of_node
from gradmeter.reading.traced.program import traced_program
from gradmeter.reading.traced.rules import RULES, Step, Unruled
from gradmeter.reading.traced.sums import ParameterGradient, sums_of_uses

_ATEN = torch.ops.aten
# Their outputs do not depend on the entries of their inputs.
_CONSTANT = (_ATEN.full_like.default,)
_NO_SAMPLES = "an output that has no axis of the samples"


class LabelGradients(NamedTuple):
    """Gradients of N samples for one pseudo-label.

    Attributes:
        values: [N, layers, 8] float64; statistics of the gradient for a start vector of size 1.
        log_scale: [N] float64; the logarithm of the start vector's size.
    """

    values: Tensor
    log_scale: Tensor


class GradientReadings(NamedTuple):
    """Readings of N samples.

    Attributes:
        forward: what the forward pass shows.
        gradients: by pseudo-label.
    """

    forward: ForwardReadings
    gradients: dict[str, LabelGradients]


class TracedGradients(nn.Module):
    """A network that also returns the statistics of each sample's gradients, layer by layer.

    It reads what a `GradientMeter` with gradients reads. The forward pass is traced once, to a graph of ATen
    operations; `gradmeter.reading.traced.rules` has the backward pass of each, in operations that ONNX has.

    Args:
        reader: the forward pass, in eval mode.
        inputs: [n, ...] some inputs; at least two different ones.
        pseudo_labels: names of pseudo-labels.
        layers: names of the layers whose gradients are read.
        biases: whether biases count, as for a `GradientMeter`.

    Raises:
        InputError: if a pseudo-label has no name.
        UnsupportedModelError: if the network cannot be traced, an operation has no rule, or the gradients are not those
            of the operations.
    """

    def __init__(
        self,
        reader: TracedForward,
        inputs: Tensor,
        pseudo_labels: Sequence[str],
        layers: Sequence[str],
        *,
        biases: bool = True,
    ) -> None:
        super().__init__()
        if unnamed := [label for label in pseudo_labels if label not in PSEUDO_LABELS]:
            raise InputError(
                f"pseudo-label {unnamed[0]!r} cannot be traced; expected names among {', '.join(PSEUDO_LABELS)}"
            )
        self._reader = reader
        self._layers = tuple(layers)
        self._starts = {label: start_vector(label) for label in pseudo_labels}
        owned = owned_parameters(reader.network, biases=biases)
        self._owned = {layer: owned[layer] for layer in layers}
        require_no_functions(reader.network, inputs)
        program = traced_program(reader, inputs)
        self._graph = program.graph_module
        # For each placeholder of the graph the kind and the name of what it stands for.
        self._bindings = [(spec.kind, str(spec.target)) for spec in program.graph_signature.input_specs]
        for kind, name in self._bindings:
            if kind == InputKind.CONSTANT_TENSOR:
                self.register_buffer(_constant(name), program.constants[name].detach(), persistent=False)
        self._plan()
        with torch.no_grad():
            traced = {label: read.values for label, read in self(inputs).gradients.items()}
        require_derivatives_of_autograd(reader.network, inputs, traced, self._layers, biases=biases)

    @property
    def network(self) -> nn.Module:
        """The network."""
        return self._reader.network

    def forward(self, inputs: Tensor) -> GradientReadings:
        """Read N samples [N, ...]."""
        run = fx.Interpreter(self._graph, garbage_collect_values=False)
        forward = ForwardReadings(*run.run(*self._arguments(inputs), enable_io_processing=False))
        exact = forward.logits.double()
        gradients = {}
        for label, start in self._starts.items():
            vector = start(exact)
            arrived = self._backward(run.env, vector.direction.to(forward.logits.dtype))
            sums = [
                PowerSums.merge([self._sums(arrived, parameter, inputs) for parameter in parameters.values()])
                for parameters in self._owned.values()
            ]
            gradients[label] = LabelGradients(statistics_of_each(sums, METRICS), vector.log_scale)
        return GradientReadings(forward, gradients)

    def _sums(
        self, arrived: Mapping[int, list[ParameterGradient]], parameter: nn.Parameter, inputs: Tensor
    ) -> PowerSums:
        uses = arrived.get(id(parameter))
        if uses is None:
            return PowerSums(parameter.numel(), inputs.new_zeros(inputs.shape[0], 7, dtype=torch.float64))
        return sums_of_uses(uses)

    def _arguments(self, inputs: Tensor) -> Iterator[Any]:
        """The values of the graph's placeholders."""
        for kind, name in self._bindings:
            if kind == InputKind.USER_INPUT:
                yield inputs
            elif kind == InputKind.PARAMETER:
                yield self._reader.get_parameter(name)
            elif kind == InputKind.BUFFER:
                yield self._reader.get_buffer(name)
            else:
                yield getattr(self, _constant(name))

    def _plan(self) -> None:
        """Find the operations through which the logits depend on the parameters that are read, and check them."""
        measured = {id(parameter) for parameters in self._owned.values() for parameter in parameters.values()}
        placeholders = self._graph.graph.find_nodes(op="placeholder")
        # Nodes of parameters that are read and of views of them, and the parameters.
        self._leaves: dict[fx.Node, int] = {}
        samples: Any = None
        for node, (kind, name) in zip(placeholders, self._bindings, strict=True):
            if kind == InputKind.PARAMETER and (leaf := id(self._reader.get_parameter(name))) in measured:
                self._leaves[node] = leaf
            if kind == InputKind.USER_INPUT:
                samples = node.meta["val"].shape[0]
        self._logits = self._graph.graph.output_node().args[0][0]
        for node in self._graph.graph.nodes:
            if is_reshaping(node) and node.args[0] in self._leaves:
                self._leaves[node] = self._leaves[node.args[0]]
        depending = {*self._leaves}
        for node in self._graph.graph.nodes:
            if node.target not in _CONSTANT and _is_floating(node) and not depending.isdisjoint(node.all_input_nodes):
                depending.add(node)
        reached, self._path = {self._logits}, list[fx.Node]()
        self._layouts: dict[fx.Node, SamplesAt] = {}
        for node in reversed(self._graph.graph.nodes):
            if node in reached and node in depending and node not in self._leaves:
                self._require_rule(node)
                if not self._leaves.keys().isdisjoint(node.all_input_nodes):
                    self._layouts[node] = self._samples_at(node, samples)
                self._path.append(node)
                reached.update(node.all_input_nodes)
        self._active = {*self._path, *(leaf for leaf in self._leaves if leaf in reached)}

    def _require_rule(self, node: fx.Node) -> None:
        if node.target not in RULES:
            raise _unruled(node)
        if all(isinstance(size, int) for size in value_of_node(node).shape):
            raise _unruled(node, _NO_SAMPLES)

    def _samples_at(self, node: fx.Node, samples: Any) -> SamplesAt:
        if found := samples_at(node, samples):
            return found
        raise _unruled(node, _NO_SAMPLES)

    def _backward(self, values: Mapping[fx.Node, Any], direction: Tensor) -> dict[int, list[ParameterGradient]]:
        """Return what each use of a parameter contributes to its gradient."""
        arriving, arrived = {self._logits: direction}, dict[int, list[ParameterGradient]]()

        def value_of(argument: Any) -> Any:
            return fx.node.map_arg(argument, lambda node: values[node])

        for node in self._path:
            if node not in arriving:
                continue
            needed, parameters = (
                frozenset(
                    index
                    for index, argument in enumerate(node.args)
                    if isinstance(argument, fx.Node) and argument in nodes
                )
                for nodes in (self._active, self._leaves)
            )
            layout = self._layouts[node].layout(values) if node in self._layouts else None
            given = value_of(node.args), value_of(node.kwargs), values[node]
            step = Step(*given, arriving.pop(node), needed, parameters, layout)
            try:
                gradients = RULES[node.target](step)
            except Unruled as error:
                raise _unruled(node, str(error)) from error
            for source, gradient in _of_nodes(node, gradients):
                if source not in self._active:
                    continue
                if leaf := self._leaves.get(source):
                    if isinstance(gradient, Tensor):
                        raise _unruled(node, "a parameter")
                    arrived.setdefault(leaf, []).append(gradient)
                elif isinstance(gradient, Tensor):
                    arriving[source] = arriving[source] + gradient if source in arriving else gradient
                else:
                    raise _unruled(node, "a weight that is not a parameter")
        return arrived


def _of_nodes(node: fx.Node, gradients: Mapping[Any, Any]) -> Iterator[tuple[Any, Any]]:
    """Iterate over the arguments of an operation that are nodes, and their gradients."""
    for index, gradient in gradients.items():
        argument: Any = node.args
        for part in index if isinstance(index, tuple) else (index,):
            argument = argument[part] if part < len(argument) else None
        if isinstance(argument, fx.Node):
            yield argument, gradient


def _is_floating(node: fx.Node) -> bool:
    value = value_of_node(node) if node.op == "call_function" else None
    return isinstance(value, Tensor) and value.is_floating_point()


def _constant(name: str) -> str:
    return f"constant_{name.replace('.', '_')}"


def _unruled(node: fx.Node, use: str = "") -> UnsupportedModelError:
    """The error for an operation without a backward pass here."""
    modules = [name for name, _ in node.meta.get("nn_module_stack", {}).values() if name]
    layer = modules[-1].removeprefix("network").removeprefix(".") if modules else ""
    where = f"layer {layer!r}" if layer else "the network"
    operation = getattr(node.target, "__name__", str(node.target)).removesuffix(".default")
    return UnsupportedModelError(
        f"{where} uses {operation}{f' with {use}' if use else ''}, whose backward pass cannot be written to ONNX; "
        "expected convolutions, dense layers, attention, normalisation, pooling and functions of single entries: fit "
        "with --reads forward"
    )
