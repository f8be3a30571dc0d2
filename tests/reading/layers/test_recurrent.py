"""Rules for recurrent operations of one step, which PyTorch runs on GPUs only, and the sweep over all steps."""

import pytest
import torch
from torch import Tensor, nn

from gradmeter.reading.capture import SampleAxis
from gradmeter.reading.layers.recurrent import fused_gru_cell, fused_lstm_cell, lstm_gate_gradients
from oracles.networks import samples
from reading.layers.stand_in import stand_in


def lstm_step(by_input: Tensor, by_state: Tensor, first: Tensor, second: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
    entered, kept, candidate, shown = (by_input + by_state + first + second).chunk(4, 1)
    cell = kept.sigmoid() * cell + entered.sigmoid() * candidate.tanh()
    return shown.sigmoid() * cell.tanh(), cell


@pytest.mark.parametrize("outputs", [(True, True), (True, False), (False, True)])
def test_the_biases_of_an_lstm_step(outputs: tuple[bool, bool]) -> None:
    by_input, by_state = samples(3, 8), samples(3, 8, seed=2)
    biases, cell = (samples(8, seed=3), samples(8, seed=4)), samples(3, 2, seed=5)
    _, after = lstm_step(by_input, by_state, *biases, cell)
    deltas = tuple(samples(3, 2, seed=6 + number) if used else None for number, used in enumerate(outputs))
    axes = tuple(SampleAxis(0, 1, 1) if used else None for used in outputs)
    kept = {
        "input_gates": by_input,
        "hidden_gates": by_state,
        "input_bias": biases[0],
        "hidden_bias": biases[1],
        "cx": cell,
        "result1": after,
    }
    actual = fused_lstm_cell(stand_in(deltas, axes, {3: biases[0], 4: biases[1]}, kept))
    for sample in range(3):
        rows = slice(sample, sample + 1)
        leaves = [bias.clone().requires_grad_() for bias in biases]
        outputs_alone = lstm_step(by_input[rows], by_state[rows], *leaves, cell[rows])
        pairs = [(out, delta[rows]) for out, delta in zip(outputs_alone, deltas, strict=True) if delta is not None]
        expected = torch.autograd.grad([out for out, _ in pairs], leaves, [delta for _, delta in pairs])
        for number, gradient in zip((3, 4), expected, strict=True):
            torch.testing.assert_close(actual[number].materialise(rows)[0], gradient)


def gru_step(by_input: Tensor, by_state: Tensor, first: Tensor, second: Tensor, state: Tensor) -> Tensor:
    given, before = (by_input + first).chunk(3, 1), (by_state + second).chunk(3, 1)
    reset, update = (given[0] + before[0]).sigmoid(), (given[1] + before[1]).sigmoid()
    candidate = (given[2] + reset * before[2]).tanh()
    return (1 - update) * candidate + update * state


def test_the_biases_of_a_gru_step() -> None:
    by_input, by_state = samples(3, 6), samples(3, 6, seed=2)
    biases, state, delta = (samples(6, seed=3), samples(6, seed=4)), samples(3, 2, seed=5), samples(3, 2, seed=6)
    kept = {
        "input_gates": by_input,
        "hidden_gates": by_state,
        "input_bias": biases[0],
        "hidden_bias": biases[1],
        "hx": state,
    }
    actual = fused_gru_cell(stand_in((delta,), (SampleAxis(0, 1, 1),), {3: biases[0], 4: biases[1]}, kept))
    for sample in range(3):
        rows = slice(sample, sample + 1)
        leaves = [bias.clone().requires_grad_() for bias in biases]
        out = gru_step(by_input[rows], by_state[rows], *leaves, state[rows])
        for number, gradient in zip((3, 4), torch.autograd.grad(out, leaves, delta[rows]), strict=True):
            torch.testing.assert_close(actual[number].materialise(rows)[0], gradient)


@pytest.mark.parametrize(
    "parts", [(True, True, True), (True, False, False), (False, True, False), (False, False, True)]
)
def test_the_gates_of_an_lstm_in_one_sweep(parts: tuple[bool, bool, bool]) -> None:
    """Against autograd through the steps."""
    layer = nn.LSTM(3, 4).double()
    x, state, cell = samples(5, 2, 3), samples(2, 4, seed=2), samples(2, 4, seed=3)
    gates = []
    first = state, cell
    states = []
    for step in x:
        gates.append((step @ layer.weight_ih_l0.T + first[0] @ layer.weight_hh_l0.T + layer.bias_ih_l0).detach())
        by_step = torch.zeros_like(gates[-1], requires_grad=True)
        gates[-1] = gates[-1] + by_step
        gates[-1].retain_grad()
        entered, kept, candidate, shown = (
            step @ layer.weight_ih_l0.T + first[0] @ layer.weight_hh_l0.T + layer.bias_ih_l0 + by_step
        ).chunk(4, 1)
        after = kept.sigmoid() * first[1] + entered.sigmoid() * candidate.tanh()
        first = shown.sigmoid() * after.tanh(), after
        states.append((first[0], by_step))
    delta, last, final = (
        samples(*shape, seed=seed) if used else None
        for used, shape, seed in zip(parts, [(5, 2, 4), (2, 4), (2, 4)], (5, 6, 7), strict=True)
    )
    outputs = [(torch.stack([out for out, _ in states]), delta), (first[0], last), (first[1], final)]
    pairs = [(out, gradient) for out, gradient in outputs if gradient is not None]
    expected = torch.autograd.grad(
        [out for out, _ in pairs],
        [by_step for _, by_step in states],
        [gradient for _, gradient in pairs],
        allow_unused=True,
        materialize_grads=True,
    )
    actual = lstm_gate_gradients(torch.stack(gates).detach(), layer.weight_hh_l0.detach(), cell, delta, last, final)
    torch.testing.assert_close(actual, torch.stack(expected))
