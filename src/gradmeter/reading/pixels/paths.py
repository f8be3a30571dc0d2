"""The linear path from the output of a layer to the logits, such as an upsampling, as one matrix per image axis.

Every operation that is recognised acts on all channels alike and on rows and columns separately. So the path maps a map
z [h, w] of each channel to factor * rows @ z @ columns.T, with rows [H, h] and columns [W, w].
"""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from gradmeter.reading.pixels.bands import Band
from gradmeter.reading.pixels.trace import Trace

CHANNELS_FIRST, CHANNELS_LAST = "nchw", "nhwc"

_INTERPOLATE = inspect.signature(F.interpolate)
_WITH_CORNERS = ("bilinear", "bicubic")
# Resizings along one axis that are remembered.
_MOST_RESIZINGS = 256


@dataclass(frozen=True)
class Path:
    """A linear map of every channel's map of values.

    Attributes:
        rows: [H, h].
        columns: [W, w].
        factor: a factor of all values, which may be another one in another forward pass.
        scaled: whether the network multiplied by this factor or a part of it, which may depend on the input.
        axes: order of the axes of the tensor that the path has reached.
        dtype: dtype of that tensor.
        started: order of the axes of the layer's output.
        alone: whether nothing was added to that tensor but paths of other layers.
        steps: number of operations.
    """

    rows: Band
    columns: Band
    factor: float
    axes: str
    dtype: torch.dtype
    started: str
    alone: bool = True
    scaled: bool = False
    steps: int = 0

    @classmethod
    def start(cls, output: Tensor, axes: str) -> Path:
        """The identity, for the output [N, C, h, w] of a layer, or [N, h, w, C] with the axes "nhwc"."""
        rows, columns = (Band.identity(output.shape[axes.index(axis)]) for axis in "hw")
        return cls(rows, columns, 1.0, axes, output.dtype, axes)

    def is_like(self, other: Path) -> bool:
        """Whether the network did the same in another forward pass, up to the factor."""
        kinds = [(path.axes, path.dtype, path.started, path.steps) for path in (self, other)]
        return kinds[0] == kinds[1] and self.rows.equals(other.rows) and self.columns.equals(other.columns)

    def at(self, y: Tensor, x: Tensor, output: Tensor) -> Tensor:
        """What becomes of a layer's output at P pixels, [N, C, P], for their rows y and columns x, [P]."""
        if self.started == CHANNELS_LAST:
            output = output.permute(0, 3, 1, 2)
        down = (self.factor * self.rows[y]).dense().to(output)
        across = self.columns[x].dense().to(output)
        return torch.einsum("ph,nchw,pw->ncp", down, output, across)


_Rule = Callable[[Path, tuple[Any, ...], dict[str, Any], Tensor], Path | None]
_RULES: dict[Any, _Rule] = {}


def _rule(*functions: Any) -> Callable[[_Rule], _Rule]:
    def register(rule: _Rule) -> _Rule:
        _RULES.update(dict.fromkeys(functions, rule))
        return rule

    return register


@_rule(Tensor.contiguous, Tensor.clone, torch.clone, Tensor.detach, Tensor.to, Tensor.float, Tensor.double, Tensor.type)
def _same(path: Path, args: tuple[Any, ...], kwargs: dict[str, Any], result: Tensor) -> Path | None:
    return path if result.is_floating_point() else None


@_rule(F.dropout, F.dropout2d)
def _dropout(path: Path, args: tuple[Any, ...], kwargs: dict[str, Any], result: Tensor) -> Path | None:
    training = kwargs.get("training", args[2] if len(args) > 2 else True)
    return None if training else path


@_rule(F.interpolate)
def _interpolate(path: Path, args: tuple[Any, ...], kwargs: dict[str, Any], result: Tensor) -> Path | None:
    if path.axes != CHANNELS_FIRST:
        return None
    options = _INTERPOLATE.bind(*args, **kwargs).arguments
    scale = options.get("scale_factor")
    scales = scale if isinstance(scale, tuple | list) else (scale, scale)
    if options.get("recompute_scale_factor"):
        scales = (None, None)
    mode = options.get("mode", "nearest")
    further: dict[str, Any] = {"mode": mode, "antialias": options.get("antialias", False)}
    if mode in _WITH_CORNERS:
        further["align_corners"] = options.get("align_corners")

    # In the dtype of the network, because the kernels round source positions in it.
    dtype = path.dtype if path.dtype in (torch.float32, torch.float64) else torch.float32

    def along(band: Band, length: int, factor: float | None) -> Band:
        return _resized(len(band), length, None if factor is None else float(factor), dtype, **further) @ band

    height, width = result.shape[2:]
    return replace(path, rows=along(path.rows, height, scales[0]), columns=along(path.columns, width, scales[1]))


@lru_cache(_MOST_RESIZINGS)
def _resized(inputs: int, outputs: int, factor: float | None, dtype: torch.dtype, **options: Any) -> Band:
    """What `interpolate` does along one axis."""
    # Along the last axis: antialiasing along the rows of a single column returns wrong numbers in PyTorch 2.13.
    impulses = torch.eye(inputs, dtype=dtype, device="cpu").reshape(inputs, 1, 1, inputs)
    size: dict[str, Any] = {"size": (1, outputs)} if factor is None else {"scale_factor": (1.0, factor)}
    return Band.of_matrix(F.interpolate(impulses, **size, **options).flatten(1).T.double())


@_rule(F.pad, torch._C._nn.pad)
def _pad(path: Path, args: tuple[Any, ...], kwargs: dict[str, Any], result: Tensor) -> Path | None:
    given = dict(zip(("input", "pad", "mode", "value"), args, strict=False)) | kwargs
    widths = [*given["pad"]]
    if path.axes != CHANNELS_FIRST or given.get("mode", "constant") != "constant" or given.get("value"):
        return None
    if len(widths) not in (2, 4):
        return None
    left, right, top, bottom = widths + [0, 0] * (len(widths) == 2)
    return replace(path, rows=path.rows.padded(top, bottom), columns=path.columns.padded(left, right))


@_rule(Tensor.__getitem__)
def _slice(path: Path, args: tuple[Any, ...], kwargs: dict[str, Any], result: Tensor) -> Path | None:
    index = args[1] if isinstance(args[1], tuple) else (args[1],)
    if sum(entry is Ellipsis for entry in index) > 1 or not all(
        isinstance(entry, slice) or entry is Ellipsis for entry in index
    ):
        return None
    if Ellipsis in index:
        at = index.index(Ellipsis)
        index = (*index[:at], *[slice(None)] * (5 - len(index)), *index[at + 1 :])
    by_axis = dict(zip(path.axes, (*index, *[slice(None)] * (4 - len(index))), strict=True))
    if by_axis["n"] != slice(None) or by_axis["c"] != slice(None):
        return None
    return replace(path, rows=path.rows[by_axis["h"]], columns=path.columns[by_axis["w"]])


@_rule(Tensor.permute, torch.permute)
def _permute(path: Path, args: tuple[Any, ...], kwargs: dict[str, Any], result: Tensor) -> Path | None:
    order = kwargs.get("dims", args[1] if len(args) == 2 else args[1:])
    if isinstance(order, int) or len(order) != 4:
        return None
    return replace(path, axes="".join(path.axes[dim] for dim in order))


def _number(value: Any) -> float | None:
    if isinstance(value, Tensor):
        return float(value.detach()) if value.numel() == 1 and not value.is_complex() else None
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


_TIMES = (torch.mul, Tensor.mul, Tensor.mul_, Tensor.__mul__, Tensor.__rmul__, Tensor.__imul__)


@_rule(*_TIMES)
def _times(path: Path, args: tuple[Any, ...], kwargs: dict[str, Any], result: Tensor) -> Path | None:
    factor = _number(args[1])
    if factor is None or kwargs or result.shape != args[0].shape:
        return None
    return replace(path, factor=path.factor * factor, scaled=True)


@_rule(torch.div, Tensor.div, Tensor.div_, Tensor.__truediv__, Tensor.__itruediv__)
def _divided(path: Path, args: tuple[Any, ...], kwargs: dict[str, Any], result: Tensor) -> Path | None:
    divisor = _number(args[1])
    if not divisor or kwargs or result.shape != args[0].shape:
        return None
    return replace(path, factor=path.factor / divisor, scaled=True)


@_rule(torch.neg, torch.negative, Tensor.neg, Tensor.neg_, Tensor.negative, Tensor.negative_, Tensor.__neg__)
def _negated(path: Path, args: tuple[Any, ...], kwargs: dict[str, Any], result: Tensor) -> Path | None:
    return replace(path, factor=-path.factor)


_ADD = (torch.add, Tensor.add, Tensor.add_, Tensor.__add__, Tensor.__radd__, Tensor.__iadd__)
_SUBTRACT = (torch.sub, Tensor.sub, Tensor.sub_, Tensor.__sub__, Tensor.__isub__)
_SUBTRACT_FROM = (torch.rsub, Tensor.__rsub__)

_Call = tuple[str, int]
"""A layer, and the number of its earlier calls in the same forward pass."""


@dataclass(frozen=True)
class _Reached:
    """A tensor that paths have reached, its version then, and the paths."""

    tensor: weakref.ref[Tensor]
    version: int
    paths: Mapping[_Call, Path]


class LinearPaths(TorchFunctionMode):
    """Follow the outputs of layers through the operations of a forward pass, as long as these are recognised.

    Attributes:
        trace: all operations.
    """

    def __init__(self) -> None:
        super().__init__()
        self.trace = Trace()
        self._with_gradients = torch.is_grad_enabled()
        self._reached: dict[int, _Reached] = {}

    def begin(self, call: _Call, output: Tensor, axes: str) -> None:
        """Follow the output of a call."""
        self._store(output, {call: Path.start(output, axes)})

    def to(self, logits: Tensor) -> Mapping[_Call, Path]:
        """The paths to the logits [N, C, H, W]; a call is missing if an operation behind it was not recognised."""
        paths = self._paths(logits)
        return {call: path for call, path in paths.items() if path.axes == CHANNELS_FIRST}

    def _store(self, tensor: Tensor, paths: Mapping[_Call, Path]) -> None:
        # The outputs of all layers would need as much memory as training, and an identifier may be used again.
        key = id(tensor)
        reference = weakref.ref(tensor, lambda _: self._reached.pop(key, None))
        self._reached[key] = _Reached(reference, tensor._version, paths)

    def _paths(self, tensor: Any) -> Mapping[_Call, Path]:
        reached = self._reached.get(id(tensor))
        known = None if reached is None else reached.tensor()
        if reached is None or known is None or known is not tensor:
            return {}
        return reached.paths if known._version == reached.version else {}

    def __torch_function__(
        self, func: Any, types: Iterable[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run an operation, and follow the paths of its arguments."""
        kwargs = kwargs or {}
        before = [self._paths(value) for value in args[:2]] if any(id(value) in self._reached for value in args) else []
        result = func(*args, **kwargs)
        self.trace.add(func, args, kwargs, result)
        # Where gradients are disabled, as in an autograd.Function, the operations do not tell the derivative.
        is_cut_off = self._with_gradients and not torch.is_grad_enabled()
        if any(before) and isinstance(result, Tensor) and not is_cut_off:
            paths = self._behind(func, args, kwargs, result, before)
            if paths:
                self._store(result, paths)
        return result

    def _behind(
        self,
        func: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        result: Tensor,
        before: list[Mapping[_Call, Path]],
    ) -> Mapping[_Call, Path]:
        if func in _ADD or func in _SUBTRACT or func in _SUBTRACT_FROM:
            signs = (-1.0 if func in _SUBTRACT_FROM else 1.0, -1.0 if func in _SUBTRACT else 1.0)
            return {} if kwargs else _summed(args, result, before, signs)
        if func not in _RULES or (all(before) and len(before) == 2):
            return {}
        if not before[0]:
            if func not in _TIMES:
                return {}
            before, args = before[::-1], args[::-1]
        behind = {}
        for call, path in before[0].items():
            changed = _RULES[func](path, args, kwargs, result)
            if changed is not None:
                behind[call] = replace(changed, dtype=result.dtype, steps=path.steps + 1)
        return behind


def _summed(
    args: tuple[Any, ...], result: Tensor, before: list[Mapping[_Call, Path]], signs: tuple[float, float]
) -> Mapping[_Call, Path]:
    """Paths through a sum of two terms with these signs."""
    summed: dict[_Call, Path] = {}
    twice = before[0].keys() & before[-1].keys() if len(before) == 2 else set()
    alone = len(before) == 2 and all(before)
    for position, paths in enumerate(before):
        for call, path in paths.items():
            # A term that is broadcast belongs to several pixels.
            if call in twice or args[position].shape != result.shape:
                continue
            factor = path.factor * signs[position]
            summed[call] = replace(
                path, factor=factor, dtype=result.dtype, alone=path.alone and alone, steps=path.steps + 1
            )
    return summed
