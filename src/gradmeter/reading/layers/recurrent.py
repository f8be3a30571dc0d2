"""Recurrent layers that run all steps in one operation; the gradients of their gates are recomputed in one sweep."""

from __future__ import annotations

import torch
from torch import Tensor

from gradmeter.reading.capture import Operation, OwnedRows, SampleAxis
from gradmeter.reading.layers.gradients import Dense, Direct, PerSampleGradient
from gradmeter.reading.layers.registry import register_rule


def _steps_before(first: Tensor, states: Tensor) -> Tensor:
    """The state before each step, [T, B, H], from the first state and the states after each step."""
    return torch.cat([first.unsqueeze(0), states[:-1]])


def _cells(first: Tensor, kept: Tensor, added: Tensor) -> Tensor:
    """The cell state after each step, [T, B, H]."""
    cells = torch.empty_like(kept)
    for step, cell in enumerate(cells.unbind()):
        first = torch.addcmul(added[step], kept[step], first, out=cell)
    return cells


def lstm_gate_gradients(
    gates: Tensor, recurrent: Tensor, first_cell: Tensor, delta: Tensor | None, last: Tensor | None, cell: Tensor | None
) -> Tensor:
    """The gradients of an LSTM's gates before their nonlinearity (Hochreiter and Schmidhuber 1997, with forget gates).

    Args:
        gates: [T, B, 4 H] the gates before their nonlinearity, in the order input, forget, cell, output.
        recurrent: [4 H, H] weight from a state to the gates of the next step.
        first_cell: [B, H] cell state before the first step.
        delta: [T, B, H] gradient of the states that the layer returns.
        last: [B, H] gradient of the last state as a separate output.
        cell: [B, H] gradient of the last cell state.

    Returns:
        [T, B, 4 H].
    """
    entered, kept, candidate, shown = gates.chunk(4, dim=2)
    entered, kept, shown, candidate = entered.sigmoid(), kept.sigmoid(), shown.sigmoid(), candidate.tanh()
    cells = _cells(first_cell, kept, entered * candidate)
    squashed = cells.tanh()
    # Derivatives of each step's cell state and state with respect to each gate.
    slopes = torch.cat(
        [
            candidate * entered * (1 - entered),
            _steps_before(first_cell, cells) * kept * (1 - kept),
            entered * (1 - candidate * candidate),
        ],
        dim=2,
    ).unflatten(2, (3, -1))
    output_slope = squashed * shown * (1 - shown)
    through = shown * (1 - squashed * squashed)
    gradients = torch.empty_like(gates)
    by_gate = gradients.unflatten(2, (4, -1))
    zeros = torch.zeros_like(first_cell)
    by_cell = zeros if cell is None else cell
    by_state = zeros if last is None else last
    for step in range(len(gates) - 1, -1, -1):
        if delta is not None:
            by_state = by_state + delta[step]
        by_cell = torch.addcmul(by_cell, by_state, through[step])
        torch.mul(by_cell.unsqueeze(1), slopes[step], out=by_gate[step, :, :3])
        torch.mul(by_state, output_slope[step], out=by_gate[step, :, 3])
        by_cell = by_cell * kept[step]
        by_state = gradients[step] @ recurrent
    return gradients


@register_rule("MkldnnRnnLayerBackward0", any_output=True)
def lstm_layer(operation: Operation) -> dict[int, PerSampleGradient]:
    """One layer and direction of an LSTM; oneDNN's kernel does not save its gates."""
    weights = [number for number in operation.inputs if number in (1, 2, 3, 4)]
    output, last, cell = (None if delta is None else delta for delta in operation.deltas[:3])
    number = next(index for index, delta in enumerate(operation.deltas) if delta is not None)
    axis = operation.axes[number]
    if not weights or not isinstance(axis, SampleAxis | OwnedRows):
        return {}
    x, states, first, first_cell = (operation.saved(name) for name in ("input", "result0", "hx_", "cx_"))
    to_gates, recurrent = operation.saved("weight0"), operation.saved("weight1")
    if operation.saved("reverse"):
        x, states = x.flip(0), states.flip(0)
        output = None if output is None else output.flip(0)
    before = _steps_before(first, states)
    gates = x @ to_gates.T + before @ recurrent.T
    if operation.saved("has_biases"):
        gates = gates + (operation.saved("weight2") + operation.saved("weight3"))
    gradients = lstm_gate_gradients(gates, recurrent, first_cell, output, last, cell)
    # The samples of [T, B, ...] lie one dimension further than those of one step's states [B, H].
    steps = axis if number == 0 else axis.behind(1)

    def by_sample(tensor: Tensor) -> Tensor:
        """[N, T, ...]."""
        return steps.positions(tensor, operation.samples).flatten(1, 2)

    delta = by_sample(gradients)
    by_input: dict[int, PerSampleGradient] = {}
    for weight, activation in ((1, x), (2, before)):
        if weight in weights:
            by_input[weight] = Dense(delta, by_sample(activation))
    if 3 in weights or 4 in weights:
        bias = Direct(delta.sum(1))
        by_input.update({weight: bias for weight in (3, 4) if weight in weights})
    return by_input


@register_rule("ThnnFusedLstmCellBackward0", any_output=True)
def fused_lstm_cell(operation: Operation) -> dict[int, PerSampleGradient]:
    """The biases of one LSTM step on a GPU; their gradient equals that of the gates."""
    hidden, cell = operation.deltas[:2]
    names = ("input_gates", "hidden_gates", "input_bias", "hidden_bias", "cx", "result1")
    gates = torch.ops.aten._thnn_differentiable_lstm_cell_backward(hidden, cell, *map(operation.saved, names))
    return _biases(operation, gates[0], gates[0])


@register_rule("ThnnFusedGruCellBackward0")
def fused_gru_cell(operation: Operation) -> dict[int, PerSampleGradient]:
    """The biases of one GRU step on a GPU."""
    names = ("input_gates", "hidden_gates", "hx", "input_bias", "hidden_bias")
    gates = torch.ops.aten._thnn_differentiable_gru_cell_backward(operation.delta, *map(operation.saved, names))
    return _biases(operation, gates[0], gates[1])


def _biases(operation: Operation, by_input: Tensor, by_hidden: Tensor) -> dict[int, PerSampleGradient]:
    """The gradients of the biases from those of the gates' input and hidden parts, [B, gates] each."""
    axis = next(axis for axis in operation.axes if axis is not None)
    if not isinstance(axis, SampleAxis | OwnedRows) or axis.dim != 0:
        return {}
    pairs = ((3, by_input), (4, by_hidden))
    return {
        number: Direct(axis.positions(gradient, operation.samples).sum(1))
        for number, gradient in pairs
        if number in operation.inputs
    }
