"""What one forward pass shows."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from gradmeter.errors import UnsupportedModelError
from gradmeter.reading.inputs import Inputs
from gradmeter.reading.layers.outputs import Call, OutputReader, is_last
from gradmeter.reading.memory_format import in_memory_format
from gradmeter.reading.network import answer, measuring, owning_modules
from gradmeter.reading.statistics import PowerSums, statistics_of_each
from gradmeter.reading.traced.sums import power_sums


class ForwardReadings(NamedTuple):
    """Readings of N samples.

    Attributes:
        logits: [N, C] in the network's dtype.
        activations: [N, layers, 9] float64, as in `gradmeter.reading.activations.Activations`.
        embedding: [N, D] in the network's dtype; [N, 0] if it was not asked for.
    """

    logits: Tensor
    activations: Tensor
    embedding: Tensor


class TracedForward(nn.Module):
    """A network that also returns the statistics of its layers' outputs, and the input of its last layer.

    It reads what a `GradientMeter` without gradients reads, but keeps to operations on tensors whose batch size may be
    symbolic. Where the samples are in each output is found once, from the given inputs, and then fixed.

    Args:
        network: a network in eval mode that maps one tensor to logits.
        inputs: [n, ...] some inputs; at least two different ones.
        layers: names of the layers whose outputs are read.
        embedding: whether to return the input of the last layer.

    Raises:
        UnsupportedModelError: if the output of one of the layers does not separate the samples, or there is no layer
            that returns the logits.
    """

    def __init__(self, network: nn.Module, inputs: Tensor, layers: Sequence[str], *, embedding: bool) -> None:
        super().__init__()
        self.network = network
        self._layers = tuple(layers)
        self._reader = OutputReader(owning_modules(network), activations=True, embedding=embedding)
        self._last: Call | None = None

        def learn(batch: Inputs) -> Inputs:
            self._reader.learn(partial(answer, network), batch)
            if embedding:
                self._last = self._last_call(batch)
            return batch

        with measuring(network, gradients=False):
            batch = in_memory_format(network, Inputs.of(inputs), learn)
        self._axes = self._reader.axes(batch)
        if missing := [layer for layer in layers if (layer, 0) not in self._axes]:
            raise UnsupportedModelError(
                f"the output of layer {missing[0]!r} does not separate the samples of this batch; expected one that "
                "does, as when the TrustModel was fitted"
            )

    def forward(self, inputs: Tensor) -> ForwardReadings:
        """Read N samples [N, ...]."""
        sums: dict[str, list[_Sums]] = {layer: [] for layer in self._layers}
        embedding = inputs.new_zeros(inputs.shape[0], 0)

        def receive(call: Call, activation: Any, output: Tensor) -> None:
            nonlocal embedding
            if call == self._last:
                embedding = activation
            if call[0] in sums and call in self._axes:
                sums[call[0]].append(_sums(self._axes[call].rows(output, inputs.shape[0]).flatten(1)))

        with self._reader.observe(receive):
            logits = answer(self.network, Inputs((inputs,), {}))
        if not sums:
            return ForwardReadings(logits, inputs.new_zeros(inputs.shape[0], 0, 0, dtype=torch.float64), embedding)
        groups = [_merged(calls) for calls in sums.values()]
        values = statistics_of_each([group.of for group in groups])
        positive = torch.stack([group.positive / group.of.count for group in groups], dim=1)[:, :, None]
        return ForwardReadings(logits, torch.cat([values, positive], dim=2), embedding)

    def _last_call(self, inputs: Inputs) -> Call:
        """The call of the layer that returns the logits."""
        calls: list[tuple[Call, Any, Tensor]] = []

        def receive(call: Call, activation: Any, output: Tensor) -> None:
            calls.append((call, activation, output))

        with self._reader.observe(receive):
            logits = answer(self.network, inputs)
        for call, activation, output in reversed(calls):
            flat = isinstance(activation, Tensor) and activation.dim() == output.dim() == 2
            if flat and is_last(activation, output, logits):
                last: Call = call
                return last
        raise UnsupportedModelError(
            "no layer returns the logits; expected a last layer, as when the network was fitted"
        )


class _Sums(NamedTuple):
    """Sums over the entries of an output.

    Attributes:
        of: power sums of N samples.
        positive: [N] number of entries above 0.
    """

    of: PowerSums
    positive: Tensor


def _sums(values: Tensor) -> _Sums:
    """Reduce [N, K]."""
    # Exact in the dtype of the values.
    return _Sums(power_sums(values), (values > 0).to(values.dtype).sum(1).double())


def _merged(calls: Sequence[_Sums]) -> _Sums:
    """Merge the outputs of several calls of a layer."""
    if len(calls) == 1:
        return calls[0]
    return _Sums(PowerSums.merge([call.of for call in calls]), torch.stack([call.positive for call in calls]).sum(0))
