"""The identity of a network's weights, and the tensors that hold them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from gradmeter.errors import UnsupportedModelError, one_line
from gradmeter.reading.network.structure import NO_VALUES, uncompiled
from gradmeter.stages import stage


def weights_hash(network: nn.Module) -> str:
    """SHA-256 hex digest of parameters and buffers, with their names, shapes and dtypes, and of `adapters_in_use`.

    Raises:
        UnsupportedModelError: if the network's state_dict() fails, or has tensors without values.
    """
    try:
        digest, state = hashlib.sha256(), network.state_dict()
    except Exception as error:  # networks may override state_dict
        raise UnsupportedModelError(
            f"state_dict() of {type(network).__name__} failed with {type(error).__name__}: {one_line(error)}; expected "
            "the network's parameters and buffers"
        ) from error
    with stage("hashing the weights", len(state)) as advance:
        for name, value in sorted({uncompiled(key): value for key, value in state.items()}.items()):
            if isinstance(value, Tensor):  # a module may add other state
                if value.is_meta:
                    raise UnsupportedModelError(f"{name!r} {NO_VALUES}")
                digest.update(f"{name} {value.dtype} {tuple(value.shape)}\0".encode())
                for part in _wrapped(value):
                    numbers = part.detach().cpu().resolve_conj().resolve_neg()
                    dense = numbers if numbers.layout == torch.strided else numbers.to_dense()
                    digest.update(dense.contiguous().reshape(-1).view(torch.uint8).numpy().data)
            advance(1)
    for name, adapters in adapters_in_use(network):
        digest.update(f"{name} {adapters}\0".encode())
    return digest.hexdigest()


def adapters_in_use(network: nn.Module) -> list[tuple[str, tuple[str, ...]]]:
    """The layers that have adapters, as of peft, and which of these they use now: the weights do not tell."""
    return [
        (uncompiled(name), () if module.disable_adapters else tuple([active] if isinstance(active, str) else active))
        for name, module in network.named_modules()
        if isinstance(getattr(type(module), "disable_adapters", None), property)
        # Before peft 0.15 a layer that it saves whole, as a new last one, has no list of them; layers of others may
        # have nothing but a list.
        for active in (getattr(module, "active_adapter", getattr(module, "active_adapters", ())) or (),)
    ]


def wraps_numbers(tensor: Tensor) -> bool:
    """Whether other tensors hold its numbers, as those of a quantised weight of torchao."""
    return hasattr(tensor, "__tensor_flatten__")


def is_spread(tensor: Tensor) -> bool:
    """Whether each process has a part of a tensor only, as with FSDP and tensor parallelism (DTensor)."""
    return hasattr(tensor, "full_tensor")


def _wrapped(tensor: Tensor) -> Iterator[Tensor]:
    """The tensors that hold the numbers of one that wraps them; else the tensor itself, with the parts of all."""
    if is_spread(tensor):
        yield from _wrapped(tensor.full_tensor())  # type: ignore[attr-defined]
        return
    if not wraps_numbers(tensor):
        yield tensor
        return
    names, _ = tensor.__tensor_flatten__()  # type: ignore[attr-defined]
    for name in names:
        yield from _wrapped(getattr(tensor, name))
