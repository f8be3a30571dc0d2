"""By which way a layer is measured: rules, what has none, and what that costs."""

import itertools
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gradmeter import GradientMeter
from gradmeter.errors import ProbabilitiesWarning, SlowLayerWarning
from gradmeter.reading.capture import Operation
from gradmeter.reading.layers import Way
from oracles import loop
from oracles.moments import assert_agree
from oracles.networks import Recipe, randomise, samples

UNKNOWN: dict[str, tuple[Callable[[Any, Tensor], Tensor], dict[str, Any]]] = {
    "distances": (lambda m, x: torch.cdist(m.body(x), m.w), {"w": (3, 4)}),
    "entries put": (
        lambda m, x: torch.index_put(m.body(x), (torch.arange(len(x))[:, None], torch.arange(3)), m.w),
        {"w": (3,)},
    ),
}


def network(name: str) -> nn.Module:
    recipe, members = UNKNOWN[name]
    return randomise(Recipe(recipe, body=nn.Linear(5, 4), **members).double())


@pytest.mark.filterwarnings("ignore::gradmeter.errors.SlowLayerWarning")
@pytest.mark.parametrize("name", UNKNOWN)
def test_an_operation_without_a_rule_costs_the_same_for_each_sample(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of rows per sample in the operation's backward pass does not grow with the batch."""
    rows: list[int] = []
    original = Operation.input_gradients

    def counted(operation: Operation, sample: int | None = None) -> Any:
        rows.append(operation.samples)
        return original(operation, sample)

    monkeypatch.setattr(Operation, "input_gradients", counted)
    model = network(name)
    each = {}
    for count in (16, 64, 256):
        rows.clear()
        x = samples(count, 5)
        readings = GradientMeter(model)(x)
        each[count] = sum(rows) / count
        if count == 16:
            assert_agree(readings.values, loop.expected_readings(model, x)[1], norms=1e-9, shapes=1e-8)
    assert max(each.values()) < 12
    assert each[256] <= 1.1 * each[16]


@pytest.mark.parametrize("name", UNKNOWN)
def test_a_warning_names_layer_and_operation_once(name: str) -> None:
    meter = GradientMeter(network(name))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        meter(samples(8, 5))
    with pytest.warns(SlowLayerWarning) as caught:
        meter(samples(9, 5))
    (warning,) = caught
    assert "'root'" in str(warning.message)
    assert any(f"{kind}Backward0" in str(warning.message) for kind in ("EuclideanDist", "Cdist", "IndexPut"))
    assert "\n" not in str(warning.message)
    assert warning.filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        meter(samples(9, 5))
    with pytest.warns(SlowLayerWarning):
        GradientMeter(network(name))(samples(9, 5))


def test_costs_of_layers() -> None:
    model = Recipe(
        lambda m, x: torch.maximum(m.head(torch.cdist(m.body(m.body(x)), m.w)), m.floor),
        body=nn.Linear(5, 5),
        head=nn.Linear(3, 4),
        w=(3, 5),
        floor=(4,),
    )
    meter = GradientMeter(randomise(model))
    x = samples(6, 5).float()
    before = meter(x)
    costs = meter.costs(x)
    assert {(cost.layer, cost.way, cost.calls, cost.parameters) for cost in costs.layers} == {
        ("root", Way.SAMPLES, 1, 15),
        ("root", Way.ENTRIES, 1, 4),
        ("body", Way.RULE, 2, 30),
        ("head", Way.RULE, 1, 16),
    }
    assert [cost.layer for cost in costs.layers] == ["root", "root", "body", "head"]
    assert costs.samples == 6
    assert all(cost.seconds > 0 for cost in costs.layers)
    assert costs.plain_seconds > 0
    assert costs.rest + sum(cost.seconds for cost in costs.layers) == pytest.approx(costs.seconds)
    assert torch.equal(meter(x).values, before.values)


def test_costs_leave_the_network_as_it_was() -> None:
    model = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3)).requires_grad_(False).train()
    GradientMeter(model).costs(samples(4, 5).float())
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in model.parameters())
    assert all(module.training for module in model.modules())


def test_samples_in_another_order_are_told_apart_in_large_tiles() -> None:
    """Two backward passes and no more tell whose each row is; batches of any size."""

    def recipe(m: Any, x: Tensor) -> Tensor:
        order = x[:, 0].argsort()
        out: Tensor = m.head(m.body(x[order]).tanh())[order.argsort()]
        return out

    model = randomise(Recipe(recipe, body=nn.Linear(5, 4), head=nn.Linear(4, 3)).double())
    passes: list[int] = []
    model.body.register_forward_pre_hook(lambda module, args: passes.append(len(args[0])))
    meter = GradientMeter(model, ["predicted", "uniform"])
    x = samples(300, 5)
    readings = meter(x)
    expected = loop.expected_readings(model, x[::5])[1]
    assert_agree(readings.values[::5], expected, norms=1e-9, shapes=1e-8)
    passes.clear()
    again = meter(x.flip(0))
    assert len(passes) < 10
    assert_agree(again.values.flip(0)[::5], expected, norms=1e-9, shapes=1e-8)


@pytest.mark.parametrize("order", list(itertools.permutations(range(2))))
def test_each_pseudo_label_of_an_unordered_batch_is_told_apart(order: tuple[int, ...]) -> None:
    """The gradient of one loss may reach operations that that of another does not."""

    def recipe(m: Any, x: Tensor) -> Tensor:
        turned = m.body(x.flip(0)).tanh().flip(0)
        out: Tensor = torch.stack([turned[:, 0], turned[:, 1], turned[:, 0] * 2], dim=1)
        return out

    model = randomise(Recipe(recipe, body=nn.Linear(5, 2)).double())
    labels = [1, "uniform"]
    meter = GradientMeter(model, [labels[number] for number in order])
    x = samples(5, 5)
    readings = meter(x)
    for label in labels:
        alone = torch.cat([GradientMeter(model, label)(x[n : n + 1]).values for n in range(5)])
        assert_agree(readings.for_pseudo_label(str(label)).values, alone.numpy(), norms=1e-9, shapes=1e-8)


@pytest.mark.parametrize("kind", [torch.float64, torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_probabilities_in_place_of_logits_are_told(kind: torch.dtype) -> None:
    network = nn.Sequential(nn.Linear(5, 40), nn.Softmax(1)).to(kind)
    with pytest.warns(ProbabilitiesWarning) as caught:
        GradientMeter(network)(samples(9, 5).to(kind))
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for last in (nn.LogSoftmax(1), nn.Identity()):
            GradientMeter(nn.Sequential(nn.Linear(5, 40), last).to(kind))(samples(9, 5).to(kind))
