"""Which layer's gradients are measured by which rule: a registry by module type."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from torch import Tensor, nn

from gradmeter.errors import UnsupportedModelError
from gradmeter.kernels.portable import PerSampleGradient

Rule = Callable[[nn.Module, Tensor, Tensor], dict[str, PerSampleGradient]]
"""Maps (module, input [N, ...], gradient of the output [N, ...]) to the gradient of each of its parameters."""

_RuleT = TypeVar("_RuleT", bound=Callable[..., dict[str, PerSampleGradient]])

_RULES: dict[type[nn.Module], Callable[..., dict[str, PerSampleGradient]]] = {}


def measures(*types: type[nn.Module]) -> Callable[[_RuleT], _RuleT]:
    """Register a rule for one or more module types."""

    def register(rule: _RuleT) -> _RuleT:
        _RULES.update(dict.fromkeys(types, rule))
        return rule

    return register


def rule_for(module: nn.Module) -> Rule | None:
    """The rule that measures this module, None where there is none.

    A subclass shares the rule of its base as long as it does not compute something else.
    """
    for base in type(module).__mro__:
        if base in _RULES:
            return _RULES[base] if type(module).forward is base.forward else None
    return None


def require_rule(name: str, module: nn.Module) -> Rule:
    """The rule that measures this module.

    Raises:
        UnsupportedModelError: if its parameters cannot be measured; none is ever left out silently.
    """
    rule = rule_for(module)
    if rule is None:
        parameters = ", ".join(parameter for parameter, _ in module.named_parameters(recurse=False))
        covered = ", ".join(sorted(base.__name__ for base in _RULES))
        raise UnsupportedModelError(
            f"layer {name!r} ({type(module).__name__}) owns {parameters}, whose gradients cannot be measured; "
            f"expected one of {covered}"
        )
    return rule
