"""What the callbacks for trainers log after each validation: gradient statistics of each layer, and P(correct)."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import chain, islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.parameter import is_lazy

from gradmeter.errors import InputError, warn
from gradmeter.reading.meter import GradientMeter
from gradmeter.reading.network import NotFinite, eval_mode, modules_of
from gradmeter.reading.readings import Readings
from gradmeter.reading.statistics import STATISTICS
from gradmeter.trust.data import read_known
from gradmeter.trust.judge import Judge
from gradmeter.trust.ranking import auroc_within_folds
from gradmeter.trust.two_heads import LEAST_KNOWN

# Where the methods `train` that only set the mode are defined; the networks of transformers have one of their own.
_PLAIN_TRAIN = (nn.Module.train.__module__, "transformers.modeling_utils")


def require_metrics(metrics: Sequence[str]) -> tuple[str, ...]:
    """Return names of gradient statistics as a tuple.

    Raises:
        InputError: if one is unknown, or `metrics` is no sequence of names.
    """
    if isinstance(metrics, str):
        raise InputError(f"metrics={metrics!r}; expected a sequence, as in metrics=[{metrics!r}]")
    if unknown := [name for name in metrics if name not in STATISTICS]:
        raise InputError(f"metrics have {unknown[0]!r}; expected {', '.join(STATISTICS)}")
    return tuple(metrics)


def require_loader(loader: Any) -> Iterable[Any]:
    """Return a loader that can be iterated after each validation.

    Raises:
        InputError: if it cannot be iterated, or only once: training would fail at the first or the second validation.
    """
    if not (isinstance(loader, Iterable) or hasattr(loader, "__getitem__")):
        raise InputError(f"the loader is a {type(loader).__name__}; expected batches, such as a DataLoader")
    if isinstance(loader, Iterator):
        raise InputError(
            f"the loader is a {type(loader).__name__}, which can be iterated once; expected one for each validation, "
            "such as a DataLoader or a list"
        )
    iterable: Iterable[Any] = loader
    return iterable


def require_measurable(network: nn.Module, loader: Iterable[Any], move: Callable[[Any], Any]) -> None:
    """Measure the first batch before training, which would otherwise fail after its first epoch.

    Nothing is measured where that could change the training, or fail although a later measurement would not: if the
    first batch builds the network, if a module does more to change its mode than PyTorch's own do, or if the loader
    keeps its workers.

    Args:
        network: as for `validation_numbers`, as are the others.
        loader: batches.
        move: returns a batch on the network's device.

    Raises:
        Those of `validation_numbers`.
    """
    changes_more = any(type(module).train.__module__ not in _PLAIN_TRAIN for module in network.modules())
    is_built = not any(map(is_lazy, chain(network.parameters(), network.buffers())))
    if changes_more or not is_built or getattr(loader, "persistent_workers", False):
        return
    with _randomness_restored(loader), eval_mode(modules_of(network)), suppress(NotFinite):
        read_known(_meter(network), map(move, islice(loader, 1)))


def validation_numbers(
    network: nn.Module, loader: Iterable[Any], metrics: Sequence[str], move: Callable[[Any], Any]
) -> dict[str, float]:
    """Return what the network's gradients and a meta classifier say about validation data.

    The network, its gradients and the random generators of PyTorch's CPU, NumPy, Python and the loader are left as they
    were.

    Args:
        network: maps a batch to logits [N, C].
        loader: batches, as for `TrustModel.fit`.
        metrics: names of gradient statistics.
        move: returns a batch on the network's device.

    Returns:
        "accuracy"; for each statistic and layer, "METRIC/LAYER", the mean over the samples, "METRIC_right/LAYER" and
        "METRIC_wrong/LAYER", the means over right and over wrong predictions, for the gradient of the predicted class;
        "auroc/softmax" and "auroc/gradient", how well 1 - the softmax and the norm of the whole gradient tell wrong
        predictions from right ones; and if at least 50 different inputs are predicted right, "auroc/p_correct" and
        "p_correct", "p_correct_right" and "p_correct_wrong", the means of P(correct) on held-out folds of these data. A
        mean or AUROC without samples is left out; everything is, with a warning, if the network's outputs are not
        finite.

    Raises:
        Those of `GradientMeter` and `TrustModel.fit` for networks, batches and labels.
    """
    with _randomness_restored(loader):
        try:
            # The loader is iterated here, because that draws random numbers.
            data, labels = read_known(_meter(network), map(move, loader))
        except NotFinite as error:
            warn(f"gradmeter logs nothing after this validation: {error}")
            return {}
        correct = (data.readings.predictions.cpu() == labels).numpy()
        numbers = {"accuracy": float(correct.mean()), **_gradient_means(data.readings, correct, metrics)}
        doubts = {"softmax": data.readings.log_scale, "gradient": data.readings["all", "l2"]}
        aurocs = {name: _auroc(values.double().cpu().numpy(), correct) for name, values in doubts.items()}
        if np.unique(data.contents[correct]).size >= LEAST_KNOWN:
            # Each sample is judged by a meta classifier that was fitted to others.
            judge = Judge.fit(data.readings, labels, contents=data.contents)
            numbers |= _means("p_correct", "", judge.held_out.p_correct, correct)
            aurocs["p_correct"] = _auroc(-judge.held_out.p_correct, correct, judge.folds)
    return numbers | {f"auroc/{name}": auroc for name, auroc in aurocs.items() if auroc is not None}


def _meter(network: nn.Module) -> GradientMeter:
    return GradientMeter(network).for_trust_model(second_look=None)


@contextmanager
def _randomness_restored(loader: Iterable[Any]) -> Iterator[None]:
    """Restore the random generators that a loader may use in this process; `GradientMeter` restores others."""
    # NumPy's global generator is the one that transforms use.
    states = random.getstate(), np.random.get_state()  # noqa: NPY002
    # The training's loader may have the same generators.
    own = {generator: generator.get_state() for generator in _generators(loader)}
    with torch.random.fork_rng(devices=[]):
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])  # noqa: NPY002
            for generator, state in own.items():
                generator.set_state(state)


def _generators(place: Any) -> Iterator[torch.Generator]:
    """Yield the generators of a loader, its samplers and theirs."""
    if isinstance(generator := getattr(place, "generator", None), torch.Generator):
        yield generator
    for name in ("sampler", "batch_sampler"):
        if (further := getattr(place, name, None)) is not None:
            yield from _generators(further)


def _gradient_means(readings: Readings, correct: NDArray[np.bool_], metrics: Sequence[str]) -> dict[str, float]:
    means: dict[str, float] = {}
    for metric in metrics:
        for layer in readings.layers:
            means |= _means(metric, f"/{layer}", readings[layer, metric].double().cpu().numpy(), correct)
    return means


def _means(name: str, ending: str, values: NDArray[np.float64], correct: NDArray[np.bool_]) -> dict[str, float]:
    """Return the means over all, right and wrong predictions; those without a prediction are left out."""
    parts = {"": values, "_right": values[correct], "_wrong": values[~correct]}
    return {f"{name}{part}{ending}": float(chosen.mean()) for part, chosen in parts.items() if len(chosen)}


def _auroc(
    doubt: NDArray[np.float64], correct: NDArray[np.bool_], folds: NDArray[np.int64] | None = None
) -> float | None:
    """Return the AUROC of wrong predictions, within folds; None if all predictions are right, or all are wrong."""
    if correct.all() or not correct.any():
        return None
    return auroc_within_folds(doubt, ~correct, np.zeros(len(correct), np.int64) if folds is None else folds)
