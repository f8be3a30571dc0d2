"""The memory format of images: channels last, which is faster, unless the network needs the default one."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar
from weakref import WeakSet

from torch import nn

from gradmeter.reading.inputs import Inputs

Result = TypeVar("Result")

# What PyTorch says of `view` where the memory of a tensor has another order: x.view(len(x), -1) flattens images so.
_VIEW = "view size is not compatible"
# Networks that fail channels last.
_in_default_format: WeakSet[nn.Module] = WeakSet()


def in_memory_format(network: nn.Module, inputs: Inputs, run: Callable[[Inputs], Result]) -> Result:
    """Run a function that calls a network, on images in the memory format that the network can take.

    Args:
        network: the network.
        inputs: its inputs, with images channels last.
        run: is called with these inputs, or with the same in the default memory format.
    """
    if network not in _in_default_format:
        try:
            return run(inputs)
        except RuntimeError as error:
            if _VIEW not in str(error):
                raise
    result = run(inputs.in_default_format())
    _in_default_format.add(network)
    return result
