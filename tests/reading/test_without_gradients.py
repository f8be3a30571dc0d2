"""A meter that reads one forward pass without gradients, compared with one that also measures gradients."""

import pickle
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

from gradmeter import GradientMeter, InputError, Readings, UnsupportedModelError
from gradmeter.errors import ProbabilitiesWarning
from gradmeter.reading.finite import read_finite
from gradmeter.reading.inputs import Inputs
from gradmeter.reading.network import NotFinite
from gradmeter.reading.statistics import METRICS
from oracles.networks import CASES, Recipe, classifier, randomise
from reading.architectures import attention, recurrent
from reading.architectures.case import Case
from reading.architectures.state import mark, snapshot
from reading.architectures.test_refused import REFUSED, X, assert_refused
from reading.test_meter_asked import EVEN_KERNEL, assert_activations, build_case

# Refused by a meter of gradients only because their gradients are undefined.
READABLE = ("branch without gradients", "without gradients", "detached")


def reader(model: nn.Module, pseudo_label: Any = "predicted", **options: Any) -> GradientMeter:
    return GradientMeter(model, pseudo_label, gradients=False, activations=True, embedding=True, **options)


def assert_same_outputs(actual: Readings, expected: Readings, atol: float = 1e-12) -> None:
    """Compare all that a forward pass shows, up to rounding."""
    assert actual.layers == ()
    assert actual.metrics == METRICS
    assert actual.values.shape == (len(expected), 0, len(METRICS))
    assert actual.values.dtype == torch.float64
    assert actual.pseudo_labels == expected.pseudo_labels
    pairs: list[tuple[Tensor | None, Tensor | None]] = [(actual.logits, expected.logits)]
    pairs += [
        (actual.for_pseudo_label(name).log_scale, expected.for_pseudo_label(name).log_scale)
        for name in expected.pseudo_labels
    ]
    assert actual.activations is not None
    assert expected.activations is not None
    assert actual.activations.layers == expected.activations.layers
    pairs += [(actual.activations.values, expected.activations.values), (actual.embedding, expected.embedding)]
    assert actual.scores.keys() == expected.scores.keys()
    pairs += [(actual.scores[name], expected.scores[name]) for name in expected.scores]
    for actual_tensor, expected_tensor in pairs:
        assert (actual_tensor is None) == (expected_tensor is None)
        if actual_tensor is not None and expected_tensor is not None:
            assert not actual_tensor.requires_grad
            torch.testing.assert_close(actual_tensor, expected_tensor, rtol=1e4 * atol, atol=1e4 * atol)


@EVEN_KERNEL
@pytest.mark.parametrize("case", CASES)
def test_all_but_the_gradients(case: str) -> None:
    model, x = build_case(case)
    labels = ["predicted", "uniform", 1]
    expected = GradientMeter(model, labels, activations=True, embedding=True, probes=["odin"])(x)
    assert_same_outputs(reader(model, labels, probes=["odin"])(x), expected)


@pytest.mark.parametrize(
    "case", [*attention.CASES.values(), *recurrent.CASES.values()], ids=[*attention.CASES, *recurrent.CASES]
)
def test_attention_and_recurrent_networks(case: Case) -> None:
    model, inputs = case.build()
    readings = reader(model)(inputs)
    assert_activations(readings, model, inputs)
    torch.testing.assert_close(readings.logits, GradientMeter(model)(inputs).logits)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_other_types(dtype: torch.dtype) -> None:
    model, x = build_case("residual", 20)
    model, x = model.to(dtype), x.to(dtype)
    expected = GradientMeter(model, activations=True, embedding=True, tile=20)(x)
    assert_same_outputs(reader(model, tile=20)(x), expected)


@pytest.mark.parametrize("tile", [1, 2, 3, 7, None])
def test_readings_do_not_depend_on_the_tile(tile: int | None) -> None:
    model, x = build_case("residual", 7)
    assert_same_outputs(reader(model, tile=tile)(x), GradientMeter(model, activations=True, embedding=True)(x))


def test_labels_replace_the_pseudo_label() -> None:
    model, x = build_case("residual", 10)
    labels = torch.arange(10) % 3
    actual, expected = reader(model)(x, labels), GradientMeter(model)(x, labels)
    assert actual.pseudo_label == expected.pseudo_label == "labels"
    torch.testing.assert_close(actual.log_scale, expected.log_scale)
    with pytest.raises(InputError, match="label 3 "):
        reader(model)(x, labels + 1)


def test_logits_alone() -> None:
    model, x = build_case("residual", 30)
    readings = GradientMeter(model, gradients=False)(x)
    assert (readings.activations, readings.embedding, readings.scores) == (None, None, {})
    torch.testing.assert_close(readings.logits, model(x).detach())


def test_another_default_device() -> None:
    model, x = build_case("residual")
    expected = GradientMeter(model, activations=True, embedding=True)(x)
    with torch.device("meta"):
        assert_same_outputs(reader(model)(x), expected)


class Counted(nn.Module):
    """Counts its calls, and whether gradients were enabled."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[int, bool]] = []

    def forward(self, x: Tensor) -> Tensor:
        self.calls.append((len(x), torch.is_grad_enabled()))
        return x


def test_one_forward_pass_without_gradients() -> None:
    counted = Counted()
    meter, x = reader(nn.Sequential(counted, nn.Linear(5, 3))), torch.randn(100, 5)
    meter(x)  # finds the sample axes and the tile size
    counted.calls.clear()
    meter(x)
    meter(x[:1])
    assert counted.calls == [(100, False), (1, False)]


def test_probes_run_with_gradients_enabled() -> None:
    model, x = build_case("residual", 10)
    model.requires_grad_(False)
    actual = reader(model, probes=["odin", "mc_dropout"])(x).scores
    expected = GradientMeter(model, probes=["odin", "mc_dropout"])(x).scores
    assert [*actual] == [*expected]
    for name in expected:
        torch.testing.assert_close(actual[name], expected[name])


# --- options


def test_the_meter_of_a_trust_model() -> None:
    model, x = build_case("residual")
    meter = GradientMeter(model, ["all-ones", 2], probes=["odin"], biases=False, tile=3)
    without = meter.for_trust_model(gradients=False)
    assert (without.pseudo_labels, without.layers, without.gradients) == (("predicted",), (), False)
    assert without.for_trust_model(gradients=False) is without
    with_gradients = without.for_trust_model()
    assert with_gradients.pseudo_labels == ("predicted", "uniform")
    assert with_gradients.layers == meter.layers
    assert_same_outputs(without(x), with_gradients(x).for_pseudo_label("predicted"))


def test_pickling() -> None:
    model, x = build_case("residual")
    meter = reader(model)
    copy = pickle.loads(pickle.dumps(meter))
    assert copy.gradients is False
    assert_same_outputs(copy(x), GradientMeter(model, activations=True, embedding=True)(x))


def test_gradients_is_a_switch() -> None:
    with pytest.raises(InputError, match="gradients=0"):
        GradientMeter(nn.Linear(2, 2), gradients=0)  # type: ignore[arg-type]


def test_costs() -> None:
    model, x = build_case("residual")
    costs = reader(model).costs(x)
    assert (costs.samples, costs.layers) == (len(x), ())


# --- what is refused


@pytest.mark.filterwarnings("ignore:Lazy modules are a new feature")
@pytest.mark.parametrize("name", [name for name in REFUSED if name not in READABLE])
def test_what_is_refused_with_gradients_is_refused_without(name: str) -> None:
    assert_refused(name, reader)


@pytest.mark.parametrize("name", READABLE)
def test_networks_without_gradients_can_be_read(name: str) -> None:
    model = REFUSED[name][0]()
    torch.testing.assert_close(reader(model)(X).logits, model(X).detach())


@pytest.mark.parametrize("make", [reader, partial(GradientMeter, activations=True)])
def test_equal_samples_do_not_show_that_a_network_mixes_them(make: Callable[[nn.Module], GradientMeter]) -> None:
    meter = make(Recipe(lambda m, x: m.dense(x - x.mean(0)), dense=nn.Linear(5, 3)).eval())
    meter(torch.ones(1, 5))
    meter(torch.ones(4, 5))
    with pytest.raises(UnsupportedModelError):
        meter(torch.randn(4, 5))


def test_samples_without_finite_logits_are_named() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 3))
    x = torch.randn(40, 4)
    rows = [3, 17, 39]
    x[rows, 1] = float("nan")
    for batch in (x, x[[*range(40)]]):
        with pytest.raises(NotFinite) as raised:
            reader(model)(batch)
        assert [*raised.value.rows] == rows
    finite = read_finite(reader(model), Inputs.of(x))
    assert finite.no_logits == tuple(rows)
    assert finite.readings is not None
    assert len(finite.readings) == 37


def test_an_overflowing_output_is_not_finite() -> None:
    """The network clips an infinite output, so that its logits are finite."""
    model = Recipe(lambda m, x: m.head(m.body(x).clamp(-1, 1)), body=nn.Linear(2, 2), head=nn.Linear(2, 3)).eval()
    x = torch.randn(5, 2)
    x[2] = 3e38
    nn.init.constant_(model.body.weight, 10)  # type: ignore[union-attr, arg-type]
    assert reader(model)(x).finite.tolist() == [True, True, False, True, True]


@pytest.mark.parametrize(
    ("row", "values"), [(0, 1e4), (0, 3e38), (1, 0.0)], ids=["large", "overflowing", "equal to the next sample"]
)
def test_the_first_samples_do_not_hide_whose_the_rows_are(row: int, values: float) -> None:
    """The rows of the layer's output are those of the first half of every sample, then those of the second."""
    model = Recipe(
        lambda m, x: m.head(m.body(torch.cat(x.chunk(2, 1))).clamp(-1, 1).view(2, len(x), 2).sum(0)),
        body=nn.Linear(2, 2),
        head=nn.Linear(2, 3),
    ).eval()
    nn.init.constant_(model.body.weight, 10)  # type: ignore[union-attr, arg-type]
    x = torch.randn(6, 4)
    x[2] = 0
    x[row] = values
    activations, others = reader(model)(x).activations, reader(model)(x[3:]).activations
    assert activations is not None
    assert others is not None
    torch.testing.assert_close(activations.values[3:], others.values)


@pytest.mark.parametrize("last", [nn.Softmax(dim=1), nn.Sigmoid()])
def test_probabilities_are_warned_about(last: nn.Module) -> None:
    layer = nn.Linear(4, 4)
    layer.weight.data *= 5
    with pytest.warns(ProbabilitiesWarning, match=f"remove the last {type(last).__name__.lower()}"):
        reader(nn.Sequential(layer, last))(torch.randn(20, 4))
    with warnings.catch_warnings():
        warnings.simplefilter("error", ProbabilitiesWarning)
        reader(layer)(torch.randn(20, 4))
        reader(nn.Sequential(nn.Linear(4, 4), last, nn.LogSoftmax(dim=1)))(torch.randn(20, 4))


# --- the network is left as it was


def test_the_network_is_restored() -> None:
    model = randomise(classifier((5,), nn.Linear(5, 4), nn.Dropout(), nn.Linear(4, 4))).train()
    model[0].weight.requires_grad_(False)
    mark(model)
    x = torch.randn(10, 5)
    before, fast = snapshot(model), torch.backends.mha.get_fastpath_enabled()
    reader(model)(x)
    assert snapshot(model) == before
    assert torch.backends.mha.get_fastpath_enabled() == fast


class Counting(nn.Module):
    """Counts its calls in a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x


def test_buffers_are_restored() -> None:
    counting = Counting()
    reader(nn.Sequential(nn.Linear(4, 3), counting))(torch.randn(5, 4))
    assert counting.calls == 0


def test_cached_parametrizations_keep_their_gradients() -> None:
    """The weight that a parametrization caches would have no gradient if it were computed by the meter."""
    model = nn.Sequential(parametrizations.orthogonal(nn.Linear(4, 4)), nn.Linear(4, 3))
    x = torch.randn(5, 4)
    with parametrize.cached():
        reader(model)(x)
        model(x).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_inference_mode() -> None:
    model, x = build_case("residual")
    expected = GradientMeter(model, activations=True, embedding=True)(x)
    with torch.inference_mode():
        readings = reader(model)(x)
    assert_same_outputs(readings, expected)
