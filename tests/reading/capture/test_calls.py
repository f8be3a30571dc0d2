from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gradmeter import UnsupportedModelError
from gradmeter.reading.capture import recorded_calls
from oracles.networks import CalledTwice, Recipe, samples


def hooks(model: nn.Module) -> list[int]:
    return [len(module._forward_hooks) for module in model.modules()]


def test_calls_in_order() -> None:
    model = CalledTwice().double()
    x = samples(2, 2, 8)
    with recorded_calls({name: getattr(model, name) for name in ("head", "mix", "conv")}) as calls:
        logits = model(x)
    assert [call.layer for call in calls] == ["conv", "conv", "mix", "mix", "head"]
    assert [call.module for call in calls] == [model.conv, model.conv, model.mix, model.mix, model.head]
    assert calls[0].activation.data_ptr() == x.data_ptr()
    assert not any(call.activation.requires_grad for call in calls)
    assert [call.source is None for call in calls] == [True, False, False, False, False]
    assert calls[-1].edge.node is logits.grad_fn
    assert hooks(model) == [0] * 5


def test_operations_inside_a_call() -> None:
    body = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4)).double()
    model = nn.Sequential(nn.Linear(4, 4), body, nn.Linear(4, 3)).double()
    with recorded_calls({"body": body}) as calls:
        model(samples(2, 4))
    inside = sorted(node.name().rpartition("::")[2] for node in calls[0].inside())
    assert inside == ["AccumulateGrad"] * 4 + ["AddmmBackward0"] * 2 + ["TBackward0"] * 2 + ["TanhBackward0"]


def test_the_users_hooks_come_after() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Tanh()).double()
    model[0].register_forward_hook(lambda module, args, output: output * 2)
    with recorded_calls({"0": model[0]}) as calls:
        model(samples(2, 4))
    assert calls[0].edge.node.name() == "AddmmBackward0"


def test_called_by_keyword() -> None:
    model = Recipe(lambda m, x: m.dense(input=x), dense=nn.Linear(4, 3))
    x = samples(2, 4).float()
    with recorded_calls({"dense": model.dense}) as calls:
        model(x)
    assert torch.equal(calls[0].activation, x)


def test_a_call_that_leads_to_no_parameter_is_left_out() -> None:
    model = nn.Linear(4, 3).requires_grad_(False)
    with recorded_calls({"root": model}) as calls:
        model(samples(2, 4).float())
    assert calls == []


class Pair(nn.Linear):
    def forward(self, left: Tensor, right: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(left + right)


class Listed(nn.Linear):
    def forward(self, x: Any) -> Any:
        return [super().forward(torch.as_tensor(x))]


@pytest.mark.parametrize(
    ("layer", "call", "given"),
    [
        (Pair(4, 3), lambda m, x: m.layer(x, right=x), "2 .*Tensor"),
        (Listed(4, 3), lambda m, x: m.layer(x), "1 .*list"),
        (Listed(4, 3), lambda m, x: m.layer(x.tolist()), "1 "),
    ],
)
def test_other_than_one_tensor_in_and_one_out(layer: nn.Module, call: Any, given: str) -> None:
    model = Recipe(call, layer=layer)
    message = rf"'layer'.* {given}.*{type(layer).__name__}"
    with pytest.raises(UnsupportedModelError, match=message), recorded_calls({"layer": layer}):
        model(samples(2, 4).float())
    assert hooks(model) == [0, 0]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_hooks_are_gone_after_an_exception(error: type[BaseException]) -> None:
    model = nn.Linear(4, 3)

    def interrupted() -> None:
        with recorded_calls({"root": model}):
            assert hooks(model) == [1]
            raise error

    with pytest.raises(error):
        interrupted()
    assert hooks(model) == [0]
