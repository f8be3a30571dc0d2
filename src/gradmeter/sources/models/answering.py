"""What a network answers, and in one line why it has no answer to what it was given."""

from __future__ import annotations

import math
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from gradmeter.errors import TRACEBACK, GradmeterError, InputError, one_line
from gradmeter.reading.inputs import Inputs
from gradmeter.reading.network import logits_of, measuring, owned_parameters, owning_modules, unwrapped
from gradmeter.sources.models.contained import contained
from gradmeter.sources.samples import ImageKind

_TEXTS = ("a", "a b")
# Attributes by which layers say what they take.
_WIDTHS = ("in_channels", "in_features", "num_embeddings", "num_features", "input_size")
_COLOURS = 3


class Answering(Protocol):
    """What is needed of a `Classifier`, whose attributes these are."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def network(self) -> nn.Module: ...  # noqa: D102
    @property
    def image(self) -> ImageKind | None: ...  # noqa: D102
    @property
    def batch(self) -> Callable[[Sequence[Any]], Tensor | Mapping[str, Tensor]]: ...  # noqa: D102


def trial_logits(classifier: Answering) -> Tensor:
    """Logits [2, C] for two images of noise, or two short texts: what fails for these fails for all.

    Raises:
        InputError: if the preprocessing or the network fails, or returns no logits.
        UnsupportedModelError: if the network has no gradient.
    """
    network = unwrapped(classifier.network)
    try:
        owned_parameters(network, biases=True)
        with explained(classifier):
            batch = classifier.batch(_samples(classifier))
        device = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
        inputs = Inputs.of(batch).map(lambda tensor: tensor.to(device))
        with explained(classifier, batch), measuring(network):
            return logits_of(network, inputs, {}).detach()
    except GradmeterError as error:
        raise type(error)(f"{classifier.name}: {error}") from error


def _samples(classifier: Answering) -> Sequence[Any]:
    if classifier.image is None:
        return _TEXTS
    # Noise: networks that normalise each image divide by zero where all of its pixels are the same.
    side, grey = classifier.image.side, classifier.image.mode == "L"
    shape = (2, side, side) if grey else (2, side, side, _COLOURS)
    return [Image.fromarray(image) for image in np.random.default_rng(0).integers(0, 256, shape, np.uint8)]


@contextmanager
def explained(classifier: Answering, batch: Any = None, samples: str = "") -> Iterator[None]:
    """Say in one line why the code of a classifier fails in this block, which is `contained`.

    Args:
        classifier: the network and its preprocessing.
        batch: what the network is called with; None where the preprocessing is called.
        samples: which ones the batch is made of, in words.

    Raises:
        InputError: what was given, what the network's layers take, and which option to try. The error that it was
            raised from is its cause.
    """
    try:
        with contained():
            yield
    except GradmeterError:
        raise
    except (Exception, SystemExit) as error:  # the network is the user's
        given = "the preprocessing" if batch is None else f"the network, given {_shapes(batch)}{samples},"
        reason = f"{given} failed with {type(error).__name__}: {one_line(error)}"
        if isinstance(error, MemoryError | torch.OutOfMemoryError):
            raise InputError(f"{reason}; give --device cpu, a smaller --image-size or a smaller network") from error
        sentences = [reason, *([] if batch is None else _layers(classifier.network, error)), _advice(classifier, batch)]
        raise InputError(f"{'; '.join(sentences)} ({TRACEBACK}=1 shows where)") from error


def _shapes(batch: Any) -> str:
    """Shape and type of each tensor of a batch."""
    if isinstance(batch, Tensor):
        return f"{_type_of(batch)} of shape {tuple(batch.shape)}"
    if isinstance(batch, Mapping):
        return ", ".join(f"{name} {_shapes(value)}" for name, value in batch.items())
    return type(batch).__name__


def _type_of(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _layers(network: nn.Module, error: BaseException) -> list[str]:
    """What the layers at which to look take: the one that failed, or the first one."""
    names = {module: name for name, module in owning_modules(network).items()}
    failed, given = None, None
    for frame, _ in traceback.walk_tb(error.__traceback__):
        module = frame.f_locals.get("self")
        if frame.f_code.co_name == "forward" and isinstance(module, nn.Module) and module in names:
            failed, given = module, next((one for one in frame.f_locals.values() if isinstance(one, Tensor)), None)
    if failed is not None and (taken := _taken(failed)):
        shape = "" if given is None else f" and was given {tuple(given.shape)}"
        return [f"its layer {names[failed]!r} ({type(failed).__name__}) has {taken}{shape}"]
    first = next(iter(names), None)
    if first is not None and (taken := _taken(first)):
        return [f"its first layer {names[first]!r} ({type(first).__name__}) has {taken}"]
    return []


def _taken(layer: nn.Module) -> str | None:
    width = next((attribute for attribute in _WIDTHS if isinstance(getattr(layer, attribute, None), int)), None)
    return None if width is None else f"{width}={getattr(layer, width)}"


def _advice(classifier: Answering, batch: Any) -> str:
    """Which option to try."""
    if classifier.image is None:
        return "expected a network for these texts: check MODEL and --weights"
    first = next(iter(owning_modules(classifier.network).values()), None)
    if isinstance(batch, Tensor) and batch.dim() == 4:
        channels = batch.shape[1]
        if (weight := next(classifier.network.parameters(), batch)).dtype != batch.dtype:
            return f"its weights are {_type_of(weight)}: let the function return network.float()"
        if isinstance(first, nn.Conv2d) and first.in_channels != channels:
            options = {1: "give --grey", _COLOURS: "leave --grey away"}
            return options.get(first.in_channels, "expected images of 3 channels, or of 1 with --grey")
        if isinstance(first, nn.Linear) and first.in_features != batch[0].numel():
            for count, option in ((1, " --grey"), (_COLOURS, "")):
                side = math.isqrt(first.in_features // count)
                if count * side * side == first.in_features:
                    return f"give --image-size {side}{option}"
    return "try another --image-size, with or without --grey, and check --mean, --std and --weights"
