"""What the first samples happen to do must not decide how later ones are measured."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gradmeter import GradientMeter
from oracles.loop import chosen, expected_readings
from oracles.networks import samples
from reading.architectures.case import Case, head, network, weights
from reading.architectures.sharing import EXPERTS
from reading.architectures.test_table import EXACT, assert_readings

X, FRAMES = samples(6, 5), samples(6, 3, 5)


def _chosen_step(m: Any, x: Tensor, step: Tensor) -> Tensor:
    """Steps before samples; one step of each sample affects the logits."""
    hidden = m.dense(x.transpose(0, 1)).tanh()
    out: Tensor = m.head(hidden[step, torch.arange(len(x))])
    return out


def _chosen_row(m: Any, x: Tensor, step: Tensor) -> Tensor:
    """Steps and samples in one axis."""
    hidden = m.dense(x.transpose(0, 1).reshape(-1, 5)).tanh()
    out: Tensor = m.head(hidden[step * len(x) + torch.arange(len(x))])
    return out


def _chosen_token(m: Any, x: Tensor, step: Tensor) -> Tensor:
    """The last token of a causal transformer, as in CLIP, at the end of each text."""
    hidden = m.layer(x.transpose(0, 1))
    out: Tensor = m.head(hidden[step, torch.arange(len(x))])
    return out


def _one_way_or_the_other(m: Any, x: Tensor) -> Tensor:
    """The batch decides which of two layers is used."""
    out: Tensor = m.head((m.first(x) if x[0, 0] > 0 else m.second(x)).tanh())
    return out


def _sorted_and_put_back(m: Any, x: Tensor) -> Tensor:
    """Sorts the samples, as sequences are sorted by length."""
    order = x[:, 0].argsort(stable=True)
    out: Tensor = m.head(m.dense(x[order]).tanh())[order.argsort()]
    return out


def _selected(m: Any, x: Tensor) -> Tensor:
    order = x[:, 0].argsort(stable=True)
    out: Tensor = m.head(m.dense(x.index_select(0, order)).tanh()).index_select(0, order.argsort())
    return out


def _without_padding(m: Any, x: Tensor) -> Tensor:
    """Steps of all samples without padding."""
    real = x[..., 0] > 0
    hidden = m.dense(x[real]).tanh()
    out: Tensor = m.head(hidden.new_zeros(*real.shape, 4).index_put(real.nonzero(as_tuple=True), hidden).sum(1))
    return out


def _masked(m: Any, x: Tensor) -> Tensor:
    real = x[..., 0] > 0
    hidden = m.head(m.dense(x).tanh()[real])
    out: Tensor = hidden.new_zeros(*real.shape, 3).index_put((real,), hidden).sum(1)
    return out


def _scattered(m: Any, x: Tensor) -> Tensor:
    real = (x[..., :1] > 0).expand(*x.shape[:2], 4)
    hidden = m.dense(x[real[..., 0]]).tanh()
    out: Tensor = m.head(hidden.new_zeros(real.shape).masked_scatter(real, hidden).sum(1))
    return out


def _added(m: Any, x: Tensor) -> Tensor:
    real = x[..., 0] > 0
    hidden = m.dense(x[real]).tanh()
    out: Tensor = m.head(hidden.new_zeros(len(x), 4).index_add(-2, real.nonzero()[:, 0], hidden))
    return out


PADDED = FRAMES.clone()
PADDED[..., 0] = torch.tensor([[1, 1, 1], [1, 1, 1], [1, 1, 1], [1, -1, -1], [1, 1, 1], [-1, 1, 1]])

FEW = torch.tensor([[3.0], [2.0], [1.0], [-1.0], [-2.0], [-3.0]]).double()

# a network and six samples; the first three, which a meter may probe, differ in kind from the others
CASES: dict[str, Case] = {
    "step n of sample n": network(
        _chosen_step, (FRAMES, torch.tensor([0, 1, 2, 1, 2, 0])), dense=lambda: nn.Linear(5, 4), head=head(4)
    ),
    "row n of sample n": network(
        _chosen_row, (FRAMES, torch.tensor([0, 1, 2, 1, 2, 0])), dense=lambda: nn.Linear(5, 4), head=head(4)
    ),
    "token n of sample n": network(
        _chosen_token,
        (samples(6, 3, 4), torch.tensor([0, 1, 2, 1, 2, 0])),
        layer=lambda: nn.TransformerEncoderLayer(4, 2, 8),
        head=head(4),
    ),
    "entry n of sample n in a computed table": network(
        lambda m, x: m.table.tanh()[x] * m.scale,
        torch.tensor([0, 1, 2, 2, 0, 1]),
        table=weights(3, 3),
        scale=weights(3),
    ),
    "expert n of sample n": network(
        lambda m, x, choice: torch.bmm(x.unsqueeze(1), m.experts.tanh()[choice]).squeeze(1),
        (X, torch.tensor([0, 1, 2, 2, 2, 0])),
        experts=weights(3, 5, 3),
    ),
    "silent at first": network(
        lambda m, x: m.head(F.relu(-x) * m.dense(x)) + m.outer(x),
        FEW,
        dense=lambda: nn.Linear(1, 4),
        outer=head(1),
        head=head(4),
    ),
    "silent afterwards": network(
        lambda m, x: m.head(F.relu(x) * m.dense(x)) + m.outer(x),
        FEW,
        dense=lambda: nn.Linear(1, 4),
        outer=head(1),
        head=head(4),
    ),
    "one expert first": Case(EXPERTS.make, torch.cat([FEW, X[:, 1:]], 1)),
    "sorted at first": network(
        _sorted_and_put_back,
        torch.cat([FEW[[2, 1, 0, 3, 5, 4]], X[:, 1:]], 1),
        dense=lambda: nn.Linear(5, 4),
        head=head(4),
    ),
    "selected in order at first": network(
        _selected, torch.cat([FEW[[2, 1, 0, 3, 5, 4]], X[:, 1:]], 1), dense=lambda: nn.Linear(5, 4), head=head(4)
    ),
    "no padding at first": network(_without_padding, PADDED, dense=lambda: nn.Linear(5, 4), head=head(4)),
    "no padding at first, scattered": network(_scattered, PADDED, dense=lambda: nn.Linear(5, 4), head=head(4)),
    "no padding at first, added": network(_added, PADDED, dense=lambda: nn.Linear(5, 4), head=head(4)),
    "no mask at first": network(_masked, PADDED, dense=lambda: nn.Linear(5, 4), head=head(4)),
    "two layers in turn": network(
        _one_way_or_the_other,
        torch.cat([FEW, X[:, 1:]], 1),
        first=lambda: nn.Linear(5, 4),
        second=lambda: nn.Linear(5, 4),
        head=head(4),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_later_samples_of_another_kind(name: str) -> None:
    model, inputs = CASES[name].build()
    meter = GradientMeter(model)
    for rows in ([0, 1, 2], [3, 4, 5]):
        part = chosen(inputs, rows)
        assert_readings(meter(part), expected_readings(model, part), **EXACT)


@pytest.mark.parametrize("name", [name for name in CASES if name != "two layers in turn"])
def test_samples_of_two_kinds_at_once(name: str) -> None:
    model, inputs = CASES[name].build()
    assert_readings(GradientMeter(model)(inputs), expected_readings(model, inputs), **EXACT)
