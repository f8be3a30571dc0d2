"""Monte Carlo dropout: the uncertainty of predictions under dropout (Gal and Ghahramani 2016)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from gradmeter.reading.inputs import Inputs
from gradmeter.reading.network import answer

# The information is a difference of entropies, which are exact to about 1e-15. A judge that learns from a column of
# rounding errors depends on the size of the batch.
_ROUNDING = 1e-12


def mc_dropout(passes: int = 8, seed: int = 0) -> Callable[[nn.Module, Inputs, Tensor], dict[str, Tensor]]:
    """A probe that returns "mc_entropy", the entropy of the mean softmax, and "mc_information", the mutual information.

    Both are in nats and grow with uncertainty; the information is 0 for a network without dropout. They depend on the
    tile size, because the random numbers of a sample do.

    Args:
        passes: number of forward passes with dropout.
        seed: seed of the random numbers.
    """

    def probe(network: nn.Module, inputs: Inputs, logits: Tensor) -> dict[str, Tensor]:
        devices = [logits.device] if logits.is_cuda else []
        with torch.no_grad(), torch.random.fork_rng(devices), _dropout_enabled(network) as layers:
            torch.manual_seed(seed)
            outputs = [answer(network, inputs) for _ in range(passes)] if layers else [logits.detach()]
        log_p = torch.log_softmax(torch.stack(outputs).double(), dim=2)
        mean = log_p.exp().mean(0)
        entropy = -torch.special.xlogy(mean, mean).sum(1)
        mean_entropy = -(log_p.exp() * log_p).sum(2).mean(0)
        information = entropy - mean_entropy
        return {"mc_entropy": entropy, "mc_information": information.where(information > _ROUNDING, 0.0)}

    return probe


@contextmanager
def _dropout_enabled(network: nn.Module) -> Iterator[list[nn.Module]]:
    """Enable the dropout layers inside the block; yields these layers."""
    layers = [module for module in network.modules() if _is_dropout(module)]
    for layer in layers:
        layer.training = True
    try:
        yield layers
    finally:
        for layer in layers:
            layer.training = False


def _is_dropout(module: nn.Module) -> bool:
    """Whether a module is a dropout layer of PyTorch, or is named like one in another library."""
    return isinstance(module, _DropoutNd) or type(module).__name__.endswith("Dropout")
