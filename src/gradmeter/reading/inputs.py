"""Inputs of a network: a tensor, a tuple or a mapping whose tensors have the samples along their first axis."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from inspect import Parameter, signature
from typing import Any

import torch
from torch import Tensor, nn

from gradmeter.errors import InputError

MASK = "attention_mask"
"""Name of the tensor [N, T] that marks padding by zeros. How much there is depends on the rest of the batch."""

PROBE_SAMPLES = 3
"""Samples in a probe: two can hide a folded batch, more cost more."""


@dataclass(frozen=True)
class Inputs:
    """Arguments of a forward pass for N samples.

    Attributes:
        args: positional arguments.
        kwargs: keyword arguments.
        labels: [N] classes that replace the first pseudo-label; None to keep it.
        mask_place: place of the mask among the positional arguments; None if it can only be a keyword argument.
    """

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    labels: Tensor | None = None
    mask_place: int | None = None

    @classmethod
    def of(
        cls, arguments: Tensor | tuple[Any, ...] | Mapping[str, Any] | Inputs, labels: Tensor | None = None
    ) -> Inputs:
        """Convert the arguments of a meter to `Inputs`; tensors are detached.

        Raises:
            InputError: if the batch is empty, if tensors are not dense or differ in length, if labels are not integers
                [N], or if the inputs have another type.
        """
        args: tuple[Any, ...] = ()
        kwargs: Mapping[str, Any] = {}
        if isinstance(arguments, Tensor):
            args = (arguments,)
        elif isinstance(arguments, Mapping):
            kwargs = arguments
        elif isinstance(arguments, tuple):
            args = arguments
        elif isinstance(arguments, Inputs):
            args, kwargs = arguments.args, arguments.kwargs
            labels = arguments.labels if labels is None else labels
        else:
            raise InputError(f"inputs are a {type(arguments).__name__}; expected a tensor, or a tuple or dict of them")
        with torch.inference_mode(False):
            inputs = cls(tuple(map(_prepared, args)), {name: _prepared(value) for name, value in kwargs.items()})
        shapes = [tuple(tensor.shape) for tensor in inputs.tensors]
        if len({shape[:1] for shape in shapes} - {()}) != 1 or () in shapes:
            given_tensors = f"tensors of shape {', '.join(map(str, shapes))}" if shapes else "no tensor"
            raise InputError(f"inputs hold {given_tensors}; expected tensors (N, ...) with the same N for all")
        if shapes[0][0] == 0:
            raise InputError("the batch has 0 samples; expected at least 1")
        if labels is None:
            return inputs
        if isinstance(labels, Tensor):
            _require_dense(labels, "labels are")
        if (
            not isinstance(labels, Tensor)
            or labels.shape != shapes[0][:1]
            or labels.is_floating_point()
            or labels.is_complex()
            or labels.dtype == torch.bool
        ):
            shape = f"{tuple(labels.shape)} {labels.dtype}" if isinstance(labels, Tensor) else type(labels).__name__
            raise InputError(f"labels are {shape}; expected an integer tensor of shape ({shapes[0][0]},)")
        return replace(inputs, labels=labels.detach().long())

    @cached_property
    def tensors(self) -> list[Tensor]:
        """All tensors among the arguments."""
        return [value for value in (*self.args, *self.kwargs.values()) if isinstance(value, Tensor)]

    @cached_property
    def samples(self) -> int:
        """The number of samples, N."""
        return len(self.tensors[0])

    @cached_property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of the tensors for one sample."""
        return tuple(tuple(tensor.shape[1:]) for tensor in self.tensors)

    @cached_property
    def options(self) -> tuple[tuple[int | str, Any], ...]:
        """Integers, booleans, strings and None by position or name: they may select a branch of the network."""
        arguments: list[tuple[int | str, Any]] = [*enumerate(self.args), *self.kwargs.items()]
        return tuple((key, value) for key, value in arguments if isinstance(value, int | str | None))

    def for_network(self, network: nn.Module) -> Inputs:
        """The same arguments, with the place of the mask according to the parameters of the network's forward pass."""
        names = _parameter_names(network)[: len(self.args)] if len(self.args) > 1 else []
        return replace(self, mask_place=names.index(MASK)) if MASK in names else self

    def named_for(self, network: nn.Module) -> Inputs:
        """The same arguments, where possible by the names of the parameters of the network's forward pass."""
        names = _parameter_names(network)[: len(self.args)]
        named = dict(zip(names, self.args, strict=False)) | self.kwargs
        return replace(self, args=self.args[len(names) :], kwargs=named, mask_place=None)

    @cached_property
    def mask_argument(self) -> Any:
        """The argument that marks padding; None if there is none."""
        return self.kwargs.get(MASK) if self.mask_place is None else self.args[self.mask_place]

    @cached_property
    def mask(self) -> Tensor | None:
        """Which positions are no padding, [N, T] bool; None if there is no padding."""
        mask = self.mask_argument
        if not isinstance(mask, Tensor) or mask.dim() != 2 or bool((mask != 0).all()):
            return None
        return mask != 0

    @cached_property
    def text_axes(self) -> list[int | None]:
        """For each tensor, the axis with an entry for each position of the padded text or sound; None if it has none.

        A tensor of real numbers, such as a table beside a text, may have an axis of this length by chance. It belongs
        to the text if its entries at all padded positions are equal, or if no tensor but the mask does.
        """
        if self.mask is None:
            return [None] * len(self.tensors)
        axes, padding = [_position_axis(tensor, self.mask.shape[1]) for tensor in self.tensors], ~self.mask
        padded = [
            None if axis is None or (tensor.is_floating_point() and not _are_padded(tensor, axis, padding)) else axis
            for tensor, axis in zip(self.tensors, axes, strict=True)
        ]
        return padded if len(padded) - padded.count(None) > 1 else axes

    def with_and_without_padding(self) -> Iterator[tuple[Inputs, Inputs]]:
        """One sample of each padding with it and without, the most padded first; none that is nothing but padding.

        Much padding shows best what depends on it.
        """
        if self.mask is None:
            return
        rows = {tuple(kept): row for row, kept in reversed([*enumerate(self.mask.tolist())])}
        for _, row in sorted((sum(kept), row) for kept, row in rows.items()):
            padded = self.rows([row])
            if (trimmed := padded._trimmed(self.text_axes)) is not None:
                yield padded, trimmed

    def _trimmed(self, axes: Sequence[int | None]) -> Inputs | None:
        """The inputs without the padding at both ends of the first sample; None if it has none, or nothing else."""
        kept = [] if self.mask is None else self.mask[0].nonzero()[:, 0].tolist()
        if self.mask is None or not kept or kept[-1] - kept[0] + 1 == self.mask.shape[1]:
            return None
        length = kept[-1] - kept[0] + 1
        return self.replaced(
            *(
                tensor if axis is None else tensor.narrow(axis, kept[0], length).contiguous()
                for tensor, axis in zip(self.tensors, axes, strict=True)
            )
        )

    def rows(self, rows: slice | Sequence[int]) -> Inputs:
        """The inputs of some of the samples; nothing is copied for a slice or a range."""
        chosen = slice(rows.start, rows.stop, rows.step) if isinstance(rows, range) else rows
        selected = self.map(lambda tensor: tensor[chosen])
        return replace(selected, labels=None if self.labels is None else self.labels[chosen])

    def spread(self, most: int) -> Inputs:
        """At most so many of the samples, evenly spaced."""
        if self.samples <= most:
            return self
        return self.rows(torch.linspace(0, self.samples - 1, most, device="cpu").round().long().tolist())

    def probe(self) -> Inputs:
        """Samples to find out how a network treats a batch; unless all are equal, the last differs from the others."""
        different: list[int] = []
        for row in range(self.samples):
            if not any(self.are_equal(row, other) for other in different):
                different.append(row)
            if len(different) == PROBE_SAMPLES:
                break
        return self.rows([different[0]] * (PROBE_SAMPLES - len(different)) + different)

    def are_equal(self, row: int, other: int) -> bool:
        """Whether two samples are equal."""
        return all(torch.equal(tensor[row], tensor[other]) for tensor in self.tensors)

    def map(self, change: Callable[[Tensor], Tensor]) -> Inputs:
        """Apply a function to every tensor; labels stay unchanged."""

        def apply(value: Any) -> Any:
            return change(value) if isinstance(value, Tensor) else value

        args, kwargs = tuple(map(apply, self.args)), {name: apply(value) for name, value in self.kwargs.items()}
        return replace(self, args=args, kwargs=kwargs)

    def in_default_format(self) -> Inputs:
        """The same inputs, with images in PyTorch's default memory format, in which each channel is contiguous."""
        return self.map(lambda tensor: tensor.clone(memory_format=torch.contiguous_format))

    def replaced(self, *tensors: Tensor) -> Inputs:
        """The same arguments with other tensors, in the order of `tensors`."""
        new = iter(tensors)
        return self.map(lambda _: next(new))


def _position_axis(values: Tensor, positions: int) -> int | None:
    """The first axis of this length but that of the samples; inputs with four or more axes are images."""
    shape = values.shape
    return shape.index(positions, 1) if values.dim() <= 3 and positions in shape[1:] else None


def _are_padded(values: Tensor, axis: int, padding: Tensor) -> bool:
    """Whether the entries at all padded positions, [N, T] bool, are equal."""
    padded = values.movedim(axis, 1)[padding.to(values.device)]
    return bool((padded == padded[0]).all())


def _prepared(value: Any) -> Any:
    """Detach a tensor, and convert images to the channels-last memory format, which is faster."""
    if not isinstance(value, Tensor):
        return value
    _require_dense(value, "inputs hold")
    value = value.detach()
    if value.is_inference():
        value = value.clone()
    if value.dim() == 4 and value.is_floating_point():
        value = value.contiguous(memory_format=torch.channels_last)
        if value.shape[1] == 1:
            # With one channel both formats are the same memory; only the strides tell convolutions which one it is.
            height, width = value.shape[2:]
            value = value.as_strided(value.shape, (height * width, 1, width, 1))
    return value


def _parameter_names(network: nn.Module) -> list[str]:
    """Names of the parameters of the network's forward pass that can be given by position."""
    try:
        parameters = signature(network.forward).parameters.values()
    # TorchScript has none; from Python 3.14 on, annotations that are not imported raise a NameError.
    except (TypeError, ValueError, NameError):
        return []
    return [parameter.name for parameter in parameters if parameter.kind <= Parameter.POSITIONAL_OR_KEYWORD]


def _require_dense(tensor: Tensor, subject: str) -> None:
    """Refuse a nested or sparse tensor, and one on the device "meta"."""
    if tensor.is_nested or tensor.layout != torch.strided:
        kind = "nested tensor" if tensor.is_nested else f"tensor of layout {tensor.layout}"
        raise InputError(f"{subject} a {kind}; expected a dense tensor")
    if tensor.is_meta:
        raise InputError(f"{subject} a tensor on the device meta, which has no values; expected one on a real device")
