"""Which operation's gradients are measured by which rule: a registry by name of the operation or type of the module."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from torch import Tensor, nn

from gradmeter.errors import InputError
from gradmeter.reading.capture import Operation
from gradmeter.reading.layers.gradients import PerSampleGradient

OperationRule = Callable[[Operation], Mapping[int, PerSampleGradient]]
"""Maps an operation to the gradients of its inputs, by their number.

What a rule leaves out goes through autograd, right and slow.
"""

ModuleRule = Callable[[Any, Tensor, Tensor], Mapping[str, Tensor]]
"""Maps (module, input, gradient of the output) to ``{parameter name: [N, *parameter.shape]}``."""

_RuleT = TypeVar("_RuleT", bound=Callable[..., Any])

_OPERATIONS: dict[str, OperationRule] = {}
_MODULES: dict[type[nn.Module], ModuleRule] = {}
# Operations whose rule looks for itself whether the samples lie along an axis.
_ANY_OUTPUT: set[str] = set()


def register_rule(*kinds: str | type[nn.Module], any_output: bool = False) -> Callable[[_RuleT], _RuleT]:
    """Register a rule.

    Args:
        kinds: autograd's names of operations, such as "AddmmBackward0", for an `OperationRule`; or types of modules
            that map one tensor to one tensor, for a `ModuleRule`, which then stands for all that happens inside.
        any_output: for operations of several outputs: the rule is asked even where no gradient reaches the first one.

    Raises:
        InputError: for anything else.

    Example:
        >>> @register_rule(Scale)
        ... def scale(module, activation, delta):
        ...     return {"factor": (activation * delta).flatten(2).sum(2)}
    """

    for kind in kinds:
        if not isinstance(kind, str) and not (isinstance(kind, type) and issubclass(kind, nn.Module)):
            raise InputError(f"a rule for {kind!r}; expected the name of an operation or a type of nn.Module")

    def register(rule: _RuleT) -> _RuleT:
        for kind in kinds:
            if isinstance(kind, str):
                _OPERATIONS[kind] = rule
                (_ANY_OUTPUT.add if any_output else _ANY_OUTPUT.discard)(kind)
            else:
                _MODULES[kind] = rule
        return rule

    return register


def operation_rule(name: str) -> OperationRule | None:
    """The rule for operations of that name, None where autograd serves."""
    return _OPERATIONS.get(name)


def rule_for(operation: Operation) -> OperationRule | None:
    """The rule for an operation; None where there is none, or its samples do not lie as rules expect."""
    name = operation.node.name()
    return _OPERATIONS.get(name) if operation.regular or name in _ANY_OUTPUT else None


def module_rule(module: nn.Module) -> ModuleRule | None:
    """The rule that stands for a module, None where its operations are looked at.

    A subclass shares the rule of its base as long as it does not compute something else.
    """
    for base in type(module).__mro__:
        if base in _MODULES:
            return _MODULES[base] if type(module).forward is base.forward else None
    return None


def ruled_modules(network: nn.Module) -> dict[str, nn.Module]:
    """The modules of a network that have a rule of their own, by name."""
    if not _MODULES:
        return {}
    return {name: module for name, module in network.named_modules() if module_rule(module) is not None}


def measured_operations() -> tuple[str, ...]:
    """Names of the operations that have a rule."""
    return tuple(sorted(_OPERATIONS))
