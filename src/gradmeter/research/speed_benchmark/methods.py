"""The compared methods: plain passes, gradmeter, and other ways to compute per-sample gradient statistics."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from gradmeter.reading.meter import GradientMeter
from gradmeter.research.speed_benchmark.reduction import eight_statistics, own_parameters, whole_norm

Run = Callable[[Tensor], Tensor | None]
"""Processes a batch; returns the Euclidean norm of each sample's whole gradient, [N], or None."""


@dataclass(frozen=True)
class Prepared:
    """A method that is ready to run.

    Attributes:
        run: processes a batch.
        note: what the preparation decided, for the page.
        calls: number of calls of `run` in one measurement, whose time is their mean.
    """

    run: Run
    note: str = ""
    calls: int = 1


@dataclass(frozen=True)
class Method:
    """One way to process a batch.

    Attributes:
        title: name on the page and in figures.
        kind: "plain" for passes without statistics, "gradmeter", "peer", or "verdict".
        prepare: maps a network, which it may change, and the inputs to what is timed; a module-level function,
            since measurements run in separate processes.
        delivers: what it computes for each sample.
        distribution: the package it needs beyond gradmeter's dependencies; None for no package.
    """

    title: str
    kind: str
    prepare: Callable[[nn.Module, Tensor], Prepared]
    delivers: str
    distribution: str | None = None


def predicted_loss(logits: Tensor) -> Tensor:
    """Return -log p of the predicted class, summed over the samples; gradmeter reads the gradients of the same loss."""
    return F.cross_entropy(logits, logits.argmax(1), reduction="sum")


def _plain(network: nn.Module, inputs: Tensor) -> Prepared:
    def run(batch: Tensor) -> None:
        network.zero_grad()
        predicted_loss(network(batch)).backward()

    return Prepared(run)


def _best_plain(network: nn.Module, inputs: Tensor) -> Prepared:
    """Time both memory orders and tile sizes that halve at each step on the given inputs, and keep the fastest."""

    def tiled(channels_last: bool, tile: int) -> Run:
        def run(batch: Tensor) -> None:
            network.zero_grad()
            for part in (_channels_last(batch) if channels_last else batch).split(tile):
                predicted_loss(network(part)).backward()

        return run

    tiles = [max(1, len(inputs) >> halvings) for halvings in range(min(10, len(inputs).bit_length()))]
    trials: list[tuple[float, bool, int]] = []
    for channels_last in (True, False) if inputs.dim() == 4 else (False,):
        _arrange(network, channels_last)
        trials += [(_fastest(tiled(channels_last, tile), inputs), channels_last, tile) for tile in tiles]
    _, channels_last, tile = min(trials)
    _arrange(network, channels_last)
    return Prepared(tiled(channels_last, tile), f"tiles of {tile}{', channels_last' if channels_last else ''}")


def _arrange(network: nn.Module, channels_last: bool) -> None:
    order = torch.channels_last if channels_last else torch.contiguous_format
    for parameter in network.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=order)


def _channels_last(images: Tensor) -> Tensor:
    images = images.contiguous(memory_format=torch.channels_last)
    if images.shape[1] == 1:
        # With one channel both orders have the same memory layout; convolutions tell them apart by the strides.
        height, width = images.shape[2:]
        images = images.as_strided(images.shape, (height * width, 1, width, 1))
    return images


def _fastest(run: Run, inputs: Tensor) -> float:
    seconds = []
    for _ in range(2):
        start = time.perf_counter()
        run(inputs)
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def _forward(network: nn.Module, inputs: Tensor) -> Prepared:
    def run(batch: Tensor) -> None:
        with torch.no_grad():
            network(batch)

    return Prepared(run)


def _gradmeter(network: nn.Module, inputs: Tensor) -> Prepared:
    meter = GradientMeter(network)
    return Prepared(lambda batch: meter(batch)["all", "l2"])


def _loop(network: nn.Module, inputs: Tensor) -> Prepared:
    def run(batch: Tensor) -> Tensor:
        rows = []
        for sample in batch.split(1):
            network.zero_grad()
            predicted_loss(network(sample)).backward()
            rows.append(eight_statistics({name: g.unsqueeze(0) for name, g in _gradients(network, "grad")}))
        return whole_norm(torch.cat(rows))

    return Prepared(run)


def _vmap(network: nn.Module, inputs: Tensor) -> Prepared:
    parameters = {name: parameter.detach() for name, parameter in network.named_parameters()}

    def loss(values: dict[str, Tensor], sample: Tensor) -> Tensor:
        return predicted_loss(functional_call(network, values, (sample.unsqueeze(0),)))

    per_sample = vmap(grad(loss), in_dims=(None, 0))
    return Prepared(lambda batch: whole_norm(eight_statistics(per_sample(parameters, batch))))


def _opacus(network: nn.Module, inputs: Tensor) -> Prepared:
    from opacus.grad_sample import GradSampleModule

    _out_of_place(network)
    for module in network.modules():
        # Opacus records activations in train mode only; dropout, which owns no parameters, stays in eval mode.
        module.training = next(module.parameters(recurse=False), None) is not None
    wrapped = GradSampleModule(network, loss_reduction="sum")

    def run(batch: Tensor) -> Tensor:
        wrapped.zero_grad()
        predicted_loss(wrapped(batch)).backward()
        return whole_norm(eight_statistics(_pop_gradients(network, "grad_sample")))

    return Prepared(run)


def _backpack(network: nn.Module, inputs: Tensor) -> Prepared:
    from backpack import backpack, extend
    from backpack.extensions import BatchGrad

    _out_of_place(network)
    try:
        extended, note = extend(network, use_converter=True), "converted to its own layers"
    except Exception:  # the converter handles few networks and raises many kinds of errors for the others
        extended, note = extend(network), ""
    loss = extend(nn.CrossEntropyLoss(reduction="sum"))

    def run(batch: Tensor) -> Tensor:
        extended.zero_grad()
        logits = extended(batch)
        with backpack(BatchGrad()):
            loss(logits, logits.argmax(1)).backward()
        return whole_norm(eight_statistics(_pop_gradients(extended, "grad_batch")))

    return Prepared(run, note)


def _gradient_metrics(network: nn.Module, inputs: Tensor) -> Prepared:
    from gradient_metrics import GradientMetricCollector
    from gradient_metrics.metrics import Max, MeanStd, Min, PNorm

    targets = [*own_parameters(network).values(), list(network.parameters())]
    per_target = [
        [PNorm(target, p=2), PNorm(target, p=1), Min(target), Max(target), MeanStd(target)] for target in targets
    ]
    collector = GradientMetricCollector([metric for metrics in per_target for metric in metrics])
    width = 6  # statistics of each target: two norms, minimum, maximum, mean and standard deviation

    def run(batch: Tensor) -> Tensor:
        logits = network(batch)
        statistics: Tensor = collector(F.cross_entropy(logits, logits.argmax(1), reduction="none"))
        return statistics[:, -width].detach()

    return Prepared(run)


def _grad_uncertainty(network: nn.Module, inputs: Tensor) -> Prepared:
    from pytorch_ood.detector import GradUncertainty

    return _scored(GradUncertainty(network).predict)


def _gradnorm(network: nn.Module, inputs: Tensor) -> Prepared:
    from pytorch_ood.detector import GradNorm

    return _scored(GradNorm(network).predict)


def _scored(predict: Callable[[Tensor], Tensor]) -> Prepared:
    def run(batch: Tensor) -> None:
        predict(batch)

    return Prepared(run)


def _out_of_place(network: nn.Module) -> None:
    """Make activations keep their input: packages with hooks on every layer fail where activations overwrite it."""
    for module in network.modules():
        if getattr(module, "inplace", False):
            setattr(module, "inplace", False)  # noqa: B010 (the type checker allows only tensors and modules as attributes)


def _gradients(network: nn.Module, attribute: str) -> Iterator[tuple[str, Tensor]]:
    for name, parameter in network.named_parameters():
        gradient = getattr(parameter, attribute, None)
        if gradient is None:
            raise LookupError(f"no gradient for {name}")
        yield name, gradient


def _pop_gradients(network: nn.Module, attribute: str) -> dict[str, Tensor]:
    """Remove the per-sample gradients that a package stored on the parameters, and return them by parameter name."""
    gradients = dict(_gradients(network, attribute))
    for parameter in network.parameters():
        delattr(parameter, attribute)
    return gradients


_EIGHT_STATISTICS = "8 statistics per layer"

METHODS: dict[str, Method] = {
    "plain": Method("plain forward + backward (T0)", "plain", _plain, "-"),
    "best-plain": Method("best T0: the same, tiled", "plain", _best_plain, "-"),
    "forward": Method("forward only", "plain", _forward, "-"),
    "gradmeter": Method("gradmeter", "gradmeter", _gradmeter, _EIGHT_STATISTICS),
    "loop": Method("batch-1 loop", "peer", _loop, _EIGHT_STATISTICS),
    "vmap": Method("torch.func vmap(grad)", "peer", _vmap, _EIGHT_STATISTICS),
    "opacus": Method("Opacus", "peer", _opacus, _EIGHT_STATISTICS, "opacus"),
    "backpack": Method("BackPACK", "peer", _backpack, _EIGHT_STATISTICS, "backpack-for-pytorch"),
    "gradient-metrics": Method(
        "gradient-metrics", "peer", _gradient_metrics, "6 statistics per layer", "gradient-metrics"
    ),
    "grad-uncertainty": Method(
        "pytorch-ood GradUncertainty", "peer", _grad_uncertainty, "1 number, another loss", "pytorch-ood"
    ),
    "gradnorm": Method("pytorch-ood GradNorm", "peer", _gradnorm, "1 number, another loss", "pytorch-ood"),
}
"""Methods by their name in `--methods`, in the order of the page."""

# gradient-metrics has no release for Python 3.12 or newer.
_NOT_INSTALLABLE = () if sys.version_info < (3, 12) else ("gradient-metrics",)
ALL_METHODS = tuple(name for name in METHODS if name not in _NOT_INSTALLABLE)
"""Names of all methods that this version of Python can run."""

REFERENCE = "plain"
"""The method that times and memory are divided by."""
