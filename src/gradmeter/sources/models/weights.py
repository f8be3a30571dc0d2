"""Weights from a file, without running anything in it."""

from __future__ import annotations

import json
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from gradmeter.errors import DataError, one_line
from gradmeter.names import encode_name
from gradmeter.sources.samples.left_out import Kind, kind_of

_SHOWN = 3
# How torch.save's files begin: those of zip, and pickles of versions before 1.6.
_MAGIC = (b"PK", b"\x80")
# Where training programs put a network's weights in what they save.
_NESTS = ("state_dict", "model_state_dict", "model")
# What to do where weights are for grey images, or for coloured ones, and the network is for the other kind.
_CHANNELS = {True: "they are for grey images: give --grey", False: "they are for coloured images: leave --grey away"}
# What wrappers put in front of every name.
_PREFIXES = ("module.", "_orig_mod.")


def read_weights(path: Path) -> tuple[dict[str, Tensor], tuple[str, ...] | None]:
    """The tensors of a file by name, and the names of the classes where it holds them.

    Args:
        path: `.safetensors`, whose metadata may hold "classes", a JSON list of names; or what `torch.save` wrote, from
            which nothing but tensors is loaded.

    Raises:
        DataError: if the file is missing, damaged or holds something else.
    """
    _require_file(path)
    if path.suffix == ".safetensors":
        try:
            with _plainly_named(path) as plain, safe_open(plain, "pt") as file:
                return {name: file.get_tensor(name) for name in file.keys()}, _classes(file.metadata() or {})  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            raise DataError(f"{path} is no readable .safetensors file: {one_line(error)}") from error
    _require_saved(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what it then refuses
            found: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the loader raises whatever a damaged file leads it to
        reason = str(error).partition(".")[0].partition("\n")[0] or type(error).__name__
        raise DataError(
            f"{path} cannot be loaded as weights only ({reason}); expected a state_dict: torch.save(model.state_dict())"
        ) from error
    for nest in _NESTS:
        if isinstance(found, dict) and isinstance(found.get(nest), dict):
            found = found[nest]
    if not _is_state(found):
        raise DataError(f"{path} holds a {type(found).__name__}; expected a state_dict of tensors")
    for name, value in found.items():
        if value.is_nested or value.is_quantized or value.is_meta or value.layout != torch.strided:
            raise DataError(f"{path}: {name} is a {_described(value)} tensor; expected dense tensors that hold numbers")
    return found, None


def _is_state(found: Any) -> bool:
    """Whether it is tensors by name, and not empty."""
    if not isinstance(found, dict) or not found:
        return False
    return all(isinstance(name, str) and isinstance(value, Tensor) for name, value in found.items())


def _described(tensor: Tensor) -> str:
    if tensor.is_nested:
        return "nested"
    if tensor.is_quantized:
        return "quantised"
    return "meta" if tensor.is_meta else str(tensor.layout).removeprefix("torch.")


@contextmanager
def _plainly_named(path: Path) -> Iterator[Path]:
    """The file under a name that is UTF-8: safetensors takes no other."""
    if encode_name(str(path)) == str(path):
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        link = Path(folder) / "weights"
        link.symlink_to(path.resolve())
        yield link


def _require_file(path: Path) -> None:
    expected = "expected weights, .safetensors or .pt"
    try:
        kind = kind_of(path)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); {expected}") from error
    if kind is None:
        raise DataError(f"{path}: no such file; {expected}")
    if kind is not Kind.FILE:
        raise DataError(f"{path} is a {kind.value[0]}; {expected}")


def _require_saved(path: Path) -> None:
    """Refuse what `torch.save` cannot have written: its loader would fail with a riddle."""
    try:
        with path.open("rb") as file:
            begins = file.read(2)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); expected weights, .safetensors or .pt") from error
    if not begins.startswith(_MAGIC):
        raise DataError(
            f"{path} is no file of weights; expected .safetensors, or .pt as torch.save(model.state_dict()) writes it"
        )


def build_with(build: Callable[[int | None], nn.Module], tensors: dict[str, Tensor], path: Path) -> nn.Module:
    """A network with these weights, with as many classes as they are for.

    Args:
        build: from a number of classes, None for as many as is usual, to a network.
        tensors: its weights by name.
        path: where they came from.

    Raises:
        DataError: if they are not this network's.
    """
    for prefix in _PREFIXES:
        if all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): value for name, value in tensors.items()}
    network = build(None)
    own = network.state_dict()
    # Only the last layer depends on the number of classes.
    counts = {
        (value.shape[0], own[name].shape[0])
        for name, value in tensors.items()
        if name in own and value.shape[1:] == own[name].shape[1:] and value.shape != own[name].shape
    }
    if len(counts) == 1:
        network = build(counts.pop()[0])
        own = network.state_dict()
    missing = [name for name in own if name not in tensors]
    unknown = [name for name in tensors if name not in own]
    other = [
        f"{name} {tuple(value.shape)} in place of {tuple(own[name].shape)}"
        for name, value in tensors.items()
        if name in own and value.shape != own[name].shape
    ] + [
        # Loading would only round them: whole numbers that stand for others are of no use without their scale.
        f"{name} {_type_of(value)} in place of {_type_of(own[name])}"
        for name, value in tensors.items()
        if name in own and own[name].is_floating_point() and not value.is_floating_point()
    ]
    problems = [
        f"{what} {', '.join(names[:_SHOWN])}{f' and {len(names) - _SHOWN} more' if len(names) > _SHOWN else ''}"
        for what, names in (("lacks", missing), ("has unknown", unknown), ("has", other))
        if names
    ]
    if problems:
        advice = "" if (grey := _differ_in_channels(tensors, own)) is None else f"; {_CHANNELS[grey]}"
        raise DataError(f"{path} is not for {type(network).__name__}: it {'; it '.join(problems)}{advice}")
    network.load_state_dict(tensors)
    return network


def _type_of(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _differ_in_channels(tensors: dict[str, Tensor], own: dict[str, Tensor]) -> bool | None:
    """Whether weights are for grey images where the network takes colours, True, or the other way, False."""
    for name, value in tensors.items():
        if name in own and value.ndim == own[name].ndim == 4 and value.shape[2:] == own[name].shape[2:]:
            channels = value.shape[1], own[name].shape[1]
            if channels in ((1, 3), (3, 1)):
                return channels == (1, 3)
    return None


def _classes(metadata: dict[str, str]) -> tuple[str, ...] | None:
    try:
        names = json.loads(metadata["classes"])
    except (KeyError, ValueError, RecursionError):
        return None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return None
    return tuple(map(encode_name, names))
