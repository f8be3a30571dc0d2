import copy
import gc
import importlib
import math
import warnings
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils import parametrize, prune
from torch.utils._python_dispatch import TorchDispatchMode

from gradmeter import GradientMeter, InputError, Readings, UnsupportedModelError
from gradmeter.reading.inputs import Inputs
from gradmeter.reading.network import NotFinite
from gradmeter.reading.pseudo_labels import PseudoLabel, start_vector
from gradmeter.reading.statistics import METRICS, STATISTICS
from gradmeter.research.study.network import PaperCNN
from modes import WithoutAutocast
from oracles import loop
from oracles.gradients import exact_log_scale, expected_readings, logits_of, per_sample, predicted_error
from oracles.moments import assert_agree, eight
from oracles.networks import (
    CASES,
    Recipe,
    Residual,
    Tied,
    classifier,
    frozen,
    randomise,
    samples,
    with_same_parameters,
)

EXACT = {"norms": 1e-10, "shapes": 1e-8}


def build_case(case: str, dtype: torch.dtype = torch.float64) -> tuple[nn.Module, Tensor]:
    make, shape = CASES[case]
    return randomise(make().to(dtype)).eval(), samples(4, *shape).to(dtype)


def paper_cnn(dtype: torch.dtype = torch.float64, padding: str = "valid") -> tuple[PaperCNN, Tensor]:
    torch.manual_seed(0)
    images = torch.rand(6, 1, 28, 28, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    return PaperCNN(padding=padding).to(dtype).eval(), images.to(dtype)


def assert_equal(actual: Readings, expected: Readings, rtol: float = 1e-6) -> None:
    assert actual.layers == expected.layers
    torch.testing.assert_close(actual.logits, expected.logits, rtol=rtol, atol=rtol)
    torch.testing.assert_close(actual.log_scale, expected.log_scale, rtol=rtol, atol=rtol)
    assert_agree(actual.values, expected.values.numpy(), norms=rtol, shapes=10 * rtol)


# --- against gradients materialised by torch.func


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("case", CASES)
def test_against_materialised_gradients(case: str, device: torch.device) -> None:
    model, x = build_case(case)
    layers, expected = expected_readings(model, x)
    logits = logits_of(model, x)
    meter = GradientMeter(model.to(device))
    readings = meter(x.to(device))
    assert readings.layers == layers == meter.layers
    assert readings.values.dtype == torch.float64
    assert readings.values.device.type == device.type
    assert_agree(readings.values.cpu(), expected, **EXACT)
    torch.testing.assert_close(readings.logits.cpu(), logits)
    log_scale = exact_log_scale(readings.logits.cpu())
    np.testing.assert_allclose(readings.log_scale.cpu(), log_scale, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("padding", ["valid", "same"])
def test_paper_cnn_in_float32_from_its_own_activations(padding: str) -> None:
    """The accuracy of the meter alone: the reference starts from the network's float32 activations and gradients."""
    model, images = paper_cnn(torch.float32, padding)
    readings = GradientMeter(model)(images)
    inputs: dict[str, Tensor] = {}
    deltas: dict[str, Tensor] = {}
    handles = []
    for name in readings.layers[:-1]:

        def record(module: nn.Module, args: tuple[Tensor], output: Tensor, name: str = name) -> None:
            inputs[name] = args[0].detach()
            output.register_hook(lambda gradient: deltas.__setitem__(name, gradient))

        handles.append(model.get_submodule(name).register_forward_hook(record))
    logits = model(images.contiguous(memory_format=torch.channels_last))
    start = start_vector("predicted")(logits.detach().double())
    logits.backward(start.direction.float())
    for handle in handles:
        handle.remove()
    layers = []
    for name, activation in inputs.items():
        parts = per_sample(model.get_submodule(name), activation, deltas[name]).values()
        layers.append(np.concatenate([part.reshape(len(images), -1) for part in parts], axis=1))
    scale = start.log_scale.exp().numpy()[:, None]
    expected = np.stack([eight(scale * layer) for layer in (*layers, np.concatenate(layers, axis=1))], axis=1)
    assert_agree(readings.values, expected, norms=1e-6, shapes=1e-5)


# Against a float64 network, so the rounding of the float32 network itself is included.
@pytest.mark.parametrize("padding", ["valid", "same"])
def test_paper_cnn_in_float32(padding: str) -> None:
    model, images = paper_cnn(torch.float32, padding)
    _, expected = expected_readings(model, images)
    assert_agree(GradientMeter(model)(images).values, expected, norms=3e-6, shapes=2e-5)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
def test_float32_networks(case: str, device: torch.device) -> None:
    model, x = build_case(case, torch.float32)
    if case.startswith("paper"):
        x = x / 10  # unit weights and wide inputs give logits in the hundreds
    readings = GradientMeter(model.to(device))(x.to(device))
    # start from the float32 logits, whose rounding is that of the network and not of the meter
    start = predicted_error(readings.logits.cpu())
    _, expected = expected_readings(model.cpu(), x, lambda _: start)
    assert_agree(readings.values.cpu(), expected, norms=2e-5, shapes=2e-4)


def test_weights_only() -> None:
    model, x = build_case("residual")
    layers, expected = expected_readings(model, x, biases=False)
    readings = GradientMeter(model, biases=False)(x)
    assert readings.layers == layers
    assert_agree(readings.values, expected, **EXACT)


def test_input_that_requires_grad() -> None:
    model, x = build_case("residual")
    tracked = x.clone().requires_grad_()
    assert_equal(GradientMeter(model)(tracked), GradientMeter(model)(x), rtol=1e-12)
    assert tracked.grad is None
    assert tracked.requires_grad


def test_input_made_by_the_network_itself() -> None:
    model, x = build_case("linear")
    assert isinstance(model, nn.Sequential)
    used = model[0].weight.sum()
    assert_equal(GradientMeter(model)(x * used), GradientMeter(model)(x * used.detach()), rtol=1e-12)


def test_hooks_of_the_user_stay_and_work() -> None:
    model, x = build_case("linear")
    assert isinstance(model, nn.Sequential)
    calls: list[int] = []
    model[0].register_forward_pre_hook(lambda module, args: (args[0] * 2,))
    model[0].register_forward_hook(lambda module, args, output: calls.append(1) or output * 3)
    _, expected = expected_readings(model, x)
    meter = GradientMeter(model)
    assert_agree(meter(x).values, expected, **EXACT)
    calls.clear()
    assert_agree(meter(x).values, expected, **EXACT)
    assert calls == [1]
    assert len(model[0]._forward_hooks) == len(model[0]._forward_pre_hooks) == 1


@pytest.mark.parametrize("kind", ["register_full_backward_hook", "register_full_backward_pre_hook"])
def test_backward_hooks_of_the_user_do_not_run(kind: str) -> None:
    model, x = build_case("linear")
    assert isinstance(model, nn.Sequential)
    _, expected = expected_readings(model, x)
    calls: list[int] = []

    def without_gradient(module: nn.Module, *gradients: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        calls.append(1)
        return tuple(torch.zeros_like(gradient) for gradient in gradients[0])

    for module in model.modules():
        getattr(module, kind)(without_gradient)
    assert_agree(GradientMeter(model)(x).values, expected, **EXACT)
    assert not calls
    model(x.requires_grad_()).sum().backward()
    assert calls


class Deviations(nn.Module):
    """The gradient of the root at zero is infinite, and its product with zero is NaN."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.last = nn.Conv2d(1, 4, 3, bias=False), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.last(self.layer(x).square().mean((2, 3)).sqrt())
        return logits


@pytest.mark.parametrize("rows", [[0], [1, 2], [0, 1, 2]])
def test_a_gradient_that_is_not_finite_is_not_taken_for_mixed_samples(rows: list[int]) -> None:
    x = samples(9, 1, 6, 6)
    x[rows] = 0
    meter = GradientMeter(randomise(Deviations().double()))
    with pytest.raises(NotFinite, match="gradient") as caught:
        meter(x)
    assert (caught.value.rows, caught.value.has_logits) == (rows, True)
    rest = [row for row in range(9) if row not in rows]
    assert meter(x[rest]).finite.all()


def test_rows_without_a_finite_gradient_are_known_where_the_others_are_read() -> None:
    x = samples(9, 1, 6, 6)
    meter = GradientMeter(randomise(Deviations().double()))
    expected = meter(x)
    x[[4, 7]] = 0
    readings = meter(x)
    assert (~readings.finite).nonzero().flatten().tolist() == [4, 7]
    assert torch.equal(readings.values[readings.finite], expected.values[readings.finite])


# --- confident samples


def confident(gap: float, dtype: torch.dtype) -> tuple[nn.Module, Tensor]:
    """A network whose most confident sample has a logit gap of `gap`, with smaller gaps for the others."""
    model, images = paper_cnn(dtype)
    logits = logits_of(model, images)
    top = logits.topk(2, dim=1).values
    with torch.no_grad():
        model.dense.weight *= gap / (top[:, 0] - top[:, 1]).max()
    return model, images


@pytest.mark.parametrize(
    ("gap", "dtype", "digits"),
    [
        (17, torch.float32, 1e-4),
        (70, torch.float32, 1e-4),
        (70, torch.float64, 1e-9),
        (460, torch.float64, 1e-9),
    ],
)
def test_confident_samples(gap: float, dtype: torch.dtype, digits: float) -> None:
    model, images = confident(gap, dtype)
    readings = GradientMeter(model)(images)
    assert readings.log_scale.min().item() == pytest.approx(-gap, rel=0.02)
    np.testing.assert_allclose(readings.log_scale, exact_log_scale(readings.logits), rtol=1e-13)
    start = predicted_error(readings.logits)
    _, expected = expected_readings(model, images, lambda _: start)
    # in float32 the dense layer's mean is rounding noise of the start vector
    assert_agree(readings.values, expected, norms=digits, shapes=digits)


def test_confidence_leaves_the_shape_alone_beyond_float64() -> None:
    model, images = build_case("linear")
    assert isinstance(model, nn.Sequential)
    assert isinstance(model[-2], nn.Flatten)
    readings = GradientMeter(model)(images)
    head = model[-1]
    with torch.no_grad():
        # the other logits keep their distances, so the direction stays the same
        predicted = readings.predictions[:1]
        head.bias[predicted] += 5000
    sure = GradientMeter(model)(images[:1])
    assert sure.log_scale.item() == pytest.approx(readings.log_scale[0].item() - 5000, rel=1e-2)
    torch.testing.assert_close(sure.values[..., 6:], readings.values[:1, :, 6:])
    assert (sure.values[..., :6] == 0).all()


# --- the first author's package


def test_against_gradient_metrics() -> None:
    package = pytest.importorskip("gradient_metrics", reason="there is no gradient-metrics for Python 3.12 or newer")
    metrics_of = importlib.import_module("gradient_metrics.metrics")
    model, images = paper_cnn()
    readings = GradientMeter(model)(images)
    for layer in readings.layers:
        target = model if layer == "all" else model.get_submodule(layer)
        count = sum(parameter.numel() for parameter in target.parameters())
        metrics = [
            metrics_of.PNorm(target, p=1),
            metrics_of.PNorm(target, p=2),
            metrics_of.Min(target),
            metrics_of.Max(target),
            metrics_of.MeanStd(target),
        ]
        logits = model(images)
        peer = package.GradientMetricCollector(metrics)(F.cross_entropy(logits, logits.argmax(1), reduction="none"))
        expected = peer.double()
        expected[:, 5] *= math.sqrt((count - 1) / count)  # it divides by n - 1
        for index, metric in enumerate(name for name in METRICS if STATISTICS[name].scales):
            scale = expected[:, 5].max().item() if metric == "mean" else 0.0
            torch.testing.assert_close(readings[layer, metric], expected[:, index], rtol=1e-9, atol=1e-9 * scale)


# --- pseudo-labels through a network


@pytest.mark.parametrize(
    ("label", "loss"),
    [
        ("uniform", lambda z: -torch.log_softmax(z, 1).mean(1)),
        ("all-ones", lambda z: -F.logsigmoid(z).sum(1)),
        (2, lambda z: -torch.log_softmax(z, 1)[:, 2]),
        (lambda z: z.exp().sum(1), lambda z: z.exp().sum(1)),
    ],
)
def test_other_pseudo_labels(label: PseudoLabel, loss: Callable[[Tensor], Tensor]) -> None:
    def start(logits: Tensor) -> Tensor:
        leaf = logits.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(loss(leaf).sum(), leaf)
        return gradient

    model, x = build_case("tokens")
    _, expected = expected_readings(model, x, start)
    assert_agree(GradientMeter(model, pseudo_label=label)(x).values, expected, **EXACT)


# --- any use of any parameter


class Doubled(nn.Linear):
    def forward(self, input: Tensor) -> Tensor:
        return 2 * super().forward(input)


def both_shared() -> nn.Module:
    first, second = nn.Linear(5, 5), nn.Linear(5, 5)
    second.weight, second.bias = first.weight, first.bias
    return nn.Sequential(first, nn.Tanh(), second)


FLAT, STEPS = samples(4, 5), samples(4, 6, 5)

ANY_USE: dict[str, tuple[Callable[[], nn.Module], Tensor]] = {
    "recurrent": (
        lambda: Recipe(lambda m, x: m.head(m.lstm(x)[0][:, -1]), lstm=nn.LSTM(5, 4, batch_first=True),
                       head=nn.Linear(4, 3)), STEPS
    ),
    "attention": (
        lambda: Recipe(lambda m, x: m.attention(x, x, x)[0][:, 0],
                       attention=nn.MultiheadAttention(5, 1, batch_first=True)), STEPS
    ),
    "token of the parent": (lambda: Recipe(lambda m, x: m.dense(x + m.token), token=(5,), dense=nn.Linear(5, 3)), FLAT),
    "token never used": (lambda: Recipe(lambda m, x: m.dense(x), token=(5,), dense=nn.Linear(5, 3)), FLAT),
    "subclass with its own forward": (lambda: Doubled(5, 3), FLAT),
    "weight norm": (lambda: nn.utils.parametrizations.weight_norm(nn.Linear(5, 3)), FLAT),
    "all shared": (both_shared, FLAT),
    "functional": (
        lambda: Recipe(lambda m, x: F.linear(x, m.dense.weight, m.dense.bias), dense=nn.Linear(5, 3)), FLAT
    ),
    "functional, frozen": (
        lambda: frozen(Recipe(lambda m, x: F.linear(x, m.dense.weight, m.dense.bias), dense=nn.Linear(5, 3))), FLAT
    ),
    "on other rows than the batch": (
        lambda: Recipe(lambda m, x: m.head(m.patch(x.reshape(-1, 1)).reshape(len(x), -1)), patch=nn.Linear(1, 2),
                       head=nn.Linear(10, 3)), FLAT
    ),
    "reversed on the way": (
        lambda: Recipe(lambda m, x: m.second(m.first(x).tanh().flip(0)).flip(0), first=nn.Linear(5, 4),
                       second=nn.Linear(4, 3)), FLAT
    ),
    "packed": (
        lambda: Recipe(packed, lstm=nn.LSTM(5, 4, batch_first=True), head=nn.Linear(4, 3)), STEPS
    ),
}  # fmt: skip


def packed(m: Any, x: Tensor) -> Tensor:
    """Sequences of different length in one tensor, as PyTorch packs them."""
    lengths = (x[:, 0, 0] > 0).long() * 3 + 3
    sequences = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    out: Tensor = m.head(m.lstm(sequences)[1][0][0])
    return out


@pytest.mark.parametrize("case", ANY_USE)
def test_any_use(case: str) -> None:
    make, x = ANY_USE[case]
    model = randomise(make().double()).eval()
    state = [parameter.requires_grad for parameter in model.parameters()]
    layers, expected = loop.expected_readings(model, x)
    readings = GradientMeter(model)(x)
    assert readings.layers == layers
    assert_agree(readings.values, expected, **EXACT)
    assert [parameter.requires_grad for parameter in model.parameters()] == state


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("case", ["recurrent", "on other rows than the batch", "token of the parent", "packed"])
def test_batches_smaller_and_larger_than_the_probe(case: str, count: int) -> None:
    make, x = ANY_USE[case]
    model = randomise(make().double()).eval()
    x = samples(count, *x.shape[1:], seed=4)
    assert_agree(GradientMeter(model)(x).values, loop.expected_readings(model, x)[1], **EXACT)


def of_the_size(m: Any, x: Tensor) -> Tensor:
    """The same function by other operations for a small batch."""
    hidden = m.body(x) if len(x) > 2 else F.linear(x, m.body.weight) + m.body.bias
    out: Tensor = m.head((hidden if len(x) % 2 else hidden * 1).tanh())
    return out


def time_major(m: Any, x: Tensor) -> Tensor:
    """Steps before samples; for one sample no copy is needed, so the operations of the graph differ."""
    steps = x.transpose(0, 1).reshape(-1, 5)
    out: Tensor = m.head(m.body(steps).tanh().unflatten(0, (x.shape[1], -1)).sum(0))
    return out


@pytest.mark.parametrize(("recipe", "shape"), [(of_the_size, (5,)), (time_major, (6, 5))])
def test_graphs_that_differ_with_the_size_of_the_batch(
    recipe: Callable[[Any, Tensor], Tensor], shape: tuple[int, ...]
) -> None:
    model = randomise(Recipe(recipe, body=nn.Linear(5, 4), head=nn.Linear(4, 3)).double())
    x = samples(9, *shape)
    _, expected = loop.expected_readings(model, x)
    meter = GradientMeter(model)
    for count in (3, 1, 2, 9, 4, 1, 5):
        assert_agree(meter(x[:count]).values, expected[:count], **EXACT)
    for tile in (1, 2, 5):
        assert_agree(GradientMeter(model, tile=tile)(x).values, expected, **EXACT)


def gated(m: Any, x: Tensor) -> Tensor:
    """Steps before samples in a branch that a scale of zero disables."""
    steps = torch.cat(x.unbind(1)) @ m.w
    out: Tensor = m.head(x[:, 0]) + m.scale * steps.tanh().unflatten(0, (x.shape[1], -1)).sum(0)
    return out


@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_scale_of_zero_that_another_call_finds_changed(count: int) -> None:
    model = Recipe(gated, w=(5, 3), scale=(), head=nn.Linear(5, 3)).double()
    randomise(model)
    x = samples(5, 6, 5)
    meter = GradientMeter(model)
    for scale in (0.0, 1.0, 0.0, -2.0):
        with torch.no_grad():
            model.scale.fill_(scale)
        for batch in (x[:count], x):
            assert_agree(meter(batch).values, loop.expected_readings(model, batch)[1], **EXACT)


def rectified(m: Any, x: Tensor) -> Tensor:
    """Steps before samples; the logits depend on the last step only, and only where it is large."""
    steps = torch.relu(torch.cat(x.unbind(1)) @ m.w - 10)
    out: Tensor = m.head(x[:, 0]) + steps.unflatten(0, (x.shape[1], -1))[-1]
    return out


@pytest.mark.parametrize("alive", [[0, 0, 0, 0, 1], [0, 0, 1, 1, 0], [0, 1, 0, 0, 1], [1, 0, 0, 1, 1], [0, 0, 0, 0, 0]])
@pytest.mark.parametrize("tile", [None, 1, 2, 3])
def test_samples_that_are_dead_when_the_network_is_probed(alive: list[int], tile: int | None) -> None:
    model = Recipe(rectified, w=(5, 3), head=nn.Linear(5, 3)).double()
    randomise(model)
    with torch.no_grad():
        model.w.abs_()
    x = samples(5, 2, 5)
    x[:, 1] = x[:, 1].abs() + torch.tensor(alive).unsqueeze(1) * 100 - 10
    meter = GradientMeter(model, tile=tile)
    for batch in (x, x.flip(0), x[1:]):
        assert_agree(meter(batch).values, loop.expected_readings(model, batch)[1], **EXACT)


class Heads(nn.Module):
    """One of several heads, selected by an argument."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(5, 5)
        self.heads = nn.ModuleList(nn.utils.parametrizations.weight_norm(nn.Linear(5, 3)) for _ in range(2))

    def forward(self, x: Tensor, task: int) -> Tensor:
        out: Tensor = self.heads[task](self.body(self.body(x).tanh()))
        return out


def test_parts_that_an_argument_chooses() -> None:
    model = randomise(Heads().double())
    meter = GradientMeter(model)
    for task in (0, 1, 0):
        inputs = {"x": FLAT, "task": task}
        assert_agree(meter(inputs).values, loop.expected_readings(model, inputs)[1], **EXACT)


class Routed(nn.Module):
    """Two layers of one type, called in an order that depends on an argument."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.head = nn.Linear(5, 5), nn.Linear(5, 5), nn.Linear(5, 3)

    def forward(self, x: Tensor, order: str) -> Tensor:
        for name in order:
            x = self.get_submodule(name)(x).tanh()
        out: Tensor = self.head(x)
        return out


def test_layers_in_an_order_that_an_argument_chooses() -> None:
    model = randomise(Routed().double())
    meter = GradientMeter(model)
    for order in ("ab", "aa", "bb", "ba", "ab"):
        inputs = {"x": FLAT, "order": order}
        assert_agree(meter(inputs).values, loop.expected_readings(model, inputs)[1], **EXACT)


def test_few_plans_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gradmeter.reading.meter._MAX_PLANS", 2)
    model = randomise(Routed().double())
    meter = GradientMeter(model)
    for order in ("ab", "aa", "bb", "ba", "ab"):
        inputs = {"x": FLAT, "order": order}
        assert_agree(meter(inputs).values, loop.expected_readings(model, inputs)[1], **EXACT)
        assert len(meter._plans) <= 2


def test_a_plan_made_of_blank_samples_is_made_anew() -> None:
    model = Recipe(rectified, w=(5, 3), head=nn.Linear(5, 3)).double()
    randomise(model)
    with torch.no_grad():
        model.w.abs_()
    blank, alive = torch.full((5, 2, 5), -10.0).double(), samples(5, 2, 5).abs() + 90
    meter, calls = GradientMeter(model), list[int]()
    for batch in (blank, alive, alive):
        assert_agree(meter(batch).values, loop.expected_readings(model, batch)[1], **EXACT)
    model.head.register_forward_hook(lambda *_: calls.append(0))
    meter(alive)
    assert len(calls) == 1


class Folded(nn.Module):
    """Steps before samples or samples before steps, depending on an argument."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Linear(5, 3)

    def forward(self, x: Tensor, steps_first: bool) -> Tensor:
        x = x.transpose(0, 1) if steps_first else x
        out: Tensor = self.dense(x.flatten(0, 1)).tanh().unflatten(0, x.shape[:2]).sum(0 if steps_first else 1)
        return out


def test_an_order_of_steps_that_an_argument_chooses() -> None:
    model = randomise(Folded().double())
    meter = GradientMeter(model, activations=True)
    for steps_first in (False, True, False):
        inputs = {"x": STEPS, "steps_first": steps_first}
        readings, fresh = meter(inputs), GradientMeter(model, activations=True)(inputs)
        assert_agree(readings.values, loop.expected_readings(model, inputs)[1], **EXACT)
        assert readings.activations is not None
        assert fresh.activations is not None
        torch.testing.assert_close(readings.activations.values, fresh.activations.values)


def test_a_token_that_is_stacked_once_for_each_sample() -> None:
    def recipe(m: Any, x: Tensor) -> Tensor:
        out: Tensor = m.head((x * torch.stack([m.token] * len(x))).tanh())
        return out

    model = randomise(Recipe(recipe, token=(5,), head=nn.Linear(5, 3)).double())
    meter, x = GradientMeter(model), samples(7, 5)
    for count in (2, 4, 7):
        assert_agree(meter(x[:count]).values, loop.expected_readings(model, x[:count])[1], **EXACT)


def test_sequences_without_steps() -> None:
    table, dense, head = nn.Embedding(7, 5), nn.Linear(5, 4), nn.Linear(4, 3)
    model = Recipe(lambda m, x: m.head(m.dense(m.table(x)).sum(1)), table=table, dense=dense, head=head)
    randomise(model.double())
    meter = GradientMeter(model, activations=True)
    for steps in (0, 2, 0):
        x = torch.ones(4, steps).long()
        assert_agree(meter(x).values, loop.expected_readings(model, x)[1], **EXACT)


def test_numbers_whose_sign_is_yet_to_be_turned() -> None:
    """PyTorch conjugates lazily."""
    for layer, shape in ((nn.Linear(5, 3), (4, 8)), (nn.Conv1d(2, 3, 5), (4, 2, 8))):
        recipe = Recipe(lambda m, x: m.layer(torch.fft.rfft(x).conj().imag).flatten(1), layer=layer)
        model = randomise(recipe.float())
        x = samples(*shape).float()
        expected = loop.expected_readings(model, x)[1]
        assert_agree(GradientMeter(model)(x).values, expected, norms=1e-5, shapes=1e-4)


class Biased(nn.Module):
    """Biases with all names that PyTorch and timm use, and a table that is not a bias."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(5, 2, bidirectional=True, batch_first=True)
        self.cell = nn.GRUCell(5, 4)
        self.attention = nn.MultiheadAttention(4, 1)
        self.q_bias, self.relative_position_bias_table = nn.Parameter(torch.ones(4)), nn.Parameter(torch.ones(4))

    def forward(self, x: Tensor) -> Tensor:
        x = self.lstm(x)[0][:, 0] + self.cell(x[:, 0])
        x = x + self.q_bias + x * self.relative_position_bias_table
        out: Tensor = self.attention(x[None], x[None], x[None])[0][0]
        return out


def test_biases_by_any_name() -> None:
    model = randomise(Biased().double()).eval()
    readings = GradientMeter(model, biases=False)(STEPS)
    names = {"bias", "in_proj_bias", "q_bias", "bias_ih", "bias_hh"}
    names |= {f"bias_{part}_l0{way}" for part in ("ih", "hh") for way in ("", "_reverse")}
    start = predicted_error(logits_of(model, STEPS))
    kept: dict[str, list[Tensor]] = {}
    for name, parameter in model.named_parameters():
        layer, _, own = name.rpartition(".")
        if own not in names:
            rows = [
                torch.autograd.grad(model(x), parameter, v, allow_unused=True, materialize_grads=True)[0]
                for x, v in zip(STEPS.split(1), start.split(1), strict=True)
            ]
            kept.setdefault(layer or "root", []).append(torch.stack(rows).flatten(1))
    assert readings.layers == (*kept, "all")
    joined = [torch.cat(parts, 1) for parts in kept.values()]
    expected = np.stack([eight(gradient.numpy()) for gradient in (*joined, torch.cat(joined, 1))], 1)
    assert_agree(readings.values, expected, **EXACT)


def test_biases_that_are_pruned_or_parametrised() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 3))
    prune.l1_unstructured(model[0], "bias", 2)
    parametrize.register_parametrization(model[1], "bias", nn.Tanh())
    parametrize.register_parametrization(model[2], "weight", nn.Tanh())
    meter = GradientMeter(model, biases=False)
    assert meter.layers == ("0", "1", "2.parametrizations.weight", "all")
    x = samples(2, 4).float()
    readings = meter(x)
    (gradient,) = torch.autograd.grad(F.cross_entropy(model(x[:1]), readings.predictions[:1]), model[0].weight)
    assert readings["0", "l2"][0].item() == pytest.approx(gradient.norm().item(), rel=1e-5)


def test_tied_weights_without_biases() -> None:
    model = randomise(Tied().double())
    assert GradientMeter(model, biases=False)(samples(3, 4)).layers == ("first", "head", "all")


# --- wrappers


def with_compiled_parts(model: nn.Module) -> nn.Module:
    for name, part in list(model.named_children()):
        setattr(model, name, torch.compile(part, backend="eager"))
    return model


WRAPPERS: dict[str, Callable[[nn.Module], Any]] = {
    "parts compiled": with_compiled_parts,
    "data parallel": nn.DataParallel,
    "compiled": lambda model: torch.compile(model, backend="eager"),
    "compiled in data parallel": lambda model: nn.DataParallel(torch.compile(model, backend="eager")),
    "data parallel compiled": lambda model: torch.compile(nn.DataParallel(model), backend="eager"),
}


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_layers_of_a_wrapped_network_have_the_plain_names(wrapper: str) -> None:
    model, x = build_case("residual")
    expected = GradientMeter(model)(x)
    wrapped = WRAPPERS[wrapper](model)
    meter = GradientMeter(wrapped)
    assert meter.model is wrapped
    assert meter.layers == expected.layers == ("stem", "norm", "conv1", "conv2", "shortcut", "head", "all")
    assert_equal(meter(x), expected, rtol=1e-12)


# --- invariants


@pytest.mark.slow
@given(st.integers(1, 16), st.integers(1, 17), st.sampled_from(["residual", "tokens", "called twice"]))
def test_batch_size_and_tile_do_not_show(size: int, tile: int, case: str) -> None:
    make, shape = CASES[case]
    model = randomise(make()).eval()
    x = samples(size, *shape).float()
    one_by_one = Readings.concatenate([GradientMeter(model)(x[index : index + 1]) for index in range(size)])
    assert_equal(GradientMeter(model, tile=tile)(x), one_by_one, rtol=1e-5)
    assert_equal(GradientMeter(model)(x), one_by_one, rtol=1e-5)


@given(st.permutations(range(9)))
def test_order_of_samples(order: list[int]) -> None:
    model, images = randomise(Residual()).eval().double(), samples(9, 2, 5, 5)
    readings, shuffled = GradientMeter(model)(images), GradientMeter(model, tile=4)(images[order])
    expected = Readings(readings.logits[order], readings.log_scale[order], readings.layers, readings.values[order])
    assert_equal(shuffled, expected, rtol=1e-10)


@given(st.floats(-30, 30).map(lambda power: 10.0**power))
def test_scale_of_the_loss(factor: float) -> None:
    def loss(logits: Tensor) -> Tensor:
        return factor * F.cross_entropy(logits, logits.argmax(1), reduction="none")

    model, x = build_case("tokens", torch.float32)
    plain, scaled = GradientMeter(model)(x), GradientMeter(model, pseudo_label=loss)(x)
    expected = plain.values.clone()
    expected[..., :6] *= factor
    assert_agree(scaled.values, expected.numpy(), norms=1e-5, shapes=1e-4)


@given(st.integers(-66, 66), st.integers(0, 1000))
def test_gradients_of_any_size(power: int, seed: int) -> None:
    """Weights times 2^k and the next layer's divided by it: the same function, gradients of 1e-20 and 1e+20."""
    model = nn.Sequential(nn.Conv2d(1, 4, 3, bias=False), nn.LeakyReLU(0.1), nn.Flatten(), nn.Linear(64, 3, bias=False))
    randomise(model, seed)
    x = samples(5, 1, 6, 6, seed=seed).float()
    plain = GradientMeter(model)(x)
    with torch.no_grad():
        model[0].weight *= 2.0**power
        model[3].weight *= 2.0**-power
    scaled = GradientMeter(model)(x)
    expected = plain.values.clone()
    expected[:, 0, :6] *= 2.0**-power
    expected[:, 1, :6] *= 2.0**power
    assert_agree(scaled.values[:, :2], expected[:, :2].numpy(), norms=1e-10, shapes=1e-10)
    assert torch.isfinite(scaled.values).all()


@given(st.integers(0, 1000), st.sampled_from(["residual", "tokens", "tied weights", "auxiliary heads"]))
def test_all_is_made_of_the_layers(seed: int, case: str) -> None:
    make, shape = CASES[case]
    model = randomise(make().double(), seed).eval()
    readings = GradientMeter(model)(samples(3, *shape, seed=seed))
    l1, l2, low, high, mean, std, skewness, kurtosis = readings.values.unbind(-1)
    counts = torch.tensor(counted(model), dtype=torch.float64)
    share = counts / counts.sum()
    all_mean = (share * mean[:, :-1]).sum(1)
    away = mean[:, :-1] - all_mean[:, None]
    spread = std[:, :-1]
    moments = [
        spread**2 + away**2,
        skewness[:, :-1] * spread**3 + 3 * away * spread**2 + away**3,
        (kurtosis[:, :-1] + 3) * spread**4
        + 4 * away * skewness[:, :-1] * spread**3
        + 6 * away**2 * spread**2
        + away**4,
    ]
    second, third, fourth = ((share * moment).sum(1) for moment in moments)
    expected = [
        l1[:, :-1].sum(1),
        l2[:, :-1].pow(2).sum(1).sqrt(),
        low[:, :-1].amin(1),
        high[:, :-1].amax(1),
        all_mean,
        second.sqrt(),
        third / second**1.5,
        fourth / second**2 - 3,
    ]
    assert_agree(readings.values[:, -1], torch.stack(expected, -1).numpy(), norms=1e-9, shapes=1e-6)


def counted(model: nn.Module) -> list[int]:
    counts: dict[str, int] = {}
    for name, parameter in model.named_parameters():
        layer = name.rpartition(".")[0]
        counts[layer] = counts.get(layer, 0) + parameter.numel()
    return list(counts.values())


@pytest.mark.parametrize("case", CASES)
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
def test_inequalities(case: str) -> None:
    model, x = build_case(case, torch.float32)
    l1, l2, low, high, mean, std, _, _ = GradientMeter(model)(x).values.unbind(-1)
    counts = torch.tensor([*counted(model), sum(counted(model))], dtype=torch.float64)
    slack = 1e-9 * l2
    assert (low <= mean + slack).all()
    assert (mean <= high + slack).all()
    assert (l2 >= l1 / counts.sqrt() - slack).all()
    assert (std <= l2 / counts.sqrt() + slack).all()


# --- memory order and forms of the input


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x.contiguous(memory_format=torch.channels_last),
        lambda x: x.transpose(2, 3).contiguous().transpose(2, 3),
        lambda x: torch.stack([x, x], -1)[..., 0],
        lambda x: x.permute(1, 2, 3, 0).contiguous().permute(3, 0, 1, 2),
        lambda x: torch.cat([x, x])[3:9].roll(3, 0),
    ],
)
@pytest.mark.parametrize("channels", [1, 2])
def test_memory_order_of_images(channels: int, change: Callable[[Tensor], Tensor]) -> None:
    model = randomise(classifier((channels, 7, 5), nn.Conv2d(channels, 4, 3, padding=1), nn.Tanh())).double()
    x = samples(6, channels, 7, 5)
    changed = change(x)
    torch.testing.assert_close(changed, x)
    assert_equal(GradientMeter(model)(changed), GradientMeter(model)(x), rtol=1e-10)


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (5, 1), (4, 3)])
def test_thin_images_of_one_channel(size: tuple[int, int]) -> None:
    model = randomise(classifier((1, *size), nn.Conv2d(1, 4, 3, padding=1), nn.Tanh()).double())
    x = samples(4, 1, *size)
    assert_agree(GradientMeter(model)(x).values, expected_readings(model, x)[1], **EXACT)
    repeated = x[:1].expand(3, -1, -1, -1)
    assert_agree(GradientMeter(model)(repeated).values, expected_readings(model, repeated)[1], **EXACT)


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(4, 3), nn.Linear(5, 3)

    def forward(self, a: Tensor, b: Tensor, factor: float = 1.0) -> Tensor:
        out: Tensor = self.left(a) + factor * self.right(b)
        return out


def test_tuples_and_dicts_are_passed_on() -> None:
    model, a, b = Two().double(), samples(20, 4), samples(20, 5, seed=2)
    readings = GradientMeter(model)((a, b, 0.5))
    torch.testing.assert_close(readings.logits, model(a, b, 0.5).detach())
    assert_equal(GradientMeter(model)({"b": b, "a": a, "factor": 0.5}), readings, rtol=1e-12)


def test_output_with_logits() -> None:
    class Output:
        def __init__(self, logits: Tensor) -> None:
            self.logits = logits

    class Wrapped(nn.Linear):
        pass

    model = Wrapped(4, 3).double()
    x = samples(3, 4)
    plain = GradientMeter(model)(x)
    model.register_forward_hook(lambda module, args, output: Output(output))
    assert_equal(GradientMeter(model)(x), plain, rtol=1e-12)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_called_where_gradients_are_off(mode: Callable[[], Any]) -> None:
    model, x = build_case("residual")
    expected = GradientMeter(model)(x)
    with mode():
        assert_equal(GradientMeter(model)(x.clone()), expected, rtol=1e-12)


def test_weights_that_were_computed_where_gradients_are_off() -> None:
    model = randomise(nn.utils.parametrizations.weight_norm(nn.Linear(5, 3)).double())
    expected = GradientMeter(model)(FLAT)
    with parametrize.cached():
        with torch.no_grad():
            kept = model.weight
        assert_equal(GradientMeter(model)(FLAT), expected, rtol=1e-12)
        assert model.weight is kept


def test_buffers_made_in_inference_mode() -> None:
    model = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Linear(4, 3)).double().eval()
    randomise(model)
    norm, expected = model[1], GradientMeter(model)(FLAT)
    with torch.inference_mode():
        mean = norm.running_mean.clone()
    norm.running_mean = mean
    assert_equal(GradientMeter(model)(FLAT), expected, rtol=1e-12)
    assert norm.running_mean is mean


def test_another_default_device() -> None:
    model, x = paper_cnn(torch.float32)
    expected = GradientMeter(model, activations=True)(x)
    with torch.device("meta"):
        assert_equal(GradientMeter(model, activations=True)(x), expected, rtol=1e-12)


def test_autocast_does_not_round_the_arithmetic_of_a_measurement() -> None:
    model, x = paper_cnn(torch.float32)
    model = WithoutAutocast(model)
    expected = GradientMeter(model, activations=True)(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert_equal(GradientMeter(model, activations=True)(x), expected, rtol=1e-12)
        assert torch.is_autocast_enabled("cpu")


def test_a_probe_calls_the_network_in_the_autocast_of_the_caller() -> None:
    def differs(network: nn.Module, inputs: Inputs, logits: Tensor) -> dict[str, Tensor]:
        return {"differs": (network(*inputs.args) - logits).detach().abs().amax(1).double()}

    with torch.autocast("cpu", dtype=torch.bfloat16):
        readings = GradientMeter(nn.Linear(4, 3).eval(), probes=[differs])(torch.randn(5, 4))
    assert not readings.scores["differs"].any()


def test_autocast_is_that_of_the_caller() -> None:
    model, x = paper_cnn(torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.no_grad():
        logits = model(x)  # leaves weights that were cast without gradients in the cache of autocast
        readings = GradientMeter(model)(x)
    assert torch.equal(readings.logits, logits)
    assert (readings["conv1", "l2"] > 0).all()


# --- the network is restored


def snapshot(model: nn.Module) -> dict[str, Any]:
    return {
        "modes": [module.training for module in model.modules()],
        "hooks": [
            [len(hooks) for name, hooks in vars(module).items() if name.endswith("hooks")] for module in model.modules()
        ],
        "requires_grad": [parameter.requires_grad for parameter in model.parameters()],
        "gradients": [None if p.grad is None else (id(p.grad), p.grad.tolist()) for p in model.parameters()],
        "leaves": [(id(parameter), parameter.is_leaf, parameter._version) for parameter in model.parameters()],
        "buffers": {name: buffer.tolist() for name, buffer in model.named_buffers()},
        "attributes": [sorted(vars(module)) for module in model.modules()],
        "random": torch.get_rng_state().tolist(),
    }


class Interrupted(nn.Module):
    error: type[BaseException] | None = None

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv1d(2, 3, 3), nn.InstanceNorm1d(3, affine=True, track_running_stats=True))
        self.dropout, self.norm, self.head = nn.Dropout(), nn.BatchNorm1d(3), nn.Linear(18, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.dropout(self.body(x)))
        if self.error is not None:
            raise self.error
        out: Tensor = self.head(x.flatten(1))
        return out


@pytest.mark.parametrize("error", [None, RuntimeError, KeyboardInterrupt])
def test_network_comes_back_as_it_was(error: type[BaseException] | None) -> None:
    model = Interrupted().train()
    model.norm.eval()
    model(samples(4, 2, 8).float())[0, 0].backward()
    model.head.bias.requires_grad_(False)
    model.head.weight.grad = None
    model.error = error
    before = snapshot(model)
    assert None in before["gradients"]
    if error is None:
        GradientMeter(model)(samples(20, 2, 8).float())
    else:
        with pytest.raises(error):
            GradientMeter(model)(samples(20, 2, 8).float())
    assert snapshot(model) == before


def test_dropout_is_off() -> None:
    model = Interrupted().train()
    model.norm.eval()
    x = samples(4, 2, 8).float()
    assert_equal(GradientMeter(model)(x), GradientMeter(copy.deepcopy(model).eval())(x), rtol=1e-7)


def noisy(m: Any, x: Tensor) -> Tensor:
    """Draws random numbers that do not affect the logits."""
    out: Tensor = m.dense(x + 0 * torch.randn_like(x))
    return out


def test_random_numbers_are_those_of_a_world_without_meters() -> None:
    meter = GradientMeter(Recipe(noisy, dense=nn.Linear(5, 3)).double())
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    meter(samples(9, 5))
    meter(samples(9, 5))
    assert torch.equal(torch.rand(3), expected)


class Box:
    """Wraps a saved tensor in an object that supports weak references."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor.detach()


@pytest.mark.parametrize("case", ["residual", "called twice", "tokens"])
def test_no_graph_outlives_its_call(case: str) -> None:
    model, x = build_case(case)
    meter = GradientMeter(model)
    boxes: list[weakref.ref[Box]] = []

    def pack(tensor: Tensor) -> Box:
        box = Box(tensor)
        boxes.append(weakref.ref(box))
        return box

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda box: box.tensor):
        readings = [meter(x) for _ in range(5)]
    gc.collect()
    assert len(boxes) > 30
    assert not any(box() is not None for box in boxes)
    assert len(readings) == 5


def test_readings_do_not_hold_the_graph() -> None:
    model, x = build_case("residual")
    readings = GradientMeter(model)(x)
    assert not any(t.requires_grad for t in (readings.logits, readings.values, readings.log_scale))


# --- cost


class Largest(TorchDispatchMode):
    """Largest number of entries that an operation allocated, without views."""

    entries = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, tuple | list) else (out,):
            if isinstance(tensor, Tensor) and not func.is_view:
                self.entries = max(self.entries, tensor.numel())
        return out


def test_dense_layer_of_sixteen_million_weights() -> None:
    model = nn.Sequential(nn.Linear(4096, 4096), nn.ReLU(), nn.Linear(4096, 10))
    x = samples(256, 4096).float()
    with Largest() as largest:
        readings = GradientMeter(model, tile=256)(x)
    assert largest.entries <= 256 * 4096
    assert (readings["0", "l2"] > 0).all()


def test_no_memory_of_batch_times_parameters() -> None:
    model = classifier((16, 4, 4), nn.Conv2d(16, 64, 3), nn.ReLU(), nn.Conv2d(64, 64, 2))
    x = samples(512, 16, 4, 4).float()
    with Largest() as largest:
        GradientMeter(model, tile=512)(x)
    # entries of weight gradient: 512 x 9,216 and 512 x 16,384
    assert largest.entries <= 2**20


def test_tile_bounds_what_is_alive() -> None:
    seen: list[int] = []
    model = classifier((1, 28, 28), nn.Conv2d(1, 64, 3))
    model[0].register_forward_pre_hook(lambda module, args: seen.append(len(args[0])))

    def tiles(meter: GradientMeter, count: int) -> list[int]:
        meter(torch.rand(1, 1, 28, 28))  # probes
        seen.clear()
        meter(torch.rand(count, 1, 28, 28))
        return list(seen)

    assert tiles(GradientMeter(model, tile=3), 8) == [3, 3, 2]
    assert tiles(GradientMeter(model, tile=4), 9) == [3, 3, 3]
    assert tiles(GradientMeter(model, tile=9), 8) == [8]
    meter = GradientMeter(model)
    tiles(meter, 120)
    own = tiles(meter, 120)
    assert sum(own) == 120
    assert 1 < max(own) < 120


def test_the_first_call_reads_as_later_ones() -> None:
    """A first tile was smaller, and on some processors the rounding of a matrix product depends on its rows."""
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))
    seen: list[int] = []
    model[0].register_forward_pre_hook(lambda module, args: seen.append(len(args[0])))
    meter, images = GradientMeter(model), torch.rand(80, 1, 8, 8)
    first = meter(images)
    tiles_of_first = seen.copy()
    seen.clear()
    second = meter(images)
    assert tiles_of_first[-len(seen) :] == seen
    assert torch.equal(first.logits, second.logits)
    assert torch.equal(first.values, second.values)


def test_a_kind_of_input_is_probed_once() -> None:
    seen: list[int] = []
    model = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3))
    model[0].register_forward_pre_hook(lambda module, args: seen.append(len(args[0])))
    meter = GradientMeter(model)
    meter(samples(6, 5).float())
    assert seen == [6, 3, 1]
    seen.clear()
    meter(samples(6, 5).float())
    meter(samples(2, 5).float())
    assert seen == [6, 2]


# --- bad input


def small() -> nn.Module:
    return nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3))


INPUTS = torch.ones(4, 5)


@pytest.mark.parametrize(
    ("inputs", "given"),
    [
        (INPUTS[:0], "0"),
        ((INPUTS, INPUTS[:2]), r"\(4, 5\), \(2, 5\)"),
        (torch.tensor(1.0), r"\(\)"),
        ((), "no tensor"),
        ({"input": 3}, "no tensor"),
        ([INPUTS], "list"),
        (INPUTS.numpy(), "ndarray"),
        (INPUTS.to_sparse(), "torch.sparse_coo"),
        (torch.nested.nested_tensor([INPUTS, INPUTS], layout=torch.jagged), "nested"),
    ],
)
def test_bad_inputs(inputs: Any, given: str) -> None:
    with pytest.raises(InputError, match=given) as raised:
        GradientMeter(small())(inputs)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (lambda z: (z, z), r"returned tuple; .*; of several outputs, return the logits alone"),
        (lambda z: {"out": z}, r"returned dict; .*; of several outputs, return the logits alone"),
        (lambda z: z.squeeze(), r"returned \(3,\); .*\(1, classes >= 2\); keep .* flatten\(1\) in place of squeeze"),
        (lambda z: z[:, 0], r"returned \(4,\); .*; of one logit z for two classes, return the logits 0 and z"),
        (lambda z: z[:, :, None], r"returned \(4, 3, 1\); expected logits of shape \(4, classes >= 2\)$"),
    ],
)
def test_outputs_that_are_no_logits(returned: Callable[[Tensor], Any], message: str) -> None:
    model = Recipe(lambda m, x: returned(m.body(x)), body=small())
    with pytest.raises(InputError, match=message):
        GradientMeter(model)(INPUTS)


def test_logits_in_a_dict() -> None:
    body = small()
    model = Recipe(lambda m, x: {"loss": None, "logits": m.body(x)}, body=body)
    torch.testing.assert_close(GradientMeter(model)(INPUTS).values, GradientMeter(body)(INPUTS).values)


class Packing(nn.Module):
    """Packs the sequences [N, T, 5] without their last step, if that is negative."""

    def __init__(self, layout: torch.layout) -> None:
        super().__init__()
        self.dense, self.layout = nn.Linear(5, 3), layout

    def forward(self, x: Tensor) -> Tensor:
        steps = [sequence[: len(sequence) - int(sequence[-1, 0] < 0)] for sequence in x]
        packed = self.dense(torch.nested.as_nested_tensor(steps, layout=self.layout))
        return torch.stack([sequence.sum(0) for sequence in packed.unbind()])


@pytest.mark.parametrize("layout", [torch.jagged, torch.strided])
def test_a_network_that_computes_with_nested_tensors_is_refused_in_one_line(layout: torch.layout) -> None:
    x = samples(4, 6, 5).float()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # strided nested tensors are a prototype
        with pytest.raises(UnsupportedModelError, match="nested") as raised:
            GradientMeter(Packing(layout))(x)
        assert "\n" not in str(raised.value)
        assert len(GradientMeter(Packing(layout), gradients=False)(x)) == len(x)


def test_not_finite_logits_name_the_samples() -> None:
    x = samples(4, 5).float()
    x[2, 1] = torch.nan
    with pytest.raises(InputError, match=r"1 of 4 .*\(index 2\)"):
        GradientMeter(small())(x)


@pytest.mark.parametrize("rows", [[0], [39], [5, 9, 17, 38]])
def test_not_finite_logits_name_the_samples_of_the_whole_batch(rows: list[int]) -> None:
    x = samples(40, 5).float()
    x[rows, 1] = torch.nan
    with pytest.raises(NotFinite, match=f"{len(rows)} of 40 ") as raised:
        GradientMeter(small())(x)
    assert raised.value.rows == rows


def test_logits_that_are_not_finite_in_large_batches_only_are_named_by_rows_of_the_batch() -> None:
    class Net(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            logits = super().forward(x)
            return logits / (x[:, :1] < 5) if len(x) > 8 else logits

    x = torch.randn(40, 3).clamp(max=4)
    x[30] = 9
    with pytest.raises(NotFinite) as raised:
        GradientMeter(Net(3, 2), tile=20)(x)
    assert 30 in raised.value.rows
    assert set(raised.value.rows) <= {*range(20, 40)}


class Returning(nn.Module):
    def __init__(self, answer: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.dense, self.answer = nn.Linear(5, 3), answer

    def forward(self, x: Tensor) -> Any:
        return self.answer(self.dense(x))


@pytest.mark.parametrize(
    ("answer", "given"),
    [
        (lambda z: z[:, :1], r"\(4, 1\).*\(4, .* z "),
        (lambda z: z[:, 0], r"\(4,\).*\(4, .* z "),
        (lambda z: z.unsqueeze(1), r"\(4, 1, 3\).*\(4, "),
        (lambda z: z[:2], r"\(2, 3\).*\(4, "),
        (lambda z: (z, z), r"tuple.*\(4, "),
        (lambda z: {"scores": z}, r"dict.*\(4, "),
    ],
)
def test_not_logits(answer: Callable[[Tensor], Any], given: str) -> None:
    with pytest.raises(InputError, match=given):
        GradientMeter(Returning(answer))(INPUTS)


def test_batch_norm_in_train_mode_is_a_value_error() -> None:
    model = Residual().train()
    with pytest.raises(ValueError, match=r"'norm' \(BatchNorm2d\)"):
        GradientMeter(model)(samples(2, 2, 5, 5).float())
    assert model.training


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("affine", [True, False])
def test_batch_norm_without_running_statistics(affine: bool, training: bool) -> None:
    norm = nn.BatchNorm1d(4, affine=affine, track_running_stats=False)
    with pytest.raises(UnsupportedModelError, match=r"'1' \(BatchNorm1d\)"):
        GradientMeter(nn.Sequential(nn.Linear(5, 4), norm).train(training))(INPUTS)


@pytest.mark.parametrize("norm", [nn.InstanceNorm1d(4, track_running_stats=True), nn.GroupNorm(1, 4), nn.LayerNorm(6)])
def test_other_layers_may_be_in_train_mode(norm: nn.Module) -> None:
    model = nn.Sequential(nn.Conv1d(1, 4, 1), norm, nn.Dropout(), nn.Flatten(), nn.Linear(24, 3)).train()
    GradientMeter(model)(samples(3, 1, 6).float())
    assert model.training


@pytest.mark.parametrize("make", [nn.Flatten, nn.Identity])
def test_a_network_without_parameters(make: Callable[[], nn.Module]) -> None:
    with pytest.raises(UnsupportedModelError) as raised:
        GradientMeter(make())
    assert isinstance(raised.value, TypeError)


def overwriting(m: Any, x: Tensor) -> Tensor:
    hidden = m.first(x) * 2
    out: Tensor = m.second(hidden)
    hidden.zero_()
    return out


def test_a_tensor_that_the_backward_pass_needs_is_overwritten() -> None:
    model = Recipe(overwriting, first=nn.Linear(5, 3), second=nn.Linear(3, 3))
    with pytest.raises(UnsupportedModelError, match="in place"):
        GradientMeter(model)(INPUTS)


def without_gradients(m: Any, x: Tensor) -> Tensor:
    with torch.no_grad():
        hidden = m.first(x)
    out: Tensor = m.second(hidden)
    return out


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (lambda m, x: m.second(m.first(x) - m.first(x).mean(0)), r"differ by \d"),
        (lambda m, x: m.second(m.first(x)).cumsum(0), r"differ by \d"),
        (lambda m, x: F.dropout(m.second(m.first(x))), r"differ by \d"),
        (lambda m, x: m.second(m.first(x) + torch.randn(len(x), 64)), r"differ by \d"),
        (lambda m, x: m.second(m.first(x)).detach(), "detached"),
        (without_gradients, "'first'"),
    ],
)
def test_refused_in_one_line(recipe: Callable[[Any, Tensor], Tensor], message: str) -> None:
    torch.manual_seed(0)
    model = randomise(Recipe(recipe, first=nn.Linear(5, 64), second=nn.Linear(64, 3)))
    with pytest.raises(UnsupportedModelError, match=message) as raised:
        GradientMeter(model)(samples(4, 5).float())
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("model", [nn.Linear, None, lambda x: x])
def test_not_a_module(model: Any) -> None:
    with pytest.raises(InputError, match=type(model).__name__):
        GradientMeter(model)


@pytest.mark.parametrize("tile", [0, -1, 2.5, "8", True])
def test_bad_tile(tile: Any) -> None:
    with pytest.raises(InputError, match=f"tile={tile!r}"):
        GradientMeter(small(), tile=tile)


def test_bad_pseudo_label() -> None:
    with pytest.raises(InputError, match=r"'predictd'.*predicted"):
        GradientMeter(small(), pseudo_label="predictd")
    with pytest.raises(InputError, match=r"pseudo_label=3 .*0 to 2"):
        GradientMeter(small(), pseudo_label=3)(INPUTS)


def test_wrong_names_in_readings() -> None:
    readings = GradientMeter(small())(INPUTS)
    with pytest.raises(InputError, match=r"'conv1'.* 0, 2, all"):
        readings["conv1", "l2"]
    with pytest.raises(InputError, match="'norm'"):
        readings["0", "norm"]


def test_labels_take_the_place_of_the_pseudo_label() -> None:
    model, x = build_case("residual")
    labels = torch.tensor([2, 0, 1, 2])
    whole = GradientMeter(model, "uniform", tile=3)(x, labels)
    for sample, label in enumerate(labels.tolist()):
        alone = GradientMeter(model, label)(x[sample : sample + 1])
        assert_equal(Readings.concatenate([alone]), Readings(*(
            whole.logits[sample : sample + 1], whole.log_scale[sample : sample + 1], whole.layers,
            whole.values[sample : sample + 1])), rtol=1e-10)  # fmt: skip


@pytest.mark.parametrize(
    ("labels", "given"),
    [
        (torch.tensor([0, 1]), r"\(2,\) torch.int64.*4"),
        (torch.zeros(4), r"\(4,\) torch.float32"),
        (torch.zeros(4).cfloat(), r"\(4,\) torch.complex64"),
        ([0, 1, 2, 0], "list"),
        (torch.tensor([0, 1, 3, 0]), "label 3 .*0 to 2"),
        (torch.tensor([0, -1, 1, 0]), "label -1 "),
        (torch.tensor([0, 1, 2, 3]).to_sparse(), "torch.sparse_coo"),
    ],
)
def test_bad_labels(labels: Any, given: str) -> None:
    model, x = build_case("residual")
    with pytest.raises(InputError, match=given):
        GradientMeter(model)(x, labels)


def test_a_layer_that_was_replaced_is_measured() -> None:
    model, x = build_case("linear")
    meter = GradientMeter(model)
    meter(x)
    model[0] = randomise(nn.Linear(5, 7, bias=False).double(), seed=3)
    assert_equal(meter(x), GradientMeter(model)(x), rtol=1e-12)


@pytest.mark.parametrize("gradients", [True, False])
def test_a_layer_that_was_replaced_with_its_parameters_is_read(gradients: bool) -> None:
    model, x = build_case("linear")
    meter = GradientMeter(model, gradients=gradients, activations=True)
    expected = meter(x)
    model[0] = with_same_parameters(model[0])
    actual = meter(x)
    assert actual.activations is not None
    assert expected.activations is not None
    assert torch.equal(actual.activations.values, expected.activations.values)
    assert torch.equal(actual.values, expected.values)


class Growing(nn.Module):
    """A network that creates its last layer in the first call, or in every call."""

    def __init__(self, *, always: bool) -> None:
        super().__init__()
        self.body, self.always = nn.Linear(5, 4), always

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.always or not hasattr(self, "head"):
            self.head = randomise(nn.Linear(4, 3), seed=3)
        out: torch.Tensor = self.head(self.body(x).tanh())
        return out


@pytest.mark.parametrize("count", [1, 3, 20])
def test_a_layer_that_the_first_call_makes_is_measured(count: int) -> None:
    model, x = Growing(always=False), torch.randn(count, 5)
    actual = GradientMeter(model)(x)
    assert actual.layers == ("body", "head", "all")
    assert_equal(actual, GradientMeter(model)(x), rtol=1e-12)


def test_layers_that_every_call_makes_anew() -> None:
    with pytest.raises(UnsupportedModelError, match="parameters"):
        GradientMeter(Growing(always=True))(torch.randn(3, 5))


@pytest.mark.parametrize("name", ["all", "root"])
def test_layer_names_that_are_reserved(name: str) -> None:
    model = Recipe(lambda m, x: m.get_submodule(name)(x * m.p), p=(5,), **{name: nn.Linear(5, 3)})
    with pytest.raises(UnsupportedModelError, match=f"'{name}'"):
        GradientMeter(model)


def test_biases_must_be_bool() -> None:
    with pytest.raises(InputError, match="biases='no'"):
        GradientMeter(nn.Linear(2, 2), biases="no")  # type: ignore[arg-type]


def test_gradients_switched_off_after_the_first_batch() -> None:
    class Switched(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.head, self.off = nn.Linear(5, 5), nn.Linear(5, 3), False

        def forward(self, x: Tensor) -> Tensor:
            with torch.set_grad_enabled(not self.off):
                x = self.stem(x)
            out: Tensor = self.head(x)
            return out

    model, x = Switched().double(), samples(3, 5)
    meter = GradientMeter(model)
    meter(x)
    model.off = True
    with pytest.raises(UnsupportedModelError, match="'stem'"):
        meter(x)


# --- networks that write into their input


class Normalising(nn.Module):
    """A network that normalises its input, in place or not."""

    def __init__(self, network: nn.Module, in_place: bool) -> None:
        super().__init__()
        self.network, self.in_place = network, in_place

    def forward(self, x: Tensor) -> Any:
        return self.network(x.sub_(0.5).div_(0.25) if self.in_place else (x - 0.5) / 0.25)


@pytest.mark.parametrize("count", [1, 4, 40])
def test_a_network_that_writes_into_its_input(count: int) -> None:
    network = small()
    x = samples(count, 5).float()
    given = x.clone()
    actual = GradientMeter(Normalising(network, True), activations=True, probes=["odin"])(x)
    assert torch.equal(x, given)
    expected = GradientMeter(Normalising(network, False), activations=True, probes=["odin"])(x)
    assert_equal(actual, expected)
    assert torch.equal(actual.scores["odin"], expected.scores["odin"])


# --- compiled networks, and empty parameters


def test_a_network_that_was_scripted() -> None:
    with pytest.raises(UnsupportedModelError, match=r"torch\.jit\.script"):
        GradientMeter(torch.jit.script(small()))
    with pytest.raises(UnsupportedModelError, match=r"torch\.jit\.script"):
        GradientMeter(nn.Sequential(nn.Identity(), torch.jit.script(small())))


def test_a_meter_while_another_thread_exports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)  # as in all threads then
    assert len(GradientMeter(nn.Linear(4, 2))(samples(3, 4).float())) == 3


@pytest.mark.parametrize("options", [{}, {"gradients": False, "activations": True}])
def test_a_meter_in_a_function_that_is_compiled(options: dict[str, Any]) -> None:
    meter, x = GradientMeter(small(), **options), samples(12, 5).float()

    @torch.compile(backend="eager")
    def doubled(inputs: Tensor) -> tuple[Readings, Tensor]:
        return meter(inputs), inputs * 2

    readings, numbers = doubled(x)
    expected = meter(x)
    torch.testing.assert_close(readings.logits, expected.logits)
    torch.testing.assert_close(readings.values, expected.values, rtol=1e-5, atol=1e-7)
    assert torch.equal(numbers, x * 2)


def test_a_network_that_was_traced() -> None:
    network, x = small(), samples(12, 5).float()
    assert_equal(GradientMeter(torch.jit.trace(network, x))(x), GradientMeter(network)(x))


def test_convolutions_that_were_traced() -> None:
    network, x = build_case("residual")
    meter, of_traced = GradientMeter(network), GradientMeter(torch.jit.trace(network, x))
    assert_equal(of_traced(x), meter(x))
    assert [cost.way for cost in of_traced.costs(x).layers] == [cost.way for cost in meter.costs(x).layers]


def test_a_network_with_buffers_that_was_traced() -> None:
    network, x = nn.Sequential(nn.BatchNorm1d(5), small()).eval(), samples(12, 5).float()
    traced = torch.jit.trace(network, x)
    buffers = [buffer.clone() for buffer in traced.buffers()]
    assert_equal(GradientMeter(traced)(x), GradientMeter(network)(x))
    assert all(map(torch.equal, buffers, traced.buffers()))


def test_a_network_with_a_buffer_of_its_own_that_was_traced() -> None:
    class Scaled(nn.Linear):
        def forward(self, inputs: Tensor) -> Tensor:
            return super().forward(inputs * self.scale)

    network, x = Scaled(5, 3).eval(), samples(12, 5).float()
    network.register_buffer("scale", torch.tensor(2.0))
    assert GradientMeter(torch.jit.trace(network, x))(x).values.isfinite().all()


def test_tensors_without_values() -> None:
    network, x = small(), samples(12, 5).float()
    with pytest.raises(InputError, match="meta"):
        GradientMeter(network)(x.to("meta"))
    with pytest.raises(InputError, match="meta"):
        GradientMeter(network)(x, torch.zeros(12, dtype=torch.int64, device="meta"))
    with pytest.raises(UnsupportedModelError, match=r"'0\.weight'.*meta"):
        GradientMeter(network.to("meta"))


def test_an_empty_parameter() -> None:
    network, x = small(), samples(12, 5).float()
    expected = GradientMeter(network)(x)
    network.register_parameter("nothing", nn.Parameter(torch.empty(0)))
    assert_equal(GradientMeter(network)(x), expected)
    with pytest.raises(UnsupportedModelError):
        GradientMeter(nn.ParameterList([torch.empty(0)]))
