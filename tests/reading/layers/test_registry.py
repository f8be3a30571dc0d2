import re
from collections.abc import Callable, Mapping
from types import MethodType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gradmeter import GradientMeter, InputError, UnsupportedModelError
from gradmeter.reading.capture import Operation
from gradmeter.reading.layers import measured_operations, module_rule, operation_rule, register_rule, registry
from gradmeter.reading.layers.gradients import Dense, PerSampleGradient
from oracles.loop import expected_readings
from oracles.moments import assert_agree
from oracles.networks import Recipe, randomise, samples
from reading.layers.measured import Use, built, check

EXACT = {"norms": 1e-10, "shapes": 1e-8}
IMAGES = samples(4, 3, 2, 2)


@pytest.fixture(autouse=True)
def own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Restore the registered rules after each test."""
    monkeypatch.setattr(registry, "OPERATION_RULES", dict(registry.OPERATION_RULES))
    monkeypatch.setattr(registry, "MODULE_RULES", dict(registry.MODULE_RULES))


class Scale(nn.Module):
    """A factor per channel."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.ones(3))

    def forward(self, x: Tensor) -> Tensor:
        return x.tanh() * self.factor.reshape(-1, 1, 1)


class Renamed(Scale):
    """Does not override `forward`."""


class Doubled(Scale):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


def scale(module: Scale, activation: Tensor, delta: Tensor) -> dict[str, Tensor]:
    return {"factor": (activation.tanh() * delta).flatten(2).sum(2)}


def network(layer: nn.Module) -> Recipe:
    model = Recipe(lambda m, x: m.head(m.layer(m.stem(x)).flatten(1)), stem=nn.Conv2d(3, 3, 1), layer=layer,
                   head=nn.Linear(12, 3))  # fmt: skip
    randomise(model.double().eval())
    return model


def assert_measured(model: nn.Module, x: Tensor) -> None:
    layers, expected = expected_readings(model, x)
    readings = GradientMeter(model)(x)
    assert readings.layers == layers
    assert_agree(readings.values, expected, **EXACT)


def counting(rule: Callable[..., Any]) -> tuple[Callable[..., Any], list[tuple[Any, ...]]]:
    """The rule, wrapped, and the list of the arguments of its calls."""
    calls: list[tuple[Any, ...]] = []

    def counted(*args: Any) -> Any:
        calls.append(args)
        return rule(*args)

    return counted, calls


# --- modules


@pytest.mark.parametrize("make", [Scale, Renamed])
def test_a_rule_for_an_own_module(make: type[Scale]) -> None:
    counted, calls = counting(scale)
    assert register_rule(Scale)(counted) is counted
    model = network(make())
    assert module_rule(model.layer) is counted
    assert_measured(model, IMAGES)
    assert {(type(module), tuple(delta.shape[1:])) for module, _, delta in calls} == {(make, (3, 2, 2))}
    assert not any(activation.requires_grad for _, activation, _ in calls)


def test_a_registered_rule_can_be_removed() -> None:
    counted, calls = counting(scale)
    register_rule(Scale)(counted)
    model = network(Scale())
    assert_measured(model, IMAGES)
    assert len(calls) == 1
    del registry.MODULE_RULES[Scale]
    assert_measured(model, IMAGES)
    assert len(calls) == 1


def test_a_module_that_computes_something_else_is_not_its_base() -> None:
    counted, calls = counting(scale)
    register_rule(Scale)(counted)
    model = network(Doubled())
    assert module_rule(model.layer) is None
    assert_measured(model, IMAGES)
    assert calls == []


def test_a_rule_for_the_subclass_comes_first() -> None:
    register_rule(Scale)(scale)
    doubled = register_rule(Doubled)(lambda module, x, delta: {"factor": 2 * scale(module, x, delta)["factor"]})
    assert module_rule(Doubled()) is doubled
    assert module_rule(Scale()) is scale
    assert_measured(network(Doubled()), IMAGES)


def test_a_module_without_a_rule() -> None:
    assert module_rule(nn.Linear(2, 2)) is None
    assert_measured(network(Scale()), IMAGES)


def test_one_rule_for_several_kinds() -> None:
    register_rule(Scale, Doubled, "Unheard")(scale)
    assert [module_rule(Scale()), module_rule(Doubled()), operation_rule("Unheard")] == [scale] * 3


class Block(nn.Module):
    """A module whose submodules own the parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(2, 2, bias=False), Scale()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.right(self.left(x))
        return out


def block(module: Block, activation: Tensor, delta: Tensor) -> dict[str, Tensor]:
    hidden = module.left(activation).tanh().detach()
    inner = delta * module.right.factor.detach().reshape(-1, 1, 1) * (1 - hidden**2)
    return {
        "left.weight": torch.einsum("nchw,nchv->nwv", inner, activation),
        "right.factor": (hidden * delta).flatten(2).sum(2),
    }


def test_a_rule_for_a_module_whose_submodules_own_the_parameters() -> None:
    counted, calls = counting(block)
    register_rule(Block)(counted)
    inner, inner_calls = counting(scale)
    register_rule(Scale)(inner)
    assert_measured(network(Block()), IMAGES)
    assert calls
    assert inner_calls == []


def test_a_module_called_twice() -> None:
    register_rule(Scale)(scale)
    model = Recipe(lambda m, x: m.head((m.layer(m.layer(x)) + m.layer(x)).flatten(1)), layer=Scale(),
                   head=nn.Linear(12, 3))  # fmt: skip
    assert_measured(randomise(model.double()), IMAGES)


def test_a_parameter_used_past_the_module_too() -> None:
    register_rule(Scale)(scale)
    model = Recipe(lambda m, x: m.head((m.layer(x) + m.layer.factor[0] * x).flatten(1)), layer=Scale(),
                   head=nn.Linear(12, 3))  # fmt: skip
    assert_measured(randomise(model.double()), IMAGES)


@pytest.mark.parametrize(
    ("answer", "given"),
    [
        ({}, "nothing"),
        ({"scale": torch.zeros(3, 3)}, "nothing"),
        ({"factor": torch.zeros(3)}, r"shape \(3,\)"),
        ({"factor": torch.zeros(3, 3, 1)}, r"shape \(3, 3, 1\)"),
        ({"factor": torch.zeros(1, 3)}, r"shape \(1, 3\)"),
        ({"factor": torch.zeros(3, 3).numpy()}, "ndarray"),
        (None, "nothing"),
        (torch.zeros(3, 2), r"shape \(3, 2\)"),
    ],
)
def test_a_rule_that_gives_something_else(answer: Any, given: str) -> None:
    register_rule(Scale)(lambda module, activation, delta: answer)
    with pytest.raises(UnsupportedModelError, match=rf"Scale.* {given} .*'layer/factor'.*\(3, 3\)$"):
        GradientMeter(network(Scale()))(IMAGES[:3])


@pytest.mark.parametrize("kind", [3, Tensor, Scale()])
def test_rules_for_what_has_none(kind: Any) -> None:
    with pytest.raises(InputError, match=re.escape(repr(kind))):
        register_rule(kind)


def test_biases_that_are_left_out_need_no_gradient() -> None:
    class Shift(Scale):
        def __init__(self) -> None:
            super().__init__()
            self.bias = nn.Parameter(torch.ones(3))

        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) + self.bias.reshape(-1, 1, 1)

    register_rule(Shift)(scale)
    assert GradientMeter(network(Shift()), biases=False)(IMAGES).layers == ("stem", "layer", "head", "all")
    with pytest.raises(UnsupportedModelError, match=r"nothing .*'layer/bias'"):
        GradientMeter(network(Shift()))(IMAGES)


# --- operations


class Matrix(torch.autograd.Function):
    """A product with a parameter as a single operation of the graph."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor) -> Tensor:
        ctx.save_for_backward(x, w)
        return x @ w

    @staticmethod
    def backward(ctx: Any, *deltas: Tensor) -> tuple[Tensor, Tensor]:
        x, w = ctx.saved_tensors
        return deltas[0] @ w.t(), x.t() @ deltas[0]


product: Callable[[Tensor, Tensor], Tensor] = Matrix.apply

PRODUCT: Use = (lambda m, x: product(x, m.w), samples(4, 5), {"w": (5, 3)})


def matrix(operation: Operation) -> Mapping[int, PerSampleGradient]:
    x, _ = operation.node.saved_tensors  # type: ignore[attr-defined]
    return {1: Dense(operation.rows(x).unsqueeze(1), operation.rows(operation.delta).unsqueeze(1))}


def test_a_rule_for_an_own_operation() -> None:
    assert check(*built(PRODUCT)) == {"w": ["Masked"]}
    counted, calls = counting(matrix)
    assert register_rule("MatrixBackward")(counted) is counted
    assert operation_rule("MatrixBackward") is counted
    assert check(*built(PRODUCT)) == {"w": ["Dense"]}
    assert len(calls) == 1


@pytest.mark.parametrize("answer", [{}, {0: None}, {1: None}])
def test_what_a_rule_leaves_out_goes_through_autograd(answer: Any) -> None:
    register_rule("MatrixBackward")(lambda operation: answer)
    assert check(*built(PRODUCT)) == {"w": ["Masked"]}


def test_names_of_the_operations_that_have_a_rule() -> None:
    names = measured_operations()
    assert list(names) == sorted(names)
    assert {"AddmmBackward0", "ConvolutionBackward0", "NativeLayerNormBackward0", "EmbeddingBackward0"} <= set(names)
    register_rule("Unheard")(matrix)
    assert set(measured_operations()) == {*names, "Unheard"}
    assert operation_rule("Unheard of") is None


def test_a_module_that_was_given_another_forward_pass() -> None:
    layer = Scale()
    layer.forward = MethodType(lambda module, x: x * module.factor.reshape(-1, 1, 1).sin(), layer)  # type: ignore[method-assign]
    counted, calls = counting(scale)
    register_rule(Scale)(counted)
    assert_measured(network(layer), IMAGES)
    assert not calls


class Overwriting(Scale):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.mul_(2))


@pytest.mark.parametrize("later", [False, True])
def test_an_input_that_is_overwritten(later: bool) -> None:
    """The rule would read the wrong values without notice."""

    def recipe(m: Any, x: Tensor) -> Tensor:
        hidden = m.stem(x) * 1
        out = m.layer(hidden)
        if later:
            hidden.mul_(2)
        return m.head((out + hidden).flatten(1))  # type: ignore[no-any-return]

    layer = Scale() if later else Overwriting()
    register_rule(type(layer))(lambda module, x, delta: {"factor": torch.zeros(len(x), 3)})
    model = Recipe(recipe, stem=nn.Conv2d(3, 3, 1), layer=layer, head=nn.Linear(12, 3))
    with pytest.raises(UnsupportedModelError, match="'layer'.*" + type(layer).__name__):
        GradientMeter(randomise(model.double()))(IMAGES)
