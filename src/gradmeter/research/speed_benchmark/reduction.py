"""The eight statistics of per-sample gradients held in memory, as a user of another package would take them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from gradmeter.reading.statistics import METRICS, PowerSums, statistics_of_each

_BLOCK = 2**18  # entries


def eight_statistics(gradients: Mapping[str, Tensor]) -> Tensor:
    """The eight statistics of every layer and, last, of the whole network.

    Sums are taken in the gradients' own precision, a single pass of PyTorch each: faster, and less exact, than what
    gradmeter does.

    Args:
        gradients: per parameter name the gradients [N, *shape].

    Returns:
        [N, layers + 1, 8] float64; a layer is the module that owns its parameters.
    """
    layers: dict[str, list[PowerSums]] = {}
    for name, gradient in gradients.items():
        layers.setdefault(name.rpartition(".")[0], []).append(_power_sums(gradient.detach().flatten(1)))
    merged = [PowerSums.merge(groups) for groups in layers.values()]
    return statistics_of_each([*merged, PowerSums.merge(merged)])


def whole_norm(values: Tensor) -> Tensor:
    """[N], the Euclidean norm of the whole gradient, from what `eight_statistics` returns."""
    return values[:, -1, METRICS.index("l2")]


def own_parameters(network: nn.Module) -> dict[str, list[nn.Parameter]]:
    """The parameters of every layer that owns some."""
    own = {name: list(module.parameters(recurse=False)) for name, module in network.named_modules()}
    return {name: parameters for name, parameters in own.items() if parameters}


def _power_sums(gradients: Tensor) -> PowerSums:
    """Sums over blocks that stay in cache: temporaries as large as the gradients would cost twice the time."""
    blocks = [_block(g) for g in gradients.split(max(1, _BLOCK // len(gradients)), dim=1)]
    sums, minima, maxima = (torch.stack(parts) for parts in zip(*blocks, strict=True))
    extremes = [minima.amin(0).unsqueeze(1), maxima.amax(0).unsqueeze(1)]
    return PowerSums(gradients.shape[1], torch.cat([sums.double().sum(0), *extremes], dim=1))


def _block(g: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    square = g * g
    minimum, maximum = torch.aminmax(g, dim=1)
    sums = [
        g.sum(1),
        square.sum(1),
        torch.linalg.vecdot(square, g),
        torch.linalg.vecdot(square, square),
        torch.linalg.vector_norm(g, ord=1, dim=1),
    ]
    return torch.stack(sums, dim=1), minimum, maximum
