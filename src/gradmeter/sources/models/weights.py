"""Read weights from a file, without running code in it, and build networks with them."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from gradmeter.errors import DataError, one_line
from gradmeter.files import plainly_named
from gradmeter.names import encode_name, listed
from gradmeter.sources.models.placeholders import Placeholder, placeholders
from gradmeter.sources.models.wrappers import are_of_one_network, of_network
from gradmeter.sources.samples.left_out import Kind, kind_of

# The most names in a list of problems.
_SHOWN = 3
# First bytes of files of torch.save: zip, or pickle before PyTorch 1.6.
_MAGIC = (b"PK", b"\x80")
# Keys under which training programs save the weights of a network.
_STATE_KEYS = ("state_dict", "model_state_dict", "model")
# How PyTorch names an object that is no tensor: by its class.
_REFUSED = re.compile(r"Unsupported global: GLOBAL ([\w.]+[\w])")
# How deep weights may be in the mappings of a file; one may hold itself.
_DEPTH = 4
# Advice for weights for grey images, True, or for coloured images, False, if the network takes the other kind.
_CHANNELS = {
    True: "they are for grey images, and the network for coloured ones: for networks of timm, give --grey",
    False: "they are for coloured images, and the network for grey ones: for networks of timm, remove --grey",
}


def read_weights(path: Path) -> tuple[dict[str, Tensor], tuple[str, ...] | None]:
    """Read the tensors in a file by name, and the class names if the file has them.

    Args:
        path: a `.safetensors` file, whose metadata may contain "classes", a JSON list of names; or a file of
            `torch.save`, from which only tensors are loaded.

    Raises:
        DataError: if the file is missing, damaged or not a file of weights.
    """
    magic = _first_bytes(path)
    if path.suffix == ".safetensors":
        try:
            with plainly_named(path) as plain, safe_open(plain, "pt") as file:
                return {name: file.get_tensor(name) for name in file.keys()}, _classes(file.metadata() or {})  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            raise DataError(f"{path} is not a readable .safetensors file: {one_line(error)}") from error
    if not magic.startswith(_MAGIC):  # the error of `torch.load` would be misleading
        raise DataError(
            f"{path} is not a file of weights; expected .safetensors, or .pt from torch.save(model.state_dict(), path)"
        )
    try:
        with warnings.catch_warnings(), placeholders():
            warnings.simplefilter("ignore")  # warnings about content that it then refuses
            state: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # on damaged files, the loader raises errors of any type
        refused = _REFUSED.search(str(error))
        first = str(error).partition(".")[0].partition("\n")[0]
        reason = f"it holds {refused[1]}" if refused else first or type(error).__name__
        raise DataError(
            f"{path} cannot be loaded as weights only ({reason}); expected a state_dict: torch.save(model.state_dict())"
        ) from error
    for key in _STATE_KEYS:
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            _require_only(path, state, key)
            state = state[key]
    if not _is_state(state):
        raise DataError(f"{path} holds {_held(state)}; expected a state_dict of tensors{_advice(path, state)}")
    for name, value in state.items():
        if (layout := _layout(value)) != "strided":
            raise DataError(f"{path}: {name} is a {layout} tensor; expected dense tensors with values")
    return state, None


def _held(state: Any) -> str:
    keys = [repr(key) for key in state] if isinstance(state, dict) else []
    kind = "single object" if isinstance(state, Placeholder) else type(state).__name__
    return f"a {kind} with {listed(keys, _SHOWN)}" if keys else f"a {kind}"


def _advice(path: Path, state: Any) -> str:
    """How to save the weights alone, if the file holds those of one network under a key of its own."""
    states = [keys for keys, _ in _states_in(state)] if isinstance(state, dict) else []
    return f": {_saving(path, states[0])}" if len(states) == 1 else ""


def _saving(path: Path, keys: tuple[str, ...]) -> str:
    """The call that saves the weights under these keys alone."""
    return f"torch.save(torch.load({path.name!r}){''.join(f'[{key!r}]' for key in keys)}, 'weights.pt')"


def _require_only(path: Path, saved: dict[Any, Any], key: str) -> None:
    """Refuse a file that also holds the network's weights under another key: a moving average, or the best ones."""
    if not _is_state(saved[key]):
        return
    for path_to, tensors in _states_in(saved):
        if path_to == (key,):
            continue
        if are_of_one_network(saved[key], tensors):
            raise DataError(
                f"{path} holds weights {key!r} and {'.'.join(path_to)!r}; expected those of one network: save the ones "
                f"you use, as in {_saving(path, path_to)}"
            )


def _states_in(saved: dict[Any, Any], depth: int = _DEPTH) -> Iterator[tuple[tuple[str, ...], dict[str, Tensor]]]:
    """Yield the keys to each mapping from names to tensors in a file, and the mapping."""
    for key, value in saved.items():
        if _is_state(value):
            yield (str(key),), value
        elif isinstance(value, dict) and depth > 1:
            yield from (((str(key), *keys), state) for keys, state in _states_in(value, depth - 1))


def _is_state(state: Any) -> bool:
    """Whether an object is a non-empty mapping from names to tensors."""
    if not isinstance(state, dict) or not state:
        return False
    return all(isinstance(name, str) and isinstance(value, Tensor) for name, value in state.items())


def _layout(tensor: Tensor) -> str:
    """The layout of a tensor; "strided" for ordinary dense tensors."""
    if tensor.is_nested:
        return "nested"
    if tensor.is_quantized:
        return "quantised"
    return "meta" if tensor.is_meta else str(tensor.layout).removeprefix("torch.")


def _first_bytes(path: Path) -> bytes:
    """The first two bytes of a file; safetensors says of one that it may not open that it does not exist.

    Raises:
        DataError: if it is no file, or cannot be read.
    """
    expected = "expected weights, .safetensors or .pt"
    try:
        kind = kind_of(path)
        if kind is Kind.FILE:
            with path.open("rb") as file:
                return file.read(2)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); {expected}") from error
    if kind is None:
        raise DataError(f"{path}: no such file; {expected}")
    raise DataError(f"{path} is a {kind.value[0]}; {expected}")


def build_with(build: Callable[[int | None], nn.Module], tensors: dict[str, Tensor], path: Path) -> nn.Module:
    """Build a network with the number of classes of the given weights, and load them.

    Args:
        build: maps the number of classes, or None for the default number, to a network.
        tensors: the weights by name.
        path: the file of the weights, for messages.

    Raises:
        DataError: if the weights do not fit the network.
    """
    network = build(None)
    expected = network.state_dict()
    tensors = of_network(tensors, expected)
    # Only the last layer depends on the number of classes.
    resized = {
        name: value
        for name, value in tensors.items()
        if name in expected
        and value.dim() == expected[name].dim()
        and value.shape[1:] == expected[name].shape[1:]
        and value.shape != expected[name].shape
    }
    if len({(value.shape[0], expected[name].shape[0]) for name, value in resized.items()}) == 1:
        rebuilt = build(next(iter(resized.values())).shape[0])
        weights = rebuilt.state_dict()
        if all(weights[name].shape == value.shape for name, value in resized.items()):  # else not of the last layer
            network, expected = rebuilt, weights
    common = {name: (value, expected[name]) for name, value in tensors.items() if name in expected}
    # Files by PyTorch before 0.4.1 have no counters of batches; no prediction depends on them.
    # safetensors.torch.save_model leaves out all but one of the names of a shared weight.
    given = {_place(value) for _, value in common.values()}
    missing = [
        name
        for name, value in expected.items()
        if name not in tensors and not name.endswith("num_batches_tracked") and _place(value) not in given
    ]
    unknown = [name for name in tensors if name not in expected]
    wrong = [
        f"{name} {tuple(value.shape)} instead of {tuple(parameter.shape)}"
        for name, (value, parameter) in common.items()
        if value.shape != parameter.shape
    ] + [
        # Loading would convert quantised integers to floats without their scale.
        f"{name} {dtype_name(value)} instead of {dtype_name(parameter)}"
        for name, (value, parameter) in common.items()
        if parameter.is_floating_point() and not value.is_floating_point()
    ]
    problems = [
        f"{verb} {listed(names, _SHOWN)}"
        for verb, names in (("lacks", missing), ("has unknown", unknown), ("has", wrong))
        if names
    ]
    if problems:
        advice = "" if (grey := _are_for_grey(common.values())) is None else f"; {_CHANNELS[grey]}"
        raise DataError(f"{path} does not fit {type(network).__name__}: it {'; it '.join(problems)}{advice}")
    # The network's own state_dict also has the versions of its layers, which some layers of torchvision require.
    expected.update(tensors)
    network.load_state_dict(expected)
    return network


def _place(tensor: Tensor) -> tuple[int, tuple[int, ...]]:
    """Where a tensor is in memory, and its shape: the same for a weight that two layers share."""
    return tensor.data_ptr(), tuple(tensor.shape)


def dtype_name(tensor: Tensor) -> str:
    """The name of a tensor's dtype, such as float32."""
    return str(tensor.dtype).removeprefix("torch.")


def _are_for_grey(common: Iterable[tuple[Tensor, Tensor]]) -> bool | None:
    """Whether weights are for grey images but the network takes colour, True, or vice versa, False; None if neither.

    Args:
        common: pairs of a given weight and the network's own weight of that name.
    """
    for value, parameter in common:
        if value.ndim == parameter.ndim == 4 and value.shape[2:] == parameter.shape[2:]:
            channels = value.shape[1], parameter.shape[1]
            if channels in ((1, 3), (3, 1)):
                return channels == (1, 3)
    return None


def _classes(metadata: dict[str, str]) -> tuple[str, ...] | None:
    """The class names in the metadata of a `.safetensors` file; None if there are none."""
    try:
        names = json.loads(metadata["classes"])
    except (KeyError, ValueError, RecursionError):
        return None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return None
    return tuple(map(encode_name, names))
