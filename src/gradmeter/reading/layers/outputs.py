"""What the layers put out, and what the last one is given, reduced while the network runs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from gradmeter.reading.capture import SampleAxis, growing_dimension
from gradmeter.reading.hooks import of_this_thread
from gradmeter.reading.inputs import Inputs
from gradmeter.reading.kernels import reduce
from gradmeter.reading.statistics import ACTIVATION_METRICS, PowerSums, statistics

# Samples of a probe: with two, a folded batch could be hidden.
_PROBED = 3
# How far a sample's output may be from its output alone, relative to the largest entry: enough for half precision, and
# too little for another sample's.
_SAME = 0.02

_Options = tuple[tuple[int | str, Any], ...]
_Kind = tuple[_Options, tuple[tuple[int, ...], ...]]
_Call = tuple[str, int]
"""A layer, and how often it was called before in the same pass."""


class LayerOutputs:
    """What the layers put out for a tile of N samples.

    Attributes:
        samples: N.
        unknown: whether there was an output in which it is not known where the samples lie.
    """

    def __init__(self, samples: int) -> None:
        self.samples = samples
        self.unknown = False
        self._sums: dict[str, list[PowerSums]] = {}
        self._positive: dict[str, list[Tensor]] = {}
        # What is called with [N, D] and puts out [N, C] may be the last layer.
        self._given: list[tuple[Tensor, Tensor]] = []

    def add(self, layer: str, output: Tensor) -> None:
        """Take in an output, [N, ...]."""
        flat = _flat(output)
        self._sums.setdefault(layer, []).append(reduce(flat))
        self._positive.setdefault(layer, []).append(torch.count_nonzero(flat > 0, dim=1))

    def note(self, given: Any, output: Tensor) -> None:
        """Remember what a layer was given, as long as it may have been the last one."""
        if isinstance(given, Tensor) and given.dim() == output.dim() == 2:
            self._given.append((given.detach(), output.detach()))

    def embedding(self, logits: Tensor) -> Tensor | None:
        """[N, D] what the layer was given that put out the logits; None where none did."""
        for given, output in reversed(self._given):
            if output.data_ptr() == logits.data_ptr() and output.shape == logits.shape:
                return given.clone()
        return None

    def statistics(self, layers: tuple[str, ...], device: torch.device) -> Tensor:
        """The metrics of `ACTIVATION_METRICS`, [N, layers, 9] float64; zeros for a layer that was not called."""
        found = torch.zeros(self.samples, len(layers), len(ACTIVATION_METRICS), dtype=torch.float64, device=device)
        for index, layer in enumerate(layers):
            if layer in self._sums:
                group = PowerSums.merge(self._sums[layer])
                found[:, index, :-1] = statistics(group)
                found[:, index, -1] = torch.stack(self._positive[layer]).sum(0).double() / group.count
        return found


class OutputReader:
    """Reads what the layers of a network put out.

    Where the samples lie in an output is found by comparing the outputs for three samples with those for the last of
    them alone: networks fold, transpose and window their batches. An output in which a sample cannot be told apart is
    left out.

    Args:
        modules: the layers, {name: module}.
        activations: whether to read statistics of their outputs.
        embedding: whether to keep what the last one is given.

    Attributes:
        layers: those whose output can be read, in the order of their first call; known once something was learned.
    """

    def __init__(self, modules: Mapping[str, nn.Module], *, activations: bool, embedding: bool) -> None:
        # The network's own output is the logits.
        self._modules = {name: module for name, module in modules.items() if name != "root"}
        self._activations, self._embedding = activations, embedding
        # By the options of the inputs; None where the samples cannot be told apart.
        self._axes: defaultdict[_Options, dict[_Call, SampleAxis | None]] = defaultdict(dict)
        self._learned: set[_Kind] = set()
        self._guessed: set[_Kind] = set()
        self.layers: tuple[str, ...] = ()

    def learn(self, forward: Callable[[Inputs], Any], inputs: Inputs, *, unknown: bool = False) -> bool:
        """Find out where the samples lie, unless it is known for inputs like these.

        Args:
            forward: calls the network.
            inputs: for some samples.
            unknown: whether such inputs gave an output in which it is not known.

        Returns:
            Whether something was learned.
        """
        axes, kind = self._axes[inputs.options], (inputs.options, inputs.shapes)
        if not self._activations or kind in self._learned:
            return False
        if self._learned and axes and not unknown and all(axis is None or axis.plain for axis in axes.values()):
            return False
        probe = inputs.rows([index % inputs.samples for index in range(_PROBED)])
        # Samples that are all the same lie anywhere: what is learned of them will do for them only.
        same = all(torch.equal(tensor[-1], tensor[-2]) for tensor in probe.tensors)
        if same and kind in self._guessed:
            return False
        many, alone = self._outputs_of(forward, probe), self._outputs_of(forward, probe.rows([_PROBED - 1]))
        learned = {call: _axis(many[call], alone[call]) for call in many if call in alone}
        axes |= {call: axis for call, axis in learned.items() if axis is not None or call not in axes}
        self.layers = self.layers or tuple(dict.fromkeys(layer for layer, _ in learned if axes.get((layer, 0))))
        (self._guessed if same else self._learned).add(kind)
        return True

    def _outputs_of(self, forward: Callable[[Inputs], Any], inputs: Inputs) -> dict[_Call, Tensor]:
        found: dict[_Call, Tensor] = {}

        def keep(call: _Call, given: Any, output: Tensor) -> None:
            found[call] = output.detach().clone()

        with self._watched(keep):
            forward(inputs)
        return found

    @contextmanager
    def reading(self, inputs: Inputs) -> Iterator[LayerOutputs]:
        """Read what the layers put out for some inputs until the block ends."""
        samples, axes = inputs.samples, self._axes[inputs.options]
        found = LayerOutputs(samples)

        def take(call: _Call, given: Any, output: Tensor) -> None:
            if self._embedding:
                found.note(given, output)
            known = axes.get(call)
            axis = None if known is None else known.adapted(tuple(output.shape), samples)
            found.unknown |= call not in axes or (known is not None and axis is None)
            if axis is not None and output.numel():
                found.add(call[0], axis.rows(output.detach(), samples))

        with self._watched(take):
            yield found

    @contextmanager
    def _watched(self, take: Callable[[_Call, Any, Tensor], None]) -> Iterator[None]:
        """Hand over every output as it comes: a later layer may write over it."""
        if not self._activations and not self._embedding:
            yield
            return
        called: dict[str, int] = {}

        def after_for(layer: str) -> Callable[[nn.Module, Any, Any], None]:
            def after(module: nn.Module, args: Any, output: Any) -> None:
                number = called.get(layer, 0)
                called[layer] = number + 1
                # Recurrent layers and attention put out their states or weights beside it.
                first = output[0] if isinstance(output, tuple) and output else output
                if isinstance(first, Tensor) and first.is_floating_point() and first.dim() > 0:
                    take((layer, number), args[0] if args else None, first)

            return after

        handles = [
            module.register_forward_hook(of_this_thread(after_for(name))) for name, module in self._modules.items()
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


def _axis(many: Tensor, alone: Tensor) -> SampleAxis | None:
    """Where the samples lie in an output, from the outputs for three samples and for the last of them."""
    dim = growing_dimension(tuple(many.shape), _PROBED, tuple(alone.shape), 1)
    if dim is None:
        return None
    folds = alone.shape[dim]
    tolerance = _SAME * float(many.abs().max()) if many.numel() else 0.0
    for outer in (divisor for divisor in range(1, folds + 1) if folds % divisor == 0):
        axis = SampleAxis(dim, outer, folds // outer)
        difference = axis.rows(many, _PROBED)[-1] - axis.rows(alone, 1)[0]
        if not difference.numel() or bool(difference.abs().max() <= tolerance):
            return axis
    return None


def _flat(output: Tensor) -> Tensor:
    """[N, entries], in the order of memory where that saves a copy: sums and extremes do not depend on it."""
    order = sorted(range(1, output.dim()), key=output.stride, reverse=True)
    return output.permute(0, *order).reshape(len(output), -1)
