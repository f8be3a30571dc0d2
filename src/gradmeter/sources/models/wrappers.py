"""Names of weights without what wrappers of the network add to them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

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
        if not (prefix := _shared_prefix(named)):
            return dict(tensors)
        named = {name.removeprefix(prefix): value for name, value in named.items()}
    return named


def of_network(tensors: Mapping[str, Tensor], expected: Collection[str]) -> dict[str, Tensor]:
    """Remove what wrappers add, as `without_wrappers`, and a few weights beside the network.

    A LightningModule also saves its loss, which may have weights of the classes.

    Args:
        tensors: the weights by name.
        expected: the names of the network's own weights.

    Returns:
        The weights below the only prefix that has all expected names, if others have fewer numbers.
    """
    named = without_wrappers(tensors, expected)
    first = next(iter(expected), "")
    prefixes = [name.removesuffix(first) for name in named if name.endswith(f".{first}")]
    complete = [prefix for prefix in prefixes if all(prefix + name in named for name in expected)]
    if not named.keys().isdisjoint(expected) or len(complete) != 1 or _COUNTER in named:
        return named
    (prefix,) = complete
    inside = {name.removeprefix(prefix): value for name, value in named.items() if name.startswith(prefix)}
    is_most = 2 * _numbers(inside) > _numbers(named)
    return inside if is_most else named


def are_of_one_network(tensors: Mapping[str, Tensor], others: Mapping[str, Tensor]) -> bool:
    """Whether two sets of weights are of one network, as the last weights and their average.

    Without wrappers, more than half of the numbers of both have the same names and shapes.
    """
    smaller, larger = sorted((_numbers(tensors), _numbers(others)))
    if 2 * smaller <= larger:
        return False
    bare, bare_others = _without_shared_prefixes(tensors), _without_shared_prefixes(others)
    return any(
        2 * _numbers({name: value for name, value in some.items() if _has_shape(rest.get(name), value)}) > larger
        for some, rest in (
            (without_wrappers(tensors, others), without_wrappers(others, tensors)),
            (of_network(tensors, bare_others), bare_others),
            (of_network(others, bare), bare),
        )
    )


def _has_shape(tensor: Tensor | None, other: Tensor) -> bool:
    return tensor is not None and tensor.shape == other.shape


def _without_shared_prefixes(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    named = {name: value for name, value in tensors.items() if name != _COUNTER}
    while prefix := _shared_prefix(named):
        named = {name.removeprefix(prefix): value for name, value in named.items()}
    return named


def _shared_prefix(names: Iterable[str]) -> str:
    """What all names have up to their first dot, with the dot; empty if they differ there."""
    prefixes = {"".join(name.partition(".")[:2]) for name in names}
    prefix = prefixes.pop() if len(prefixes) == 1 else ""
    return prefix if prefix.endswith(".") else ""


def _numbers(tensors: Mapping[str, Tensor]) -> int:
    return sum(value.numel() for value in tensors.values())
