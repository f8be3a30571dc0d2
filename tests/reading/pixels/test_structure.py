"""The last layers of networks, and which paths to the logits are confirmed."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune

from gradmeter import UnsupportedModelError
from gradmeter.reading.network import measuring
from gradmeter.reading.pixels.structure import Structure, find_structure, measurable_layers
from oracles.networks import randomise
from reading.pixels.networks import IMAGES, segmenter


def structure_of(network: nn.Module) -> Structure:
    layers = [*measurable_layers(network, biases=True)]
    with measuring(network):
        return find_structure(network, layers, lambda: network(IMAGES[:1]), lambda: network(IMAGES[1:2]))[0]


def known(structure: Structure) -> dict[str, bool]:
    return {layer: paths is not None for layer, paths in structure.last.items()}


def test_the_layers_before_the_last_and_their_norms() -> None:
    structure = structure_of(segmenter(nn.Conv2d(6, 4, 1)))
    assert known(structure) == {"head": True}
    assert structure.before == ("body", "norm")
    assert structure.through == {"body": "head", "norm": "head"}
    assert structure.complete


@pytest.mark.parametrize(
    "after",
    [
        lambda z: z + z.sum(2, keepdim=True),
        lambda z: z + F.relu(z),
        # As small as a rounding error in a random derivative.
        lambda z: z + 1e-5 * z.mean((2, 3), keepdim=True),
        lambda z: z + z.detach() * z,
        lambda z: z.flip(2),
        lambda z: z.roll(1, 3),
        lambda z: z.softmax(1),
        # Its derivative is not a number.
        lambda z: z + (z * 0).sqrt(),
        lambda z: z.cumsum(1),
        # Numbers that depend on the image.
        lambda z: z * z.detach().std((1, 2, 3), keepdim=True),
        lambda z: z / z.detach().abs().max(),
        lambda z: z * float(z.detach().std()),
        lambda z: z.transpose(0, 1).clone().transpose(0, 1) + z,
    ],
)
def test_a_path_that_is_not_all_is_not_used(after: Callable[[Tensor], Tensor]) -> None:
    structure = structure_of(segmenter(nn.Conv2d(6, 4, 1), after))
    assert known(structure) == {"head": False}
    assert structure.through == {}
    assert not structure.complete


def test_a_constant_term_does_not_change_the_path() -> None:
    structure = structure_of(segmenter(nn.Conv2d(6, 4, 1), lambda z: z + torch.ones_like(z)))
    assert known(structure) == {"head": True}
    assert not structure.complete


class _Branches(nn.Module):
    """A layer read by both last layers, another one read by a last layer and the logits, and one without influence."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.side, self.unused = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)
        self.one, self.other = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)

    def forward(self, images: Tensor) -> Tensor:
        features, side = self.body(images), self.side(images)
        self.unused(features)
        return self.one(features) + self.other(features.tanh() + side) + side


def test_layers_with_several_readers() -> None:
    structure = structure_of(randomise(_Branches()).eval())
    # The logits depend on `side` through `other`, too.
    assert known(structure) == {"side": False, "one": True, "other": True}
    assert structure.before == ("body",)
    assert structure.through == {}


def test_layers_that_can_be_measured() -> None:
    class Owner(nn.Module):
        """A parameter of its own beside layers."""

        def __init__(self) -> None:
            super().__init__()
            self.factor = nn.Parameter(torch.ones(3, 1, 1))
            self.first, self.second = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)
            self.normed = parametrizations.weight_norm(nn.Conv2d(3, 3, 1))
            self.pruned = prune.l1_unstructured(nn.Conv2d(3, 3, 1), "weight", 2)
            self.tied, self.twin = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)
            self.twin.weight = self.tied.weight

    assert list(measurable_layers(Owner(), biases=True)) == ["first", "second"]
    assert list(measurable_layers(Owner(), biases=False)["first"]) == ["weight"]


def test_logits_without_a_layer() -> None:
    class Constant(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Conv2d(3, 3, 1)

        def forward(self, images: Tensor) -> Tensor:
            return images * 2

    with pytest.raises(UnsupportedModelError):
        structure_of(Constant().eval())
