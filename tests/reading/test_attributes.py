"""Networks that keep tensors in attributes from one call to the next."""

import copy
import pickle
import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from timm.models.levit import Attention as LevitAttention
from torch import Tensor, nn
from torch.nn.modules.module import register_module_full_backward_hook
from torch.nn.utils import parametrize, prune

from gradmeter import GradientMeter
from gradmeter.reading.network import measuring
from gradmeter.reading.traced.forward import TracedForward
from gradmeter.reading.traced.program import traced_program
from oracles.gradients import expected_readings
from oracles.moments import assert_agree
from oracles.networks import randomise, samples

EXACT = {"norms": 1e-10, "shapes": 1e-8}


class Rotary(nn.Module):
    """Factors by position, computed for the longest input so far, as in older versions of LLaMA."""

    def __init__(self) -> None:
        super().__init__()
        self._reach(4)

    def _reach(self, length: int) -> None:
        self.longest = length
        self.register_buffer("factors", torch.arange(length).double().cos()[:, None], persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1] > self.longest:
            self._reach(x.shape[1])
        return x * self.factors[: x.shape[1]]


class Remembering(nn.Module):
    """Computes a weight once in eval mode."""

    def __init__(self, keep: Callable[["Remembering", Tensor], None], kept: Callable[["Remembering"], Any]) -> None:
        super().__init__()
        self.raw = nn.Parameter(torch.rand(5, 5))
        self.weight: Any = None
        self.weights: dict[str, Any] = {}
        self.is_ready = False
        self.keep, self.kept = keep, kept

    def forward(self, x: Tensor) -> Tensor:
        if not self.is_ready:
            self.keep(self, self.raw.softmax(0))
            self.is_ready = True
        result: Tensor = x @ self.kept(self)
        return result


WAYS = {
    "attribute": (lambda module, weight: setattr(module, "weight", weight), lambda module: module.weight),
    "tuple": (lambda module, weight: setattr(module, "weight", (weight, 1)), lambda module: module.weight[0]),
    "dict": (lambda module, weight: module.weights.update(own=weight), lambda module: module.weights["own"]),
    "new attribute": (lambda module, weight: setattr(module, "new", weight), lambda module: module.new),
}


@pytest.mark.parametrize("way", WAYS)
def test_what_a_measurement_made_a_network_keep(way: str) -> None:
    model = randomise(nn.Sequential(Remembering(*WAYS[way]), nn.Tanh(), nn.Linear(5, 3)).double().eval())
    x, before = samples(3, 5), copy.deepcopy(vars(model[0]))
    layers, values = expected_readings(model, x)
    GradientMeter(model, gradients=False)(x)
    meter = GradientMeter(model)
    assert meter.layers == layers
    for _ in range(2):
        assert_agree(meter(x).values, values, **EXACT)
    assert vars(model[0]).keys() == before.keys()
    assert (model[0].weight, model[0].weights, model[0].is_ready) == (None, {}, False)


@pytest.mark.parametrize("gradients", [False, True])
def test_a_buffer_and_what_says_how_long_it_is(gradients: bool) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(Rotary(), nn.Flatten(), nn.Linear(18, 3)).double().eval()
    x = samples(2, 6, 3)
    expected = copy.deepcopy(model)(x)
    meter = GradientMeter(model, gradients=gradients)
    for _ in range(2):
        torch.testing.assert_close(meter(x).logits, expected)
    assert (model[0].longest, len(model[0].factors)) == (4, 4)
    torch.testing.assert_close(model(x), expected)


def test_a_module_that_is_built_at_its_first_call_stays_built() -> None:
    class Built(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner: nn.Module | None = None
            self.scale: Tensor | None = None

        def forward(self, x: Tensor) -> Tensor:
            if self.inner is None:
                self.inner, self.scale = nn.Linear(5, 5).double(), torch.tensor(2.0)
            result: Tensor = self.inner(x) * self.scale
            return result

    model, x = nn.Sequential(Built(), nn.Linear(5, 3)).double().eval(), samples(2, 5)
    meter = GradientMeter(model, gradients=False)
    torch.testing.assert_close(meter(x).logits, meter(x).logits)
    assert model[0].scale is not None


def test_tensors_in_attributes_that_were_made_in_inference_mode() -> None:
    remembering = Remembering(*WAYS["attribute"])
    model = randomise(nn.Sequential(nn.Linear(5, 5), remembering, nn.Linear(5, 3)).double().eval())
    x = samples(3, 5)
    with torch.inference_mode():
        model(x)
    kept = remembering.weight
    assert (GradientMeter(model)(x)["0", "l2"] > 0).all()
    assert remembering.weight is kept


@pytest.mark.filterwarnings("ignore:.*weight_norm. is deprecated")
@pytest.mark.parametrize("change", [nn.utils.weight_norm, lambda layer: prune.l1_unstructured(layer, "weight", 0.5)])
def test_a_network_with_weights_by_hooks_can_still_be_copied(change: Callable[[nn.Module], nn.Module]) -> None:
    layer = nn.Linear(5, 3)
    change(layer)
    model, x = nn.Sequential(layer).eval(), samples(2, 5).float()
    with torch.no_grad():
        model(x)
    GradientMeter(model)(x)
    torch.testing.assert_close(copy.deepcopy(model)(x), model(x))


# --- attention of LeViT, which keeps its biases


def levit() -> tuple[nn.Sequential, Tensor]:
    attention = LevitAttention(8, 4, num_heads=2, resolution=(3, 3))
    model = randomise(nn.Sequential(attention, nn.Flatten(), nn.Linear(72, 3)).double().eval())
    return model, samples(3, 9, 8)  # type: ignore[return-value]


@pytest.mark.parametrize("gradients", [False, True])
def test_biases_that_were_computed_in_an_earlier_call(gradients: bool) -> None:
    model, x = levit()
    layers, values = expected_readings(model, x)
    with torch.set_grad_enabled(gradients):
        model(x).sum()
    kept = model[0].attention_bias_cache
    assert kept
    meter = GradientMeter(model)
    assert meter.layers == layers
    for _ in range(2):
        assert_agree(meter(x).values, values, **EXACT)
    meter.costs(x)
    assert model[0].attention_bias_cache is kept


def test_other_threads_keep_their_biases_during_a_measurement() -> None:
    model, x = levit()
    with torch.no_grad():
        before = model(x)
    failed: list[BaseException] = []

    def call() -> None:
        try:
            with torch.no_grad():
                torch.testing.assert_close(model(x), before)
            torch.testing.assert_close(pickle.loads(pickle.dumps(model))(x), before)
            torch.testing.assert_close(copy.deepcopy(model)(x), before)
        except BaseException as error:
            failed.append(error)

    with measuring(model):
        thread = threading.Thread(target=call)
        thread.start()
        thread.join()
        assert model(x).grad_fn is not None
        (gradient,) = torch.autograd.grad(model(x).sum(), [model[0].attention_biases])
    assert not failed
    assert gradient.abs().sum() > 0


def test_tracing_a_network_that_kept_its_biases() -> None:
    model, x = levit()
    model, x = model.float(), x.float()
    before = traced_program(TracedForward(model, x, ["2"], embedding=False), x)
    with torch.no_grad():
        model(x)
    after = traced_program(TracedForward(model, x, ["2"], embedding=False), x)
    assert [node.name for node in after.graph.nodes] == [node.name for node in before.graph.nodes]


# --- what all modules share


def test_backward_hooks_of_all_modules_do_not_run() -> None:
    model, x = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3)).eval(), samples(3, 5).float()
    expected, calls = GradientMeter(model)(x), []
    handle = register_module_full_backward_hook(lambda module, inner, outer: calls.append(module))
    try:
        torch.testing.assert_close(GradientMeter(model)(x).values, expected.values)
        assert not calls
        model(x.clone().requires_grad_()).sum().backward()
        assert calls
    finally:
        handle.remove()


def test_parametrizations_cached_by_another_thread_meanwhile() -> None:
    layer = nn.utils.parametrizations.weight_norm(nn.Linear(5, 3))
    cached = parametrize.cached()
    cached.__enter__()
    layer.weight  # noqa: B018 (computes it)
    with measuring(layer):
        cached.__exit__(None, None, None)
    assert parametrize._cache_enabled == 0
    assert not parametrize._cache
