"""Check the rules on small networks, entry by entry, against the gradients of each sample alone."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from gradmeter.reading.layers import Contributions
from gradmeter.reading.layers.gradients import PerSampleGradient
from gradmeter.reading.statistics import PowerSums, statistics
from oracles.moments import assert_agree, eight
from oracles.networks import Recipe, randomise
from reading.capture.passes import Pass, each_alone

Use = tuple[Callable[[Any, Tensor], Tensor], Tensor, Mapping[str, Any]]
"""A recipe, its input and its members."""

DIGITS = {torch.float64: {"norms": 1e-11, "shapes": 1e-9}, torch.float32: {"norms": 1e-6, "shapes": 1e-5}}


class Collected(Contributions):
    """Keeps every contribution for comparison.

    Attributes:
        uses: the contributions, by parameter.
        gradients: [N, *parameter.shape] by parameter.
    """

    def __init__(self, walk: Pass) -> None:
        plan = replace(walk.plan(), keep=True)
        super().__init__(walk.graph, plan, walk.calls, len(walk.out))
        self.uses: dict[str, list[PerSampleGradient]] = {}
        walk.propagate(plan, self.receive)
        self.finish()
        whole = slice(0, len(walk.out))
        self.gradients = {
            name: torch.stack([use.materialise(whole) for use in uses]).sum(0) for name, uses in self.uses.items()
        }

    @property
    def forms(self) -> dict[str, list[str]]:
        return {name: [type(use).__name__ for use in uses] for name, uses in self.uses.items()}

    def _add(self, name: str, gradient: PerSampleGradient) -> None:
        self.uses.setdefault(name, []).append(gradient)
        super()._add(name, gradient)


def built(use: Use) -> tuple[nn.Module, Tensor]:
    """A network and its input."""
    recipe, x, members = use
    return randomise(Recipe(recipe, **members).double()), x


def check(
    model: nn.Module, x: Tensor, *, norms: float = 1e-11, shapes: float = 1e-9, device: torch.device | str = "cpu"
) -> dict[str, list[str]]:
    """Compare entries and statistics of every parameter's gradient with the oracle.

    Returns:
        The classes of each parameter's contributions.
    """
    model, x = model.to(device), x.to(device)
    walk = Pass.of(model, x)
    collected = Collected(walk)
    expected = each_alone(model, x, walk.direction)
    assert collected.gradients.keys() == collected.sums.keys() == expected.keys()
    for name, gradient in expected.items():
        actual = collected.gradients[name].cpu()
        assert actual.shape == gradient.shape
        largest = gradient.abs().max().item()
        torch.testing.assert_close(
            actual.double(),
            gradient,
            rtol=0,
            atol=norms * largest,
            msg=lambda message: f"{name}: {message}",  # noqa: B023
        )
        assert_sums(collected.sums[name], gradient, norms=norms, shapes=shapes)
    return collected.forms


def assert_sums(sums: PowerSums, gradient: Tensor, *, norms: float, shapes: float) -> None:
    """Compare power sums with a gradient [N, ...]."""
    assert sums.count == gradient[0].numel()
    assert_agree(statistics(sums).cpu(), eight(gradient.detach().double().numpy()), norms=norms, shapes=shapes)
