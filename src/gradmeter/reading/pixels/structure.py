"""The last layers of a network, from one forward pass in which every layer's output is cut off from what is before.

If the output of each layer that owns parameters is replaced by a leaf of the autograd graph, the graph of the logits
ends at the last layers, and that of a layer's input at the layers before it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.utils import parametrize

from gradmeter.errors import UnsupportedModelError
from gradmeter.reading.hooks import Hooks
from gradmeter.reading.network import nodes_below, owned_parameters, owning_modules, sound_gradients
from gradmeter.reading.pixels.paths import CHANNELS_LAST, LinearPaths, Path
from gradmeter.reading.pixels.taps import axes_of, has_taps

# Largest difference between the derivative by autograd and along the recognised path, relative to its largest entry.
_TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-3}
_TOLERANCE_HALF = 5e-2
# Pixels of which single values are compared.
_CHECKED = 8


@dataclass(frozen=True)
class Structure:
    """How the logits depend on the last layers, for inputs of one shape.

    Attributes:
        last: the last layers, in the network's order; for each the path of every call to the logits, or None if some
            operation behind the layer is not linear or not known.
        before: layers whose output passes at most one layer with weights, norms aside, on its way to the logits.
        through: for layers before the last, the last layer that is the only one to read their output, norms aside.
        outside: layers with a parameter that is also used outside of the layer's own calls.
        complete: whether the logits are the sum of what these paths map.
    """

    last: dict[str, list[Path] | None]
    before: tuple[str, ...]
    through: dict[str, str]
    outside: frozenset[str]
    complete: bool

    def without(self, layers: Collection[str]) -> Structure:
        """The structure for which the paths of these layers are not known."""
        return replace(
            self,
            last={layer: None if layer in layers else paths for layer, paths in self.last.items()},
            through={layer: reader for layer, reader in self.through.items() if reader not in layers},
            complete=False,
        )


def measurable_layers(network: nn.Module, *, biases: bool) -> dict[str, dict[str, nn.Parameter]]:
    """The layers whose parameters may be measured, with these: modules without submodules that own parameters.

    A module that shares a parameter with another one, or computes its weight from others, is left out.

    Raises:
        UnsupportedModelError: as `owned_parameters` does.
    """
    owned = owned_parameters(network, biases=biases)
    modules = owning_modules(network)
    owners: dict[int, int] = {}
    for module in modules.values():
        for parameter in module.parameters(recurse=False):
            owners[id(parameter)] = owners.get(id(parameter), 0) + 1
    return {
        layer: parameters
        for layer, parameters in owned.items()
        if _computes_alone(modules[layer])
        and all(owners[id(parameter)] == 1 for parameter in modules[layer].parameters(recurse=False))
    }


def _computes_alone(module: nn.Module) -> bool:
    """Whether a module computes its output with its own parameters, not with weights computed from parameters."""
    if any(True for child in module.children() for _ in child.parameters()):
        return False
    if isinstance(module, parametrize.ParametrizationList) or parametrize.is_parametrized(module):
        return False
    # A weight norm by hooks, or a pruning, replaces the weight by other parameters.
    return not has_taps(module) or {name for name, _ in module.named_parameters()} <= {"weight", "bias"}


@contextmanager
def _cut(modules: Mapping[str, nn.Module], paths: LinearPaths) -> Iterator[_Cuts]:
    cuts = _Cuts(paths)

    def before_for(layer: str) -> Callable[..., None]:
        def before(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            for value in (*args, *kwargs.values()):
                if isinstance(value, Tensor):
                    cuts.sources.setdefault(layer, set()).update(call[0] for call in cuts.behind(value))

        return before

    def after_for(layer: str) -> Callable[..., Any]:
        registered = {id(parameter) for parameter in modules[layer].parameters(recurse=False)}

        def after(module: nn.Module, args: Any, output: Any) -> Any:
            # torch.func.functional_call puts other tensors in their place, which may depend on them.
            cuts.outside |= registered - {id(tensor) for tensor in module._parameters.values()}
            return cuts.cut(layer, module, output) if isinstance(output, Tensor) and output.requires_grad else output

        return after

    with Hooks() as hooks:
        for name, module in modules.items():
            hooks.before(module, before_for(name), with_kwargs=True)
            hooks.after(module, after_for(name))
        yield cuts


class _Cuts:
    """Leaves in place of the layers' outputs."""

    def __init__(self, paths: LinearPaths) -> None:
        self.paths = paths
        # Names of the layers on whose outputs a layer's inputs depend directly.
        self.sources: dict[str, set[str]] = {}
        # Identifiers of parameters that are used outside of calls of the layers.
        self.outside: set[int] = set()
        self._calls: dict[str, int] = {}

    def cut(self, layer: str, module: nn.Module, output: Tensor) -> Tensor:
        """Replace an output by a leaf; the clone may be modified in place."""
        call = (layer, self._calls.get(layer, 0))
        self._calls[layer] = call[1] + 1
        leaf = output.detach().requires_grad_()
        # On the leaf itself, because a table of all leaves would keep the outputs of all layers in memory.
        leaf._gradmeter_call = call  # type: ignore[attr-defined]
        cut = leaf.clone()
        if has_taps(module) and cut.dim() == 4:
            self.paths.begin(call, cut, axes_of(module))
        return cut

    def count(self, layer: str) -> int:
        """The number of calls of a layer."""
        return self._calls.get(layer, 0)

    def behind(self, tensor: Tensor) -> dict[tuple[str, int], Tensor]:
        """The calls that a tensor depends on directly, with their leaves."""
        calls: dict[tuple[str, int], Tensor] = {}
        if isinstance(tensor, nn.Parameter):
            self.outside.add(id(tensor))
        stack = [tensor.grad_fn]
        seen = set(stack)
        while stack:
            node = stack.pop()
            if node is None:
                continue
            leaf: Any = getattr(node, "variable", None)
            if (call := getattr(leaf, "_gradmeter_call", None)) is not None:
                calls[call] = leaf
            elif leaf is not None:
                # The parameters of a call lie before its output, which is cut off.
                self.outside.add(id(leaf))
            for child, _ in node.next_functions:
                if child is not None and child not in seen:
                    seen.add(child)
                    stack.append(child)
        return calls

    def reached_once(self, logits: Tensor) -> set[tuple[str, int]]:
        """The calls from which a single way leads to the logits.

        A second one, as through the mean of all pixels, may change a random derivative less than rounding does.
        """
        parents: dict[Any, list[Any]] = {}
        for node in nodes_below([logits.grad_fn]):
            for child, _ in node.next_functions:
                parents.setdefault(child, []).append(node)
        calls = set()
        for leaf in parents:
            call = getattr(getattr(leaf, "variable", None), "_gradmeter_call", None)
            if call is None:
                continue
            node = leaf
            while len(parents.get(node, ())) == 1:
                (node,) = parents[node]
            if node is logits.grad_fn:
                calls.add(call)
        return calls


def find_structure(
    network: nn.Module, layers: Sequence[str], forward: Callable[[], Tensor], other: Callable[[], Tensor]
) -> tuple[Structure, Tensor]:
    """Find the last layers of a network and their paths to the logits.

    Args:
        network: the network, with gradients enabled.
        layers: names of the layers that own parameters.
        forward: computes the logits [1, C, H, W] of one sample.
        other: computes those of another one. A path with a factor that it has not, such as a temperature that depends
            on the input, is not known.

    Returns:
        The structure, and the logits with their graph.

    Raises:
        UnsupportedModelError: if the logits depend on none of the layers.
    """
    modules = owning_modules(network)
    measured = {layer: modules[layer] for layer in layers}
    paths = LinearPaths()
    with _cut(measured, paths) as cuts, paths:
        logits = forward()
    reached = cuts.behind(logits)
    if not reached:
        raise UnsupportedModelError(
            "the network's logits do not depend differentiably on a layer that can be measured; expected the logits of "
            "a segmentation network, from a layer with weights of its own; one made by torch.jit.trace shows no layers"
        )
    once = cuts.reached_once(logits)
    known = _verified(logits, reached, {call: path for call, path in paths.to(logits).items() if call in once})
    if any(path.scaled for path in known.values()):
        again = LinearPaths()
        with _cut(measured, again), again:
            others = again.to(other())
        known = {call: path for call, path in known.items() if call in others and others[call].factor == path.factor}
    passed = _passed({call[0] for call in reached}, cuts.sources)
    last: dict[str, list[Path] | None] = {}
    for layer in layers:
        calls = [call for call in reached if call[0] == layer]
        if calls:
            count = cuts.count(layer)
            complete = len(calls) == count and layer not in passed and all(call in known for call in calls)
            last[layer] = [known[(layer, number)] for number in range(count)] if complete else None
    complete = all(calls is not None and all(path.alone for path in calls) for calls in last.values())
    before = _before(modules, last, cuts.sources)
    through = {}
    for layer in before:
        reader = _reader(layer, modules, {*last} | passed, last, cuts.sources)
        if reader is not None and cuts.count(layer) == 1:
            through[layer] = reader
    outside = frozenset(
        layer for layer in layers if not cuts.outside.isdisjoint(map(id, modules[layer].parameters(recurse=False)))
    )
    structure = Structure(last, tuple(layer for layer in layers if layer in before), through, outside, complete)
    return structure, logits


def _reader(
    layer: str,
    modules: Mapping[str, nn.Module],
    on_the_way: set[str],
    last: Mapping[str, list[Path] | None],
    sources: Mapping[str, set[str]],
) -> str | None:
    """The last layer, called once, that alone reads the output of a layer, perhaps through norms."""
    while layer not in last:
        readers = [reader for reader in on_the_way if layer in sources.get(reader, ())]
        if len(readers) != 1:
            return None
        (layer,) = readers
        if layer not in last and not _is_norm(modules[layer]):
            return None
    paths = last[layer]
    return layer if paths is not None and len(paths) == 1 else None


def _passed(last: set[str], sources: Mapping[str, set[str]]) -> set[str]:
    """The layers whose output another layer reads on its way to the logits."""
    passed: set[str] = set()
    stack = [*last]
    while stack:
        for source in sources.get(stack.pop(), set()) - passed:
            passed.add(source)
            stack.append(source)
    return passed


def _before(modules: Mapping[str, nn.Module], last: Mapping[str, Any], sources: Mapping[str, set[str]]) -> set[str]:
    """The layers before the last, and the norms between them."""
    before: set[str] = set()
    stack = [source for layer in last for source in sources.get(layer, ())]
    while stack:
        layer = stack.pop()
        if layer not in before and layer not in last:
            before.add(layer)
            if _is_norm(modules[layer]):
                stack += sources.get(layer, ())
    return before


def _is_norm(module: nn.Module) -> bool:
    return isinstance(module, _NormBase | nn.GroupNorm | nn.LayerNorm | nn.RMSNorm)


def checked_pixels(pixels: int) -> Tensor:
    """Return numbers of pixels from the first to the last, [`_CHECKED`]."""
    # In float32 the last of more than 2^24 pixels would be one that does not exist.
    return torch.linspace(0, pixels - 1, _CHECKED, dtype=torch.float64, device="cpu").long()


def _verified(
    logits: Tensor, reached: Mapping[tuple[str, int], Tensor], paths: Mapping[tuple[str, int], Path]
) -> dict[tuple[str, int], Path]:
    """The paths along which a random derivative arrives as it does by autograd."""
    if not paths:
        return {}
    generator = torch.Generator().manual_seed(0)
    direction = torch.randn(logits.shape, generator=generator, device="cpu").to(logits.device, logits.dtype)
    with sound_gradients(nodes_below([logits.grad_fn])):
        gradients = torch.autograd.grad(logits, [reached[call] for call in paths], direction)
    return {
        call: path
        for (call, path), gradient in zip(paths.items(), gradients, strict=True)
        if _agrees(path, direction, gradient)
    }


def _agrees(path: Path, direction: Tensor, gradient: Tensor) -> bool:
    """Whether a path maps a derivative [1, C, H, W] of the logits to that of the layer's output."""
    dtype = torch.float64 if direction.dtype == torch.float64 else torch.float32
    if path.started == CHANNELS_LAST:
        gradient = gradient.permute(0, 3, 1, 2)
    rows = path.factor * path.rows
    # One class at a time, because the logits may be large.
    differences, sizes = [], []
    for of_class, actual in zip(direction[0].to(dtype), gradient[0], strict=True):
        expected = rows.pulled_back(path.columns.pulled_back(of_class).T).T
        differences.append((actual - expected).abs().max())
        sizes.append(expected.abs().max())
    # False if one of them is not a number.
    limit = _TOLERANCE.get(gradient.dtype, _TOLERANCE_HALF) * torch.stack(sizes).max()
    return bool(torch.stack(differences).max() <= limit)
