"""Registry of the rules, by name of the operation or type of the module."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from torch import Tensor, nn

from gradmeter.errors import InputError
from gradmeter.reading.capture import Operation
from gradmeter.reading.layers.gradients import PerSampleGradient
from gradmeter.reading.network import runs_forward_of

OperationRule = Callable[[Operation], Mapping[int, PerSampleGradient]]
"""Maps an operation to the gradients of its inputs, by the input's number.

Inputs that a rule leaves out are measured by autograd, which is correct but slow.
"""

ModuleRule = Callable[[Any, Tensor, Tensor], Mapping[str, Tensor]]
"""Maps (module, input, gradient of the output) to ``{parameter name: [N, *parameter.shape]}``."""

_RuleT = TypeVar("_RuleT", bound=Callable[..., Any])

OPERATION_RULES: dict[str, OperationRule] = {}
"""The registered rules for operations, by autograd's name."""

MODULE_RULES: dict[type[nn.Module], ModuleRule] = {}
"""The registered rules for modules, by type."""

# Operations whose rule checks itself whether the samples lie along an axis.
_ANY_OUTPUT: set[str] = set()


def register_rule(*kinds: str | type[nn.Module], any_output: bool = False) -> Callable[[_RuleT], _RuleT]:
    """Register a rule for operations or modules.

    Args:
        kinds: autograd's names of operations, such as "AddmmBackward0", for an `OperationRule`; or types of modules
            that map one tensor to one tensor, for a `ModuleRule`, which then covers all operations inside the module.
        any_output: for operations with several outputs: call the rule even if the first output has no gradient.

    Raises:
        InputError: if a kind is neither a string nor a type of nn.Module.

    Example:
        >>> @register_rule(Scale)
        ... def scale(module, activation, delta):
        ...     return {"factor": (activation * delta).flatten(2).sum(2)}
    """

    for kind in kinds:
        if not isinstance(kind, str) and not (isinstance(kind, type) and issubclass(kind, nn.Module)):
            raise InputError(f"rule for {kind!r}; expected the name of an operation or a type of nn.Module")

    def register(rule: _RuleT) -> _RuleT:
        for kind in kinds:
            if isinstance(kind, str):
                OPERATION_RULES[kind] = rule
                (_ANY_OUTPUT.add if any_output else _ANY_OUTPUT.discard)(kind)
            else:
                MODULE_RULES[kind] = rule
        return rule

    return register


def operation_rule(name: str) -> OperationRule | None:
    """The rule for operations with this name; None if there is none."""
    return OPERATION_RULES.get(name)


def rule_for(operation: Operation) -> OperationRule | None:
    """The rule for an operation; None if there is none, or if the samples do not lie along an axis of its output."""
    name = operation.node.name()
    return OPERATION_RULES.get(name) if operation.regular or name in _ANY_OUTPUT else None


def module_rule(module: nn.Module) -> ModuleRule | None:
    """The rule for a module; None if there is none.

    A subclass inherits the rule of its base unless it, or the module itself, has another `forward`.
    """
    for base in type(module).__mro__:
        if base in MODULE_RULES:
            return MODULE_RULES[base] if runs_forward_of(module, base) else None
    return None


def ruled_modules(modules: Mapping[str, nn.Module]) -> dict[str, nn.Module]:
    """Those of the modules that have a rule, by name."""
    if not MODULE_RULES:
        return {}
    return {name: module for name, module in modules.items() if module_rule(module) is not None}


def measured_operations() -> tuple[str, ...]:
    """Names of the operations that have a rule."""
    return tuple(sorted(OPERATION_RULES))
