"""Names of weights without what wrappers of the network add to them."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from torch import Tensor

# The counter of torch.optim.swa_utils.AveragedModel, beside the weights of its module.
_COUNTER, _AVERAGED = "n_averaged", "module."


def without_wrappers(tensors: Mapping[str, Tensor], expected: Collection[str]) -> dict[str, Tensor]:
    """Remove prefixes that all names share until a name is expected.

    DataParallel adds "module.", torch.compile "_orig_mod.", and a LightningModule the name of its attribute, such as
    "model.".

    Args:
        tensors: the weights by name.
        expected: the names of the network's own weights.

    Returns:
        The weights by shorter names; by the given ones if no prefix leads to an expected name.
    """
    named = dict(tensors)
    if _COUNTER not in expected and all(name.startswith(_AVERAGED) for name in named if name != _COUNTER):
        named.pop(_COUNTER, None)
    while named.keys().isdisjoint(expected):
        prefixes = {name.partition(".")[:2] for name in named}
        if len(prefixes) != 1 or not (prefix := "".join(prefixes.pop())).endswith("."):
            return dict(tensors)
        named = {name.removeprefix(prefix): value for name, value in named.items()}
    return named
