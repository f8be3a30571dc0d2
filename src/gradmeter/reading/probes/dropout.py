"""Monte Carlo dropout: the uncertainty of predictions under dropout (Gal and Ghahramani 2016)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd
from torch.utils.hooks import RemovableHandle

from gradmeter.reading.inputs import Inputs
from gradmeter.reading.network import answer

# The information is a difference of entropies, which are exact to about 1e-15. A judge that learns from a column of
# rounding errors depends on the size of the batch.
_ROUNDING = 1e-12


# Layers that multiply their input by random numbers. Others, such as AlphaDropout, may also add some.
_MULTIPLYING = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)


def mc_dropout(passes: int = 8, seed: int = 0) -> Callable[[nn.Module, Inputs, Tensor], dict[str, Tensor]]:
    """A probe that returns "mc_entropy", the entropy of the mean softmax, and "mc_information", the mutual information.

    Both are in nats and grow with uncertainty; the information is 0 for a network without dropout. In each pass all
    samples are thinned by the same random numbers, so that the scores of one do not depend on the others in the batch.
    A network answers one sample at a time, which is slower, if its dropout layers have the samples along another axis
    than the first, or are not PyTorch's `Dropout`, `Dropout1d`, `Dropout2d` or `Dropout3d`.

    Args:
        passes: number of forward passes with dropout.
        seed: seed of the random numbers.
    """

    def probe(network: nn.Module, inputs: Inputs, logits: Tensor) -> dict[str, Tensor]:
        devices = [logits.device] if logits.is_cuda else []
        with torch.no_grad(), torch.random.fork_rng(devices), _dropout_enabled(network) as layers:

            def answers(batch: Inputs) -> Tensor:
                torch.manual_seed(seed)
                return torch.stack([answer(network, batch) for _ in range(passes)])

            if not layers:
                outputs = logits.detach()[None]
            elif _have_samples_first(network, inputs, layers):
                with _same_for_all_samples(layers):
                    outputs = answers(inputs)
            else:
                outputs = torch.cat([answers(inputs.rows([row])) for row in range(inputs.samples)], dim=1)
        log_p = torch.log_softmax(outputs.double(), dim=2)
        mean = log_p.exp().mean(0)
        entropy = -torch.special.xlogy(mean, mean).sum(1)
        mean_entropy = -(log_p.exp() * log_p).sum(2).mean(0)
        information = entropy - mean_entropy
        return {"mc_entropy": entropy, "mc_information": information.where(information > _ROUNDING, 0.0)}

    return probe


def _have_samples_first(network: nn.Module, inputs: Inputs, layers: list[nn.Module]) -> bool:
    """Whether all layers multiply, and have one row for one sample and two for two."""
    if not all(type(layer) in _MULTIPLYING for layer in layers):
        return False
    rows: list[int] = []

    def count(layer: nn.Module, given: tuple[Any, ...]) -> None:
        rows.append(len(given[0]) if given else 0)  # 0 if the input has a keyword

    with _hooked(layer.register_forward_pre_hook(count) for layer in layers):
        for samples in (1, 2):
            rows.clear()
            answer(network, inputs.rows([0] * samples))
            if set(rows) - {samples}:
                return False
    return True


@contextmanager
def _same_for_all_samples(layers: list[nn.Module]) -> Iterator[None]:
    """Let layers multiply all samples by the same random numbers inside the block."""
    given: list[Tensor] = []

    def before(layer: nn.Module, inputs: tuple[Tensor]) -> Tensor:
        given.append(inputs[0])
        return torch.ones_like(inputs[0][:1])

    def after(layer: nn.Module, inputs: tuple[Tensor], factors: Tensor) -> Tensor:
        return given.pop() * factors

    hooks = [layer.register_forward_pre_hook(before) for layer in layers]
    hooks += [layer.register_forward_hook(after, prepend=True) for layer in layers]
    with _hooked(hooks):
        yield


@contextmanager
def _hooked(hooks: Iterable[RemovableHandle]) -> Iterator[None]:
    """Remove hooks after the block."""
    registered = [*hooks]
    try:
        yield
    finally:
        for hook in registered:
            hook.remove()


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
