"""The eight statistics of per-sample gradients in memory, as a user of another package would compute them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from gradmeter.reading.statistics import METRICS, PowerSums, statistics_of_each

_BLOCK = 2**18  # entries


def eight_statistics(gradients: Mapping[str, Tensor]) -> Tensor:
    """Return the eight statistics of every layer and, last, of the whole network.

    Each sum is one PyTorch operation in the precision of the gradients, which is faster and less exact than gradmeter.

    Args:
        gradients: per-sample gradients [N, *shape] by parameter name.

    Returns:
        [N, layers + 1, 8] float64; a layer is a module that owns parameters.
    """
    layers: dict[str, list[PowerSums]] = {}
    for name, gradient in gradients.items():
        layers.setdefault(name.rpartition(".")[0], []).append(_power_sums(gradient.detach().flatten(1)))
    merged = [PowerSums.merge(groups) for groups in layers.values()]
    return statistics_of_each([*merged, PowerSums.merge(merged)])


def whole_norm(values: Tensor) -> Tensor:
    """Return the Euclidean norm of the whole gradient, [N], from the result of `eight_statistics`."""
    return values[:, -1, METRICS.index("l2")]


def own_parameters(network: nn.Module) -> dict[str, list[nn.Parameter]]:
    """Return the parameters of every layer that owns some, by layer name."""
    layers = {name: list(module.parameters(recurse=False)) for name, module in network.named_modules()}
    return {name: parameters for name, parameters in layers.items() if parameters}


def _power_sums(gradients: Tensor) -> PowerSums:
    """Sum over blocks that fit the cache: temporaries as large as the gradients would take twice as long."""
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
