"""What a network is called with: a tensor, a tuple or a mapping, all of whose tensors share the first axis."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from gradmeter.errors import InputError


@dataclass(frozen=True)
class Inputs:
    """Arguments of a forward pass for N samples, and the classes to ask for, [N], where they are given."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    labels: Tensor | None = None

    @classmethod
    def of(cls, given: Tensor | tuple[Any, ...] | Mapping[str, Any] | Inputs, labels: Tensor | None = None) -> Inputs:
        """Arguments from what a meter was called with; tensors lose their history.

        Raises:
            InputError: for an empty batch, tensors that are not dense or differ in length, labels that are not whole
                numbers [N], or something else.
        """
        args: tuple[Any, ...] = ()
        kwargs: Mapping[str, Any] = {}
        if isinstance(given, Tensor):
            args = (given,)
        elif isinstance(given, Mapping):
            kwargs = given
        elif isinstance(given, tuple):
            args = given
        elif isinstance(given, Inputs):
            args, kwargs = given.args, given.kwargs
            labels = given.labels if labels is None else labels
        else:
            raise InputError(f"inputs are a {type(given).__name__}; expected a tensor, a tuple or a dict of tensors")
        with torch.inference_mode(False):
            inputs = cls(tuple(map(_prepared, args)), {name: _prepared(value) for name, value in kwargs.items()})
        shapes = [tuple(tensor.shape) for tensor in inputs.tensors]
        if len({shape[:1] for shape in shapes} - {()}) != 1 or () in shapes:
            listed = ", ".join(map(str, shapes)) or "no tensor"
            raise InputError(f"inputs hold {listed}; expected tensors of shape (N, ...) with the same N for all")
        if shapes[0][0] == 0:
            raise InputError("the batch holds zero samples; expected at least one")
        if labels is None:
            return inputs
        if (
            not isinstance(labels, Tensor)
            or labels.shape != shapes[0][:1]
            or labels.is_floating_point()
            or labels.is_complex()
        ):
            found = f"{tuple(labels.shape)} {labels.dtype}" if isinstance(labels, Tensor) else type(labels).__name__
            raise InputError(f"labels are {found}; expected a tensor of {shapes[0][0]} whole numbers, one per sample")
        return replace(inputs, labels=labels.detach().long())

    @property
    def tensors(self) -> list[Tensor]:
        """All that are tensors."""
        return [value for value in (*self.args, *self.kwargs.values()) if isinstance(value, Tensor)]

    @property
    def samples(self) -> int:
        """N."""
        return len(self.tensors[0])

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of one sample's tensors."""
        return tuple(tuple(tensor.shape[1:]) for tensor in self.tensors)

    @property
    def options(self) -> tuple[tuple[int | str, Any], ...]:
        """Whole numbers, truth values, text and None among the arguments, by place or name: they may choose a way."""
        given: list[tuple[int | str, Any]] = [*enumerate(self.args), *self.kwargs.items()]
        return tuple((place, value) for place, value in given if isinstance(value, int | str | None))

    def rows(self, rows: slice | list[int]) -> Inputs:
        """Some of the samples."""
        cut = self.map(lambda tensor: tensor[rows])
        return replace(cut, labels=None if self.labels is None else self.labels[rows])

    def map(self, change: Callable[[Tensor], Tensor]) -> Inputs:
        """The same with other tensors in place of its tensors, labels aside."""

        def changed(value: Any) -> Any:
            return change(value) if isinstance(value, Tensor) else value

        return Inputs(
            tuple(map(changed, self.args)), {name: changed(value) for name, value in self.kwargs.items()}, self.labels
        )


def _prepared(value: Any) -> Any:
    """A tensor without its history; images with channels last, the faster memory order."""
    if not isinstance(value, Tensor):
        return value
    if value.is_nested or value.layout != torch.strided:
        given = "nested tensor" if value.is_nested else f"tensor of layout {value.layout}"
        raise InputError(f"inputs hold a {given}; expected dense tensors")
    value = value.detach()
    if value.is_inference():
        value = value.clone()
    if value.dim() == 4 and value.is_floating_point():
        value = value.contiguous(memory_format=torch.channels_last)
        if value.shape[1] == 1:
            # With one channel both orders are the same memory; only the strides tell convolutions which is meant.
            height, width = value.shape[2:]
            value = value.as_strided(value.shape, (height * width, 1, width, 1))
    return value
