"""The memory format of images: channels last, which is faster, unless the network needs the default one."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar
from weakref import WeakKeyDictionary

from torch import nn

from gradmeter.reading.inputs import Inputs

Result = TypeVar("Result")

# What PyTorch says of `view` where the memory of a tensor has another order: x.view(len(x), -1) flattens images so.
_VIEW = "view size is not compatible"
# Whether networks need the default format.
_needs_default: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()
# Input channels of a strided 1 x 1 convolution up to which PyTorch may write outside of its memory; 2, 3, 6 and 12 do.
_NARROW = 15


def in_memory_format(network: nn.Module, inputs: Inputs, run: Callable[[Inputs], Result]) -> Result:
    """Run a function that calls a network, on images in the memory format that the network can take.

    Args:
        network: the network.
        inputs: its inputs, with images channels last.
        run: is called with these inputs, or with the same in the default memory format.
    """
    needs_default = _needs_default.get(network)
    if needs_default is None:
        needs_default = _needs_default[network] = any(map(_crashes, network.modules()))
    if not needs_default:
        try:
            return run(inputs)
        except RuntimeError as error:
            if _VIEW not in str(error):
                raise
    result = run(inputs.in_default_format())
    _needs_default[network] = True
    return result


def _crashes(layer: nn.Module) -> bool:
    """Whether the gradient of a layer's weight may corrupt memory channels last, as in PyTorch 2.13 on the CPU.

    RepVGG, MobileOne and FastViT begin with such a layer.
    """
    if not isinstance(layer, nn.Conv2d):
        return False
    return layer.kernel_size == (1, 1) and max(layer.stride) > 1 and layer.in_channels <= _NARROW
