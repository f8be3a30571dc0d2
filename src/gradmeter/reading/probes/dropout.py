"""Monte Carlo dropout: how much the answer hangs on single units (Gal and Ghahramani 2016)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from gradmeter.reading.inputs import Inputs
from gradmeter.reading.network import answer


def mc_dropout(passes: int = 8, seed: int = 0) -> Callable[[nn.Module, Inputs, Tensor], dict[str, Tensor]]:
    """A probe that gives "mc_entropy" of the mean answer and "mc_information", the mutual information, in nats.

    Both grow with doubt; the information is 0 for a network without dropout. The random draws of a batch depend on how
    it was cut.

    Args:
        passes: thinned networks that are asked.
        seed: of their random draws.
    """

    def probe(network: nn.Module, inputs: Inputs, logits: Tensor) -> dict[str, Tensor]:
        devices = [logits.device] if logits.is_cuda else []
        with torch.no_grad(), torch.random.fork_rng(devices), _dropping(network) as layers:
            torch.manual_seed(seed)
            answers = [answer(network, inputs) for _ in range(passes)] if layers else [logits.detach()]
        log_p = torch.log_softmax(torch.stack(answers).double(), dim=2)
        mean = log_p.exp().mean(0)
        entropy = -torch.special.xlogy(mean, mean).sum(1)
        inner = -(log_p.exp() * log_p).sum(2).mean(0)
        return {"mc_entropy": entropy, "mc_information": (entropy - inner).clamp_min(0)}

    return probe


@contextmanager
def _dropping(network: nn.Module) -> Iterator[list[nn.Module]]:
    """The dropout layers, which are at work until the block ends."""
    layers = [module for module in network.modules() if _drops(module)]
    for layer in layers:
        layer.training = True
    try:
        yield layers
    finally:
        for layer in layers:
            layer.training = False


def _drops(module: nn.Module) -> bool:
    """PyTorch's layers, and those that other libraries name after them."""
    return isinstance(module, _DropoutNd) or type(module).__name__.endswith("Dropout")
