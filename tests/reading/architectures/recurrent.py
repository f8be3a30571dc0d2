"""Recurrent layers, recurrent cells and packed sequences."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from oracles.networks import samples
from reading.architectures.case import Case, head, network

X = samples(2, 4, 3)


def _batch_first(make: Callable[[], nn.Module], width: int) -> Case:
    """The last output of a layer that takes [N, T, F]."""
    return network(lambda m, x: m.head(m.layer(x)[0][:, -1]), X, layer=make, head=head(width))


def _time_major(make: Callable[[], nn.Module], width: int) -> Case:
    """The mean output of a layer that takes [T, N, F]."""
    return network(lambda m, x: m.head(m.layer(x.transpose(0, 1))[0].mean(0)), X, layer=make, head=head(width))


def _options(cell: Callable[..., nn.Module], name: str) -> dict[str, Case]:
    def make(**options: Any) -> Callable[[], nn.Module]:
        return lambda: cell(3, 4, **options)

    return {
        name: _batch_first(make(batch_first=True), 4),
        f"{name} time-major": _time_major(make(), 4),
        f"{name} both ways, two layers": _batch_first(
            make(batch_first=True, bidirectional=True, num_layers=2, dropout=0.5), 8
        ),
        f"{name} time-major, both ways, no bias": _time_major(make(bidirectional=True, bias=False), 8),
    }


def _lstm_cell(m: Any, x: Tensor) -> Tensor:
    state = None
    for step in x.unbind(1):
        state = m.cell(step, state)
    assert state is not None
    out: Tensor = m.head(state[0] + state[1])
    return out


def _cell(m: Any, x: Tensor) -> Tensor:
    state = m.start.expand(len(x), -1)
    for step in x.unbind(1):
        state = m.cell(step, state)
    out: Tensor = m.head(state)
    return out


LENGTHS = torch.tensor([3, 4, 2, 4, 4, 1])


def _last_states(m: Any, packed: PackedSequence) -> Tensor:
    states = m.layer(packed)[1]
    last: Tensor = states[0] if isinstance(states, tuple) else states
    return last


def _packed(m: Any, x: Tensor, lengths: Tensor) -> Tensor:
    """Rows of all samples in one axis, sorted by length."""
    packed = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
    out: Tensor = m.head(_last_states(m, packed).transpose(0, 1).flatten(1))
    return out


def _sorted_by_hand(m: Any, x: Tensor, lengths: Tensor) -> Tensor:
    order = lengths.argsort(descending=True)
    packed = pack_padded_sequence(x[order], lengths[order].cpu(), batch_first=True)
    out: Tensor = m.head(_last_states(m, packed)[-1][order.argsort()])
    return out


def _every_step(m: Any, x: Tensor, lengths: Tensor) -> Tensor:
    packed = pack_padded_sequence(x.tanh(), lengths.cpu(), batch_first=True, enforce_sorted=False)
    steps, _ = pad_packed_sequence(m.layer(packed)[0], batch_first=True)
    out: Tensor = m.head(steps.sum(1))
    return out


def _packed_case(recipe: Callable[..., Tensor], make: Callable[[], nn.Module], width: int) -> Case:
    return network(recipe, (samples(6, 4, 3), LENGTHS), layer=make, head=head(width))


PACKED = {
    "packed gru": _packed_case(_packed, lambda: nn.GRU(3, 4, batch_first=True), 4),
    "packed lstm": _packed_case(_packed, lambda: nn.LSTM(3, 4, batch_first=True), 4),
    "packed rnn, both ways": _packed_case(_packed, lambda: nn.RNN(3, 4, bidirectional=True, batch_first=True), 8),
    "packed lstm, two layers, both ways": _packed_case(
        _packed, lambda: nn.LSTM(3, 4, num_layers=2, bidirectional=True, batch_first=True), 16
    ),
    "packed gru, sorted by hand": _packed_case(_sorted_by_hand, lambda: nn.GRU(3, 4, batch_first=True), 4),
    "packed gru, every step": _packed_case(_every_step, lambda: nn.GRU(3, 4, bias=False, batch_first=True), 4),
    "packed lstm, projected": _packed_case(_packed, lambda: nn.LSTM(3, 4, proj_size=2, batch_first=True), 2),
}

CASES = {
    **PACKED,
    **_options(nn.LSTM, "lstm"),
    **_options(nn.GRU, "gru"),
    **_options(nn.RNN, "rnn"),
    "rnn relu": _time_major(lambda: nn.RNN(3, 4, nonlinearity="relu"), 4),
    "lstm projected": _batch_first(lambda: nn.LSTM(3, 4, proj_size=2, batch_first=True), 2),
    "lstm last states of both layers": network(
        lambda m, x: m.head(torch.cat(m.layer(x)[1]).transpose(0, 1).flatten(1)),
        X,
        layer=lambda: nn.LSTM(3, 4, num_layers=2, batch_first=True),
        head=head(16),
    ),
    "lstm cell": network(_lstm_cell, X, cell=lambda: nn.LSTMCell(3, 4), head=head(4)),
    "gru cell": network(
        _cell, X, start=lambda: nn.Parameter(torch.zeros(4)), cell=lambda: nn.GRUCell(3, 4), head=head(4)
    ),
    "rnn cell": network(
        _cell, X, start=lambda: nn.Parameter(torch.zeros(4)), cell=lambda: nn.RNNCell(3, 4), head=head(4)
    ),
}
