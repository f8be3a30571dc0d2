"""The weights that a TrustModel was fitted for, so that a network which has changed since is noticed."""

from __future__ import annotations

from collections import defaultdict
from contextlib import suppress

import torch
from torch import Tensor, nn

from gradmeter.errors import UnsupportedModelError
from gradmeter.reading.network import adapters_in_use, modules_of, unwrapped, weights_hash

CHANGED = (
    "the network's weights changed after fit, or their dtype, and with them what P(correct) means; expected those of "
    "fit: load them, or fit the TrustModel again"
)
"""What is said of a network whose weights are others."""


class FittedWeights:
    """The weights of a network.

    Attributes:
        hash: their hash; None if the network's state_dict() fails.

    Args:
        model: the network.
        known_hash: the hash, if it is known.
    """

    def __init__(self, model: nn.Module, known_hash: str | None = None) -> None:
        network = unwrapped(model)
        self.hash = known_hash
        if known_hash is None:
            with suppress(UnsupportedModelError):
                self.hash = weights_hash(network)
        tensors = _tensors(network)
        self._stamps, self._samples = _stamps(tensors), _samples(tensors)
        self._adapters = adapters_in_use(network)
        self._changed = False

    def have_changed(self, model: nn.Module) -> bool:
        """Whether the network has other weights now. They are hashed only if one seems to have changed.

        Adapters of peft that are in use count as weights.
        """
        network = unwrapped(model)
        tensors, adapters = _tensors(network), adapters_in_use(network)
        stamps, samples = _stamps(tensors), _samples(tensors)
        if not _are_same(stamps, self._stamps) or samples != self._samples or adapters != self._adapters:
            self._stamps, self._samples, self._adapters = stamps, samples, adapters
            self._changed = self.hash is not None and self.hash != weights_hash(network)
        return self._changed


def _tensors(network: nn.Module) -> list[Tensor]:
    return [
        tensor
        for module in modules_of(network)
        for group in (module._parameters, module._buffers)
        for tensor in group.values()
        if tensor is not None
    ]


# The tensors themselves, since the id of one that was replaced may become that of a later one.
_Stamps = list[tuple[Tensor, tuple[torch.dtype, int | None]]]


def _stamps(tensors: list[Tensor]) -> _Stamps:
    """Each tensor, its type, and a count of writes to it, but for those by `data` and fused optimizers."""
    return [(tensor, (tensor.dtype, None if tensor.is_inference() else tensor._version)) for tensor in tensors]


def _samples(tensors: list[Tensor]) -> bytes:
    """The first number of each tensor: what changes all weights, as a step of a fused optimizer, changes it, too."""
    samples: defaultdict[tuple[torch.dtype, torch.device], list[Tensor]] = defaultdict(list)
    for tensor in tensors:
        is_plain = type(tensor) in (Tensor, nn.Parameter) and tensor.layout == torch.strided and not tensor.is_nested
        # There are few operations for numbers of one byte.
        is_read = is_plain and not tensor.is_meta and tensor.is_floating_point() and tensor.itemsize > 1
        # FSDP frees the memory of weights between calls.
        if is_read and tensor.numel() and tensor.untyped_storage().nbytes() > tensor.storage_offset() * tensor.itemsize:
            first = tensor.detach().as_strided((), (), tensor.storage_offset())
            samples[tensor.dtype, tensor.device].append(first)
    return b"".join([torch.stack(numbers).cpu().double().numpy().tobytes() for numbers in samples.values()])


def _are_same(first: _Stamps, second: _Stamps) -> bool:
    if len(first) != len(second):
        return False
    pairs = zip(first, second, strict=True)
    return not [tensor for (tensor, state), (other, later) in pairs if tensor is not other or state != later]
