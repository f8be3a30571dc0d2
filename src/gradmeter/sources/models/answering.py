"""Try a classifier on two samples, and explain in one line why its code fails."""

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

from gradmeter.errors import TRACEBACK, GradmeterError, InputError, is_out_of_memory, one_line
from gradmeter.reading.inputs import Inputs
from gradmeter.reading.memory_format import in_memory_format
from gradmeter.reading.network import NotFinite, logits_of, measuring, owned_parameters, owning_modules, unwrapped
from gradmeter.sources.models.contained import contained
from gradmeter.sources.models.weights import dtype_name
from gradmeter.sources.samples import ArrayKind, ImageKind

# With them, a TrustModel tells whether the tokenizer is the one that it was fitted with.
_TEXTS = ("a", "A b, É 1!")
# Attributes of layers that state the size of their input.
_WIDTHS = ("in_channels", "in_features", "num_embeddings", "num_features", "input_size")
# What PyTorch says without a GPU.
_NO_GPU = ("compiled with CUDA enabled", "NVIDIA driver", "No CUDA GPUs are available")
_COLOURS = 3


class ClassifierFailed(InputError):
    """The code of a classifier failed, but not because memory is short; the original error is the cause."""


class WrongChannels(ClassifierFailed):
    """The network takes images of another number of channels."""


class Answering(Protocol):
    """The attributes of a `Classifier` that this module uses."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def network(self) -> nn.Module: ...  # noqa: D102
    @property
    def image(self) -> ImageKind | None: ...  # noqa: D102
    @property
    def arrays(self) -> ArrayKind | None: ...  # noqa: D102
    @property
    def batch(self) -> Callable[[Sequence[Any]], Tensor | Mapping[str, Tensor]]: ...  # noqa: D102


def trial_logits(classifier: Answering) -> Tensor:
    """Logits [2, C] for two images of noise, two short texts or two random arrays.

    A network that fails on these fails on all inputs.

    Raises:
        InputError: if the preprocessing or the network fails, or the network does not return logits.
        UnsupportedModelError: if the network has parameters whose gradient cannot be measured.
    """
    network = unwrapped(classifier.network)
    try:
        owned_parameters(network, biases=True)
        with explained(classifier):
            batch = classifier.batch(_samples(classifier))
        device = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
        with explained(classifier, batch):
            return _logits(network, Inputs.of(batch).map(lambda tensor: tensor.to(device)))
    except GradmeterError as error:
        raise type(error)(f"{classifier.name}: {error}") from error.__cause__ or error


def failures_alone(classifier: Answering, inputs: Inputs) -> dict[int, str]:
    """The samples on which the network fails when it gets each alone: why, by row."""
    network, reasons = unwrapped(classifier.network), dict[int, str]()
    for row in range(inputs.samples):
        try:
            with contained():
                _logits(network, inputs.rows([row]))
        except NotFinite:  # an answer, which a measurement of the other samples reports
            continue
        except (Exception, SystemExit) as error:  # code of the user may raise anything
            if is_out_of_memory(error):  # a fault of the machine, not of the sample
                raise
            reasons[row] = failure(error)
    return reasons


def failure(error: BaseException) -> str:
    """Why a sample has no answer, if the network raises this error on it."""
    return f"the network fails on it ({type(error).__name__}: {one_line(error)})"


def _logits(network: nn.Module, inputs: Inputs) -> Tensor:
    with measuring(network):
        return in_memory_format(network, inputs, lambda given: logits_of(network, given, {})).detach()


def _samples(classifier: Answering) -> Sequence[Any]:
    if classifier.arrays is not None:
        return classifier.arrays.noise(2)
    if classifier.image is None:
        return _TEXTS
    # Not a constant image: networks that normalise each image would divide by zero.
    side, grey = classifier.image.side, classifier.image.mode == "L"
    shape = (2, side, side) if grey else (2, side, side, _COLOURS)
    return [Image.fromarray(image) for image in np.random.default_rng(0).integers(0, 256, shape, np.uint8)]


@contextmanager
def explained(classifier: Answering, batch: Any = None, samples: str = "") -> Iterator[None]:
    """Run code of a classifier (see `contained`) and explain its failure in one line.

    Args:
        classifier: the network and its preprocessing.
        batch: the input of the network; None if the block calls the preprocessing.
        samples: the samples of the batch, in words.

    Raises:
        ClassifierFailed: if the code fails. The message states the input, the size that the network's layers expect,
            and the option to try.
        WrongChannels: if that is because images have other channels than the first layer takes.
        InputError: if memory is short.
    """
    try:
        with contained():
            yield
    except GradmeterError:
        raise
    except (Exception, SystemExit) as error:  # code of the user may raise anything
        given = "the preprocessing" if batch is None else f"the network, given {_shapes(batch)}{samples},"
        reason = f"{given} failed with {type(error).__name__}: {one_line(error)}"
        if is_out_of_memory(error):
            # A mapping comes from an image processor or tokenizer, which the options do not change.
            is_resized = classifier.image is not None and not isinstance(batch, Mapping)
            smaller = "a smaller --image-size, " if is_resized else ""
            raise InputError(
                f"not enough memory: {reason}; give more memory, or try {smaller}a smaller network or another --device"
            ) from error
        channels = _advice_on_channels(classifier.network, batch, error)
        sentences = [
            reason,
            *([] if batch is None else _layers(classifier.network, error)),
            channels or _advice(classifier, batch, error),
        ]
        kind = WrongChannels if channels else ClassifierFailed
        raise kind(f"{'; '.join(sentences)} ({TRACEBACK}=1 shows the traceback)") from error


def _shapes(batch: Any) -> str:
    """The type and shape of each tensor in a batch, in words."""
    if isinstance(batch, Tensor):
        return f"{dtype_name(batch)} of shape {tuple(batch.shape)}"
    if isinstance(batch, Mapping):
        return ", ".join(f"{name} {_shapes(value)}" for name, value in batch.items())
    return type(batch).__name__


def _layers(network: nn.Module, error: BaseException) -> list[str]:
    """The input size of the layer that failed, or of the first layer, in words; empty if it is unknown."""
    names = {module: name for name, module in owning_modules(network).items()}
    failed, given = None, None
    for frame, _ in traceback.walk_tb(error.__traceback__):
        module = frame.f_locals.get("self")
        if frame.f_code.co_name == "forward" and isinstance(module, nn.Module) and module in names:
            failed = module
            given = next((value for value in frame.f_locals.values() if isinstance(value, Tensor)), None)
    if failed is not None and (size := _input_size(failed)):
        shape = "" if given is None else f" and was given {tuple(given.shape)}"
        return [f"its layer {names[failed]!r} ({type(failed).__name__}) has {size}{shape}"]
    first = next(iter(names), None)
    if first is not None and (size := _input_size(first)):
        return [f"its first layer {names[first]!r} ({type(first).__name__}) has {size}"]
    return []


def _input_size(layer: nn.Module) -> str | None:
    width = next((attribute for attribute in _WIDTHS if isinstance(getattr(layer, attribute, None), int)), None)
    return None if width is None else f"{width}={getattr(layer, width)}"


def _advice(classifier: Answering, batch: Any, error: BaseException) -> str:
    """The option to try after a failure."""
    if any(words in str(error) for words in _NO_GPU):
        return "its code asks for a GPU, which PyTorch does not find: create its tensors on the device of its inputs"
    if classifier.arrays is not None:
        return _advice_for_arrays(classifier.arrays, batch, error)
    if classifier.image is None:
        return "expected a network for these texts: check MODEL and --weights"
    if isinstance(batch, Mapping):  # of an image processor, which the options do not change
        return "expected images as its preprocessor_config.json makes them: check that file, and --weights"
    first = next(iter(owning_modules(classifier.network).values()), None)
    if isinstance(batch, Tensor) and batch.dim() == 4:
        if (weight := next(classifier.network.parameters(), batch)).dtype != batch.dtype:
            return f"its weights are {dtype_name(weight)}: return network.float() from the function"
        if isinstance(first, nn.Linear) and first.in_features != batch[0].numel():
            for count, option in ((1, " --grey"), (_COLOURS, "")):
                side = math.isqrt(first.in_features // count)
                if count * side * side == first.in_features:
                    return f"give --image-size {side}{option}"
    return "try another --image-size, with or without --grey, and check --mean, --std and --weights"


def _advice_on_channels(network: nn.Module, batch: Any, error: BaseException) -> str | None:
    """The option to try if the first layer fails because images have another number of channels."""
    first = next(iter(owning_modules(network).values()), None)
    if not (isinstance(batch, Tensor) and batch.dim() == 4 and isinstance(first, nn.Conv2d)):
        return None
    if first.in_channels == batch.shape[1] or f"to have {first.in_channels} channels" not in str(error):
        return None
    options = {1: "give --grey", _COLOURS: "remove --grey"}
    return options.get(first.in_channels, "expected a network for images of 3 channels, or of 1 with --grey")


def _advice_for_arrays(arrays: ArrayKind, batch: Any, error: BaseException) -> str:
    if isinstance(error, TypeError):  # an argument is missing, or has another name
        given = ", ".join(name or "one positional argument" for name in arrays.names)
        return f"given were {given}: expected an array 'inputs', or an array 'inputs:NAME' for each argument"
    named = batch.items() if isinstance(batch, Mapping) else [("", batch)]
    ranges = [
        f"{name or 'inputs'} from {int(values.min())} to {int(values.max())}"
        for name, values in named
        if isinstance(values, Tensor) and values.dtype == torch.int64
    ]
    # On a GPU, an index out of range is an assertion that fails on the device.
    if ranges and (isinstance(error, IndexError) or "device-side assert" in str(error)):
        return f"given were {', '.join(ranges)}: expected integers for which the network has an embedding"
    return "expected arrays of the type and shape that MODEL takes; they get no preprocessing"
