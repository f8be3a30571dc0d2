"""The hash of a network's weights: which of its state it covers; and when logits count as the same."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing._internal.two_tensor import TwoTensor

from gradmeter.errors import UnsupportedModelError
from gradmeter.reading.network import logits_difference, weights_hash


class Keeping(nn.Linear):
    """A linear layer with a buffer and extra state."""

    def __init__(self, buffer: Tensor, state: Any = None) -> None:
        super().__init__(2, 2)
        with torch.no_grad():
            self.weight.fill_(1)
            self.bias.fill_(2)
        self.register_buffer("kept", buffer)
        self.state = state

    def get_extra_state(self) -> Any:
        return self.state

    def set_extra_state(self, state: Any) -> None:
        self.state = state


DIAGONAL = torch.tensor([1.0, 2.0]).diag()
COMPLEX = torch.tensor([1 + 2j, 3 - 1j])


@pytest.mark.parametrize(
    ("kept", "other"),
    [
        (DIAGONAL.to_sparse(), (2 * DIAGONAL).to_sparse()),
        (COMPLEX.conj(), COMPLEX),
        (COMPLEX.conj().imag, COMPLEX.imag),
        (torch.tensor(True), torch.tensor(False)),
        (torch.zeros(0), torch.zeros(0, 1)),
    ],
    ids=["sparse", "conjugated", "negated", "bool", "empty"],
)
def test_buffers_of_every_kind_count(kept: Tensor, other: Tensor) -> None:
    digest = weights_hash(Keeping(kept))
    assert weights_hash(Keeping(kept.clone())) == digest
    assert weights_hash(Keeping(other)) != digest


def test_numbers_that_a_tensor_wraps_count() -> None:
    """Quantised weights of torchao are such tensors, and cannot be viewed as bytes."""
    network, same, other = nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 2)
    for layer, scale in ((network, 1.0), (same, 1.0), (other, 2.0)):
        layer.weight = nn.Parameter(TwoTensor(DIAGONAL.clone(), torch.full((2, 2), scale)))
        layer.bias = None
    assert weights_hash(same) == weights_hash(network)
    assert weights_hash(other) != weights_hash(network)


@pytest.mark.parametrize("state", [{"calls": 3}, "text", 7, object()], ids=["dict", "text", "number", "object"])
def test_state_that_is_no_tensor_is_neither_parameter_nor_buffer(state: Any) -> None:
    assert weights_hash(Keeping(DIAGONAL, state)) == weights_hash(Keeping(DIAGONAL, None))


def test_a_network_whose_state_dict_fails() -> None:
    class Silent(nn.Linear):
        def state_dict(self, *args: Any, **kwargs: Any) -> Any:
            raise ValueError("no")

    with pytest.raises(UnsupportedModelError, match=r"Silent.*ValueError"):
        weights_hash(Silent(2, 2))


@pytest.mark.parametrize(("size", "rounded"), [(1.0, False), (1e-20, False), (1e-41, True)])
def test_logits_below_the_smallest_normal_number_may_differ_by_rounding(size: float, rounded: bool) -> None:
    """A deep untrained network may return such logits."""
    logits = size * torch.tensor([1.0, -2.0, 3.0])
    assert (logits_difference(1.1 * logits, logits) == 0) == rounded
