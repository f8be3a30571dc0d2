"""What recurrent layers cost: the time of the meter over that of one plain forward and backward pass (T0).

The last rows are of a layer without a rule, for batches of several sizes: its cost per sample stays the same.
"""

import argparse
import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from gradmeter import GradientMeter
from gradmeter.errors import SlowLayerWarning

STEPS, FEATURES, HIDDEN, CLASSES = 50, 64, 128, 10


class Sequences(nn.Module):
    """The last output of a recurrent layer, [N, T, F] to [N, classes]."""

    def __init__(self, layer: nn.RNNBase) -> None:
        super().__init__()
        self.layer, self.head = layer, nn.LazyLinear(CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        out: Tensor = self.head(self.layer(x)[0][:, -1])
        return out


class Packed(Sequences):
    """The last states of sequences of different length, packed."""

    def forward(self, x: Tensor) -> Tensor:
        """Logits; how long a sequence is follows from its first number."""
        lengths = STEPS - (x[:, 0, 0].abs() * 1000).long() % (STEPS // 2)
        states = self.layer(pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False))[1]
        out: Tensor = self.head((states[0] if isinstance(states, tuple) else states)[-1])
        return out


class Cells(nn.Module):
    """A cell that the network itself calls at every step."""

    def __init__(self, cell: nn.RNNCellBase) -> None:
        super().__init__()
        self.cell, self.head = cell, nn.Linear(HIDDEN, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        state = None
        for step in x.unbind(1):
            state = self.cell(step, state)
        out: Tensor = self.head(state[0] if isinstance(state, tuple) else state)
        return out


class Prototypes(nn.Module):
    """Distances to vectors that are learned: PyTorch's operation for it has no rule."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.prototypes = nn.Linear(FEATURES, HIDDEN), nn.Parameter(torch.randn(CLASSES, HIDDEN))

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        return -torch.cdist(self.body(x[:, 0]).tanh(), self.prototypes)


def layer(kind: type[nn.RNNBase], **options: object) -> nn.RNNBase:
    """A recurrent layer."""
    return kind(FEATURES, HIDDEN, batch_first=True, **options)


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "LSTM": lambda: Sequences(layer(nn.LSTM)),
    "LSTM, two layers, both ways": lambda: Sequences(layer(nn.LSTM, num_layers=2, bidirectional=True)),
    "LSTM, projected": lambda: Sequences(layer(nn.LSTM, proj_size=32)),
    "GRU": lambda: Sequences(layer(nn.GRU)),
    "GRU, two layers, both ways": lambda: Sequences(layer(nn.GRU, num_layers=2, bidirectional=True)),
    "RNN": lambda: Sequences(layer(nn.RNN)),
    "LSTM, packed": lambda: Packed(layer(nn.LSTM)),
    "GRU, packed": lambda: Packed(layer(nn.GRU)),
    "RNN, packed": lambda: Packed(layer(nn.RNN)),
    "LSTM cell": lambda: Cells(nn.LSTMCell(FEATURES, HIDDEN)),
    "GRU cell": lambda: Cells(nn.GRUCell(FEATURES, HIDDEN)),
    "RNN cell": lambda: Cells(nn.RNNCell(FEATURES, HIDDEN)),
}


def show(name: str, network: nn.Module, samples: int) -> None:
    """Print a row of the table."""
    x = torch.randn(samples, STEPS, FEATURES)
    network(x[:2])
    costs = GradientMeter(network.eval()).costs(x)
    each = 1e6 * costs.seconds / samples
    print(f"| {name} | {samples} | {costs.seconds / costs.plain_seconds:.2f} | {each:,.0f} |", flush=True)


def main() -> None:
    """Print a table."""
    argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0]).parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    warnings.simplefilter("ignore", SlowLayerWarning)
    print("| network | batch | time / T0 | microseconds per sample |")
    print("|:--|--:|--:|--:|")
    for name, make in NETWORKS.items():
        show(name, make(), 64)
    for samples in (16, 64, 256):
        show("prototypes, no rule", Prototypes(), samples)


if __name__ == "__main__":
    main()
