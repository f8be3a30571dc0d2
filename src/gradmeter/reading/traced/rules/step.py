"""What a rule gets and returns, and the table of rules."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from gradmeter.reading.traced.sums import Direct, ParameterGradient

Gradients = dict[Any, Tensor | ParameterGradient]
"""Gradients by the index of the argument; by (0, index) for the tensors of a list that is the first argument."""


class Unruled(Exception):
    """A rule does not hold for these arguments; the text says for which."""


@dataclass(frozen=True)
class Layout:
    """Where the samples are in the output of an operation.

    Attributes:
        axis: of the samples; if axes were folded together, in a tensor of the sizes `leading` and the last one.
        leading: the sizes that were folded together to all but the last axis; None if they were not.
    """

    axis: int
    leading: Sequence[Any] | None = None

    def samples_first(self, values: Tensor) -> Tensor:
        """Return values laid out like the output with their samples along the first axis."""
        if self.leading is not None:
            values = values.reshape(*self.leading, values.shape[-1])
        return values.movedim(self.axis, 0)


@dataclass(frozen=True, eq=False)
class Step:
    """One operation of the forward pass, and the gradient that arrives at it.

    Attributes:
        args: values of its arguments; missing ones are not filled in.
        kwargs: values of its named arguments.
        output: its value.
        gradient: of its output, or of the first of several outputs.
        needed: indices of the arguments that need a gradient.
        parameters: indices of those that are parameters.
        layout: where the samples are in its output; None if no argument is a parameter.
    """

    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    output: Any
    gradient: Tensor
    needed: frozenset[int]
    parameters: frozenset[int]
    layout: Layout | None

    def arg(self, index: int, default: Any) -> Any:
        """The value of an optional argument."""
        return self.args[index] if len(self.args) > index else default

    def samples_first(self, values: Tensor) -> Tensor:
        """Return values laid out like the output with their samples along the first axis."""
        assert self.layout is not None
        return self.layout.samples_first(values)

    def require_samples_first(self) -> None:
        """Check that the output has its samples along the first axis.

        Raises:
            Unruled: if an argument is a parameter, and they are elsewhere.
        """
        if self.layout is not None and (self.layout.axis != 0 or self.layout.leading is not None):
            raise Unruled("samples that are not along the first axis")

    def fitted(self, index: int, gradient: Tensor) -> Tensor | Direct:
        """Sum the gradient of an argument over the axes along which it was repeated.

        Args:
            index: of the argument.
            gradient: of the argument as it was repeated, with the axes of the output.
        """
        like: Tensor = self.args[index]
        missing = gradient.dim() - like.dim()
        # The number of samples is a symbol in a trace, and is not compared with 1.
        repeated = [
            dim
            for dim, size in enumerate(gradient.shape)
            if dim < missing or (isinstance(size, int) and size != 1 and like.shape[dim - missing] == 1)
        ]
        if index in self.parameters:
            return self._of_parameter(like, gradient, missing, repeated)
        if repeated:
            gradient = gradient.sum(repeated, keepdim=True)
        return gradient.reshape(like.shape) if missing else gradient

    def _of_parameter(self, parameter: Tensor, gradient: Tensor, missing: int, repeated: Sequence[int]) -> Direct:
        assert self.layout is not None
        axis = self.layout.axis
        if self.layout.leading is not None or (axis >= missing and parameter.shape[axis - missing] != 1):
            raise Unruled("a parameter that is not the same for all samples")
        summed = [dim for dim in repeated if dim != axis]
        kept = gradient.sum(summed, keepdim=True) if summed else gradient
        return Direct(kept.movedim(axis, 0).flatten(1))


Rule = Callable[[Step], Gradients]
RULES: dict[Any, Rule] = {}
"""Rules by operation."""


def register(*operations: Any) -> Callable[[Rule], Rule]:
    """Make a function the rule of some operations."""

    def add(rule: Rule) -> Rule:
        RULES.update(dict.fromkeys(operations, rule))
        return rule

    return add


def each(values: Sequence[int], dims: Sequence[int]) -> Sequence[int]:
    """One value for each dimension: a single one holds for all."""
    return values if len(values) == len(dims) else [values[0]] * len(dims)
