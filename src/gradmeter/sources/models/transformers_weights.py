"""Networks of transformers with weights from a file, under whatever names transformers has saved them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn
from transformers.utils import CONFIG_NAME, logging
from transformers.utils.hub import cached_file

from gradmeter.errors import DataError, warn
from gradmeter.names import listed
from gradmeter.sources.models.downloads import NO_CODE, download
from gradmeter.sources.models.weights import build_with, read_weights
from gradmeter.sources.models.wrappers import of_network

# Quantised weights. transformers would convert them to floats without their scale.
_QUANTISED = (torch.int8, torch.uint8)
_ALL_WEIGHTS = "expected all weights of a trained network: save it with save_pretrained"
# The most names of weights in a message.
_SHOWN = 3


def pretrained(model: str, auto: Any, name: str) -> Any:
    """Return a network of transformers with all of its weights.

    Args:
        model: the name for messages.
        auto: a class of transformers with `from_pretrained`.
        name: a folder, or a name on the Hugging Face hub.

    Raises:
        InputError: if it cannot be loaded.
        DataError: if weights are missing or have other shapes, for which transformers takes random numbers.
    """
    options = {"use_safetensors": True, "output_loading_info": True, "ignore_mismatched_sizes": True, **NO_CODE}
    with _silent(bar=not os.path.isdir(name)):  # a folder loads quickly
        network, report = download(model, lambda: auto.from_pretrained(name, **options))
    if missing := sorted(report["missing_keys"]):
        raise DataError(f"{model} lacks the weights {listed(missing, _SHOWN)}; {_ALL_WEIGHTS}")
    if others := sorted(key for key, *_ in report["mismatched_keys"]):
        raise DataError(
            f"{model}: the weights {listed(others, _SHOWN)} have other shapes than the network's; {_ALL_WEIGHTS}"
        )
    if unused := sorted(report["unexpected_keys"]):
        warn(f"{model}: the network has no weights {listed(unused, _SHOWN)}; they are not used")
    if not hasattr(network.config, "quantization_config") and (integers := _integers(name)):
        raise DataError(
            f"{model}: the weights {listed(integers, _SHOWN)} are 8-bit integers without a quantization_config; "
            f"{_ALL_WEIGHTS}"
        )
    return network


def _integers(name: str) -> list[str]:
    """Return the names of the weights that are 8-bit integers, by the name of a loaded network."""
    names: list[str] = []
    for path in sorted(Path(str(cached_file(name, CONFIG_NAME))).parent.glob("model*.safetensors")):
        with safe_open(path, "pt") as file:  # it cannot be iterated over, unlike a dict
            names += [name for name in file.keys() if file.get_slice(name).get_dtype() == "I8"]  # noqa: SIM118
    return names


def with_weights(auto: Any, config: Any, weights: Path) -> nn.Module:
    """Build a network of transformers with the number of classes of the weights in a file, and load them.

    Since version 5, a file of `save_pretrained` may have other names than the network's own weights, and several
    weights in place of one. Files of earlier versions may hold weights that are no longer used.

    Args:
        auto: a class of transformers with `from_config`.
        config: the configuration of the network.
        weights: a file of `save_pretrained`, or of a state_dict.

    Raises:
        DataError: if the file cannot be read, or its weights do not fit the network.
    """

    def build(count: int | None) -> nn.Module:
        if count is not None:
            config.num_labels = count
        network: nn.Module = auto.from_config(config, **NO_CODE)
        return network

    return build_with(build, _own_names(build(None), read_weights(weights)[0]), weights)


def _own_names(network: Any, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The given weights as those of a network, converted as `from_pretrained` does it.

    Weights that `from_pretrained` does not know, or that have another shape, stay as they are; `build_with` decides on
    them. So do all if it fails.
    """
    own = network.state_dict()
    tensors = of_network(tensors, own)
    if own.keys() == tensors.keys() or any(tensor.dtype in _QUANTISED for tensor in tensors.values()):
        return tensors
    try:
        with _silent(bar=False):
            loaded, report = type(network).from_pretrained(
                None,
                config=network.config,
                state_dict=dict(tensors),
                ignore_mismatched_sizes=True,
                output_loading_info=True,
            )
    except Exception:  # it raises errors of any type; `build_with` then lists what does not fit
        return tensors
    kept = {name for name, *_ in report["mismatched_keys"]}
    random = kept | {*report["missing_keys"]}
    converted = {name: value for name, value in loaded.state_dict().items() if name not in random}
    kept |= {*report["unexpected_keys"]}
    return converted | {name: value for name, value in tensors.items() if name in kept}


@contextmanager
def _silent(*, bar: bool) -> Iterator[None]:
    """Hide the warnings of transformers, and its progress bar unless `bar`, while the block runs."""
    verbosity, has_bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    if not bar:
        logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if has_bar:
            logging.enable_progress_bar()
