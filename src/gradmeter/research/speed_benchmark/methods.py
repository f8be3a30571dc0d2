"""The ways to gradient statistics that are compared: plain passes, gradmeter, and what else there is."""

from __future__ import annotations

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
"""Handles a batch; returns the Euclidean norm of each sample's whole gradient [N] where the method tells it."""


@dataclass(frozen=True)
class Prepared:
    """A method that is ready to run.

    Attributes:
        run: handles a batch.
        note: what the preparation decided, for the page.
        calls: how often a measurement calls `run`; its time is the mean of them.
    """

    run: Run
    note: str = ""
    calls: int = 1


@dataclass(frozen=True)
class Method:
    """One way to handle a batch.

    Attributes:
        title: its name for people.
        kind: "plain" passes deliver no statistics; "gradmeter"; "peer".
        prepare: from a network of its own and the inputs to what is timed; a function of a module, since
            measurements run in processes of their own.
        delivers: what it tells about each sample.
        distribution: the package that it needs beyond gradmeter's own.
    """

    title: str
    kind: str
    prepare: Callable[[nn.Module, Tensor], Prepared]
    delivers: str
    distribution: str | None = None


def predicted_loss(logits: Tensor) -> Tensor:
    """-log p of the predicted class, summed over the samples: each sample's gradient is what gradmeter reads."""
    return F.cross_entropy(logits, logits.argmax(1), reduction="sum")


def _plain(network: nn.Module, inputs: Tensor) -> Prepared:
    def run(batch: Tensor) -> None:
        network.zero_grad()
        predicted_loss(network(batch)).backward()

    return Prepared(run)


def _best_plain(network: nn.Module, inputs: Tensor) -> Prepared:
    """Try memory orders and tiles, half as large every time, on the very inputs; keep the fastest."""

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
        # With one channel both orders are the same memory; only the strides tell convolutions which is meant.
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
        # It takes notes in train mode only; dropout, which owns no parameter, stays off.
        module.training = next(module.parameters(recurse=False), None) is not None
    wrapped = GradSampleModule(network, loss_reduction="sum")

    def run(batch: Tensor) -> Tensor:
        wrapped.zero_grad()
        predicted_loss(wrapped(batch)).backward()
        return whole_norm(eight_statistics(_taken(network, "grad_sample")))

    return Prepared(run)


def _backpack(network: nn.Module, inputs: Tensor) -> Prepared:
    from backpack import backpack, extend
    from backpack.extensions import BatchGrad

    _out_of_place(network)
    try:
        extended, note = extend(network, use_converter=True), "converted to its own layers"
    except Exception:  # its converter handles few networks, and says so in many ways
        extended, note = extend(network), ""
    loss = extend(nn.CrossEntropyLoss(reduction="sum"))

    def run(batch: Tensor) -> Tensor:
        extended.zero_grad()
        logits = extended(batch)
        with backpack(BatchGrad()):
            loss(logits, logits.argmax(1)).backward()
        return whole_norm(eight_statistics(_taken(extended, "grad_batch")))

    return Prepared(run, note)


def _gradient_metrics(network: nn.Module, inputs: Tensor) -> Prepared:
    from gradient_metrics import GradientMetricCollector
    from gradient_metrics.metrics import Max, MeanStd, Min, PNorm

    targets = [*own_parameters(network).values(), list(network.parameters())]
    per_target = [
        [PNorm(target, p=2), PNorm(target, p=1), Min(target), Max(target), MeanStd(target)] for target in targets
    ]
    collector = GradientMetricCollector([metric for metrics in per_target for metric in metrics])
    width = 6  # numbers of a target: the two norms, the extremes, mean and deviation

    def run(batch: Tensor) -> Tensor:
        logits = network(batch)
        found: Tensor = collector(F.cross_entropy(logits, logits.argmax(1), reduction="none"))
        return found[:, -width].detach()

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
    """Packages that hang hooks on every layer cannot work with activations that overwrite their input."""
    for module in network.modules():
        if getattr(module, "inplace", False):
            setattr(module, "inplace", False)  # noqa: B010 (to the type checker an attribute is a tensor or a module)


def _gradients(network: nn.Module, attribute: str) -> Iterator[tuple[str, Tensor]]:
    for name, parameter in network.named_parameters():
        gradient = getattr(parameter, attribute, None)
        if gradient is None:
            raise LookupError(f"no gradient for {name}")
        yield name, gradient


def _taken(network: nn.Module, attribute: str) -> dict[str, Tensor]:
    """The per-sample gradients that a package left on the parameters; they stay there no longer."""
    gradients = dict(_gradients(network, attribute))
    for parameter in network.parameters():
        delattr(parameter, attribute)
    return gradients


_EIGHT = "8 statistics per layer"

METHODS: dict[str, Method] = {
    "plain": Method("plain forward + backward (T0)", "plain", _plain, "-"),
    "best-plain": Method("best T0: the same, tiled", "plain", _best_plain, "-"),
    "forward": Method("forward only", "plain", _forward, "-"),
    "gradmeter": Method("gradmeter", "gradmeter", _gradmeter, _EIGHT),
    "loop": Method("batch-1 loop", "peer", _loop, _EIGHT),
    "vmap": Method("torch.func vmap(grad)", "peer", _vmap, _EIGHT),
    "opacus": Method("Opacus", "peer", _opacus, _EIGHT, "opacus"),
    "backpack": Method("BackPACK", "peer", _backpack, _EIGHT, "backpack-for-pytorch"),
    "gradient-metrics": Method(
        "gradient-metrics", "peer", _gradient_metrics, "6 statistics per layer", "gradient-metrics"
    ),
    "grad-uncertainty": Method(
        "pytorch-ood GradUncertainty", "peer", _grad_uncertainty, "1 number, another loss", "pytorch-ood"
    ),
    "gradnorm": Method("pytorch-ood GradNorm", "peer", _gradnorm, "1 number, another loss", "pytorch-ood"),
}
"""By the name that --methods takes, in the order of the page."""

REFERENCE = "plain"
"""The method whose time and memory are 1."""
