"""Networks that put samples in another order without an index: a first batch in order says nothing about others."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gradmeter import GradientMeter
from oracles import loop
from oracles.moments import assert_agree
from oracles.networks import samples

Restore = Callable[[Tensor, Tensor], Tensor]


def _permutation(order: Tensor) -> Tensor:
    return F.one_hot(order, len(order)).double()


class _SavedRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, h: Tensor, place: Tensor) -> Tensor:
        ctx.save_for_backward(place)
        return h[place]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (place,) = ctx.saved_tensors
        return gradients[0][place.argsort()], None


class _KeptRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, h: Tensor, place: Tensor) -> Tensor:
        ctx.place = place
        return h[place]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0][ctx.place.argsort()], None


RESTORE: dict[str, Restore] = {
    "product": lambda h, place: _permutation(place) @ h,
    "product with its transpose": lambda h, place: (h.T @ _permutation(place).T).T,
    "product and sum": lambda h, place: torch.addmm(torch.zeros(3).double(), _permutation(place), h),
    "einsum": lambda h, place: torch.einsum("nm,md->nd", _permutation(place), h),
    "batched product": lambda h, place: torch.bmm(_permutation(place)[None], h[None])[0],
    "batched product and sum": lambda h, place: torch.baddbmm(h.new_zeros(1), _permutation(place)[None], h[None])[0],
    "sum of products": lambda h, place: torch.addbmm(h.new_zeros(1), _permutation(place)[None], h[None]),
    "products with vectors": lambda h, place: torch.stack([_permutation(place).mv(column) for column in h.T], dim=1),
    "sums with vectors": lambda h, place: torch.stack(
        [torch.addmv(h.new_zeros(1), _permutation(place), column) for column in h.T], dim=1
    ),
    "sparse product": lambda h, place: torch.sparse.mm(_permutation(place).to_sparse(), h),
    "embedding": lambda h, place: F.embedding(place, h),
    "bag": lambda h, place: F.embedding_bag(place[:, None], h, mode="sum"),
    "take": lambda h, place: h.take(place[:, None] * 3 + torch.arange(3)),
    "put": lambda h, place: torch.zeros_like(h).put(place.argsort()[:, None] * 3 + torch.arange(3), h),
    "Function that saves its index": lambda h, place: _SavedRows.apply(h, place),
    "Function with an index as attribute": lambda h, place: _KeptRows.apply(h, place),
    "sum of a table": lambda h, place: (_permutation(place)[..., None] * h).sum(1),
}


class Sorting(nn.Module):
    def __init__(self, restore: Restore) -> None:
        super().__init__()
        self.restore, self.inner, self.head = restore, nn.Linear(4, 3), nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        order = x[:, 0].argsort()
        out: Tensor = self.head(self.restore(self.inner(x[order]).tanh(), order.argsort()))
        return out


class Experts(nn.Module):
    """Dispatches each sample to one of two experts by products with tables of zeros and ones, as GShard does."""

    def __init__(self) -> None:
        super().__init__()
        self.experts = nn.ModuleList([nn.Linear(4, 3), nn.Linear(4, 3)])
        self.head = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        chosen = F.one_hot((x[:, 0] > 0).long(), 2)
        places = ((chosen.cumsum(0) - 1) * chosen).sum(1)
        table = chosen[:, :, None].double() * F.one_hot(places, len(x))[:, None]
        dispatched = torch.einsum("nec,nd->ecd", table, x)
        out = torch.stack([expert(rows).tanh() for expert, rows in zip(self.experts, dispatched, strict=True)])
        logits: Tensor = self.head(torch.einsum("nec,ecd->nd", table, out))
        return logits


class Packed(nn.Module):
    """Packs rows [N, 3, 4], of which a sample may have fewer, and sums those of each sample."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.head = nn.Linear(4, 3), nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        kept = (torch.arange(3) == 0) | (x[..., 0] < 10)
        sums = torch.segment_reduce(self.inner(x[kept]).tanh(), "sum", lengths=kept.sum(1))
        logits: Tensor = self.head(sums)
        return logits


def test_rows_of_a_first_batch_are_as_many_for_each_sample() -> None:
    torch.manual_seed(0)
    network = Packed().double().eval()
    meter, x = GradientMeter(network), samples(9, 3, 4)
    fewer = x.clone()
    fewer[[0, 4, 5], 2, 0] = fewer[[4, 7], 1, 0] = 20
    for batch in (x, fewer, x):
        assert_agree(meter(batch).values, loop.expected_readings(network, batch)[1], norms=1e-9, shapes=1e-8)


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    **{name: lambda restore=restore: Sorting(restore) for name, restore in RESTORE.items()},
    "experts": Experts,
}


@pytest.mark.filterwarnings("ignore::gradmeter.errors.SlowLayerWarning")
@pytest.mark.parametrize("name", NETWORKS)
def test_a_first_batch_in_order(name: str) -> None:
    torch.manual_seed(0)
    network = NETWORKS[name]().double().eval()
    meter, x = GradientMeter(network), samples(9, 4)
    in_order = x[x[:, 0].argsort()] + torch.tensor([10, 0, 0, 0])
    for batch in (in_order, x, x.flip(0)):
        assert_agree(meter(batch).values, loop.expected_readings(network, batch)[1], norms=1e-9, shapes=1e-8)
