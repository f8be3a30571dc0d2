import copy
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from gradient_metrics import GradientMetricCollector
from gradient_metrics.metrics import Max, MeanStd, Min, PNorm
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from gradmeter import GradientMeter, InputError, Readings, UnsupportedModelError
from gradmeter.capture import capturing
from gradmeter.pseudo_labels import PseudoLabel, start_vector
from gradmeter.statistics import SCALED_METRICS
from gradmeter.study.network import PaperCNN
from oracles.gradients import exact_log_scale, expected_readings, logits_of, per_sample, predicted_error
from oracles.moments import assert_agree, eight
from oracles.networks import CASES, Residual, Tied, classifier, frozen, randomise, samples

EXACT = {"norms": 1e-10, "shapes": 1e-8}


def made(case: str, dtype: torch.dtype = torch.float64) -> tuple[nn.Module, Tensor]:
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
def test_against_materialised_gradients(case: str) -> None:
    model, x = made(case)
    layers, expected = expected_readings(model, x)
    readings = GradientMeter(model)(x)
    assert readings.layers == layers == GradientMeter(model).layers
    assert readings.values.dtype == torch.float64
    assert_agree(readings.values, expected, **EXACT)
    torch.testing.assert_close(readings.logits, logits_of(model, x))
    np.testing.assert_allclose(readings.log_scale, exact_log_scale(readings.logits), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("padding", ["valid", "same"])
def test_paper_cnn_in_float32_from_its_own_activations(padding: str) -> None:
    """The meter's own accuracy: the reference starts from the very float32 activations and output gradients."""
    model, images = paper_cnn(torch.float32, padding)
    readings = GradientMeter(model)(images)
    with capturing({name: model.get_submodule(name) for name in readings.layers[:-1]}) as capture:
        logits = model(images.contiguous(memory_format=torch.channels_last))
        start = start_vector("predicted")(logits.detach().double())
        capture.backward(logits, start.direction.float())
    layers = []
    for call in capture.calls:
        assert call.delta is not None
        parts = per_sample(call.module, call.activation, call.delta).values()
        layers.append(np.concatenate([part.reshape(len(images), -1) for part in parts], axis=1))
    scale = start.log_scale.exp().numpy()[:, None]
    expected = np.stack([eight(scale * layer) for layer in (*layers, np.concatenate(layers, axis=1))], axis=1)
    assert_agree(readings.values, expected, norms=1e-6, shapes=1e-5)


# Against a float64 network: what a float32 network rounds in its own passes comes on top.
@pytest.mark.parametrize("padding", ["valid", "same"])
def test_paper_cnn_in_float32(padding: str) -> None:
    model, images = paper_cnn(torch.float32, padding)
    _, expected = expected_readings(model, images)
    assert_agree(GradientMeter(model)(images).values, expected, norms=3e-6, shapes=2e-5)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
def test_float32_networks(case: str) -> None:
    model, x = made(case, torch.float32)
    if case.startswith("paper"):
        x = x / 10  # unit weights make logits in the hundreds of wide inputs
    readings = GradientMeter(model)(x)
    # the start is that of the float32 logits, whose rounding is the network's and not the meter's
    start = predicted_error(readings.logits)
    _, expected = expected_readings(model, x, lambda _: start)
    assert_agree(readings.values, expected, norms=2e-5, shapes=2e-4)


def test_weights_only() -> None:
    model, x = made("residual")
    layers, expected = expected_readings(model, x, biases=False)
    readings = GradientMeter(model, biases=False)(x)
    assert readings.layers == layers
    assert_agree(readings.values, expected, **EXACT)


def test_input_that_requires_grad() -> None:
    model, x = made("residual")
    tracked = x.clone().requires_grad_()
    assert_equal(GradientMeter(model)(tracked), GradientMeter(model)(x), rtol=1e-12)
    assert tracked.grad is None
    assert tracked.requires_grad


def test_input_made_by_the_network_itself() -> None:
    model, x = made("linear")
    assert isinstance(model, nn.Sequential)
    used = model[0].weight.sum()
    assert_equal(GradientMeter(model)(x * used), GradientMeter(model)(x * used.detach()), rtol=1e-12)


def test_hooks_of_the_user_stay_and_work() -> None:
    model, x = made("linear")
    assert isinstance(model, nn.Sequential)
    calls: list[int] = []
    model[0].register_forward_pre_hook(lambda module, args: (args[0] * 2,))
    model[0].register_forward_hook(lambda module, args, output: calls.append(1) or output * 3)
    _, expected = expected_readings(model, x)
    calls.clear()
    assert_agree(GradientMeter(model)(x).values, expected, **EXACT)
    assert calls == [1]
    assert len(model[0]._forward_hooks) == len(model[0]._forward_pre_hooks) == 1


# --- confident samples


def confident(gap: float, dtype: torch.dtype) -> tuple[nn.Module, Tensor]:
    """A network whose surest sample has a logit gap of `gap`, and others with less."""
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
    model, images = made("linear")
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
    model, images = paper_cnn()
    readings = GradientMeter(model)(images)
    for layer in readings.layers:
        target = model if layer == "all" else model.get_submodule(layer)
        count = sum(parameter.numel() for parameter in target.parameters())
        metrics = [PNorm(target, p=1), PNorm(target, p=2), Min(target), Max(target), MeanStd(target)]
        logits = model(images)
        peer = GradientMetricCollector(metrics)(F.cross_entropy(logits, logits.argmax(1), reduction="none"))
        expected = peer.double()
        expected[:, 5] *= math.sqrt((count - 1) / count)  # it divides by n - 1
        for index, metric in enumerate(SCALED_METRICS):
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

    model, x = made("tokens")
    _, expected = expected_readings(model, x, start)
    assert_agree(GradientMeter(model, pseudo_label=label)(x).values, expected, **EXACT)


# --- invariants


@given(st.integers(1, 40), st.integers(1, 41), st.sampled_from(["residual", "tokens", "called twice"]))
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

    model, x = made("tokens", torch.float32)
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
    model, x = made(case, torch.float32)
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
    model, x = made("residual")
    expected = GradientMeter(model)(x)
    with mode():
        assert_equal(GradientMeter(model)(x.clone()), expected, rtol=1e-12)


# --- the network comes back as it was


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


def test_readings_do_not_hold_the_graph() -> None:
    model, x = made("residual")
    readings = GradientMeter(model)(x)
    assert not any(t.requires_grad for t in (readings.logits, readings.values, readings.log_scale))


# --- cost


class Largest(TorchDispatchMode):
    """The most entries that any operation made at once, views aside."""

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
    GradientMeter(model, tile=3)(torch.rand(8, 1, 28, 28))
    assert seen == [3, 3, 2]
    seen.clear()
    GradientMeter(model)(torch.rand(120, 1, 28, 28))
    assert sum(seen) == 120
    assert 1 < max(seen) < 120


# --- bad input


def small() -> nn.Module:
    return nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3))


INPUTS = torch.ones(4, 5)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (INPUTS[:0], "the batch holds zero samples; expected at least one"),
        ((INPUTS, INPUTS[:2]), r"inputs hold \(4, 5\), \(2, 5\); expected tensors .* same N for all"),
        (torch.tensor(1.0), r"inputs hold \(\); expected tensors of shape \(N, \.\.\.\)"),
        ((), "inputs hold no tensor"),
        ({"input": 3}, "inputs hold no tensor"),
        ([INPUTS], "inputs are a list; expected a tensor, a tuple or a dict of tensors"),
        (INPUTS.numpy(), "inputs are a ndarray"),
    ],
)
def test_bad_inputs(inputs: Any, message: str) -> None:
    with pytest.raises(InputError, match=message) as raised:
        GradientMeter(small())(inputs)
    assert "\n" not in str(raised.value)


def test_not_finite_logits_name_the_samples() -> None:
    x = samples(4, 5).float()
    x[2, 1] = torch.nan
    with pytest.raises(InputError, match=r"not finite for 1 of 4 samples \(index 2\)"):
        GradientMeter(small())(x)


class Returning(nn.Module):
    def __init__(self, answer: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.dense, self.answer = nn.Linear(5, 3), answer

    def forward(self, x: Tensor) -> Any:
        return self.answer(self.dense(x))


@pytest.mark.parametrize(
    ("answer", "given"),
    [
        (lambda z: z[:, :1], r"\(4, 1\)"),
        (lambda z: z[:, 0], r"\(4,\)"),
        (lambda z: z.unsqueeze(1), r"\(4, 1, 3\)"),
        (lambda z: z[:2], r"\(2, 3\)"),
        (lambda z: (z, z), "tuple"),
        (lambda z: {"logits": z}, "dict"),
    ],
)
def test_not_logits(answer: Callable[[Tensor], Any], given: str) -> None:
    with pytest.raises(InputError, match=rf"returned {given}; expected logits of shape \(4, classes >= 2\)"):
        GradientMeter(Returning(answer))(INPUTS)


def test_batch_norm_in_train_mode_is_a_value_error() -> None:
    model = Residual().train()
    with pytest.raises(ValueError, match=r"layer 'norm' \(BatchNorm2d\) is in train mode"):
        GradientMeter(model)(samples(2, 2, 5, 5).float())
    assert model.training


@pytest.mark.parametrize("affine", [True, False])
def test_batch_norm_without_running_statistics(affine: bool) -> None:
    model = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4, affine=affine, track_running_stats=False)).eval()
    with pytest.raises(UnsupportedModelError, match=r"layer '1' .* no running statistics"):
        GradientMeter(model)(INPUTS)


class Owner(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.token, self.dense = nn.Parameter(torch.zeros(5)), nn.Linear(5, 3)


class Doubled(nn.Linear):
    def forward(self, input: Tensor) -> Tensor:
        return 2 * super().forward(input)


def both_shared() -> nn.Module:
    first, second = nn.Linear(5, 5), nn.Linear(5, 5)
    second.weight, second.bias = first.weight, first.bias
    return nn.Sequential(first, second)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.Sequential(nn.LSTM(5, 3)), r"layer '0' \(LSTM\) owns weight_ih_l0, .* cannot be measured"),
        (lambda: nn.MultiheadAttention(4, 2), r"layer 'root' \(MultiheadAttention\) owns in_proj_weight"),
        (Owner, r"layer 'root' \(Owner\) owns token"),
        (lambda: Doubled(5, 3), r"layer 'root' \(Doubled\) owns weight, bias"),
        (lambda: nn.utils.parametrizations.weight_norm(nn.Linear(5, 3)), r"\(ParametrizationList\) owns original0"),
        (
            lambda: nn.utils.spectral_norm(nn.Linear(5, 3)),
            r"layer 'root' \(Linear\) owns weight_orig; expected no parameters beside weight and bias",
        ),
        (both_shared, "layer '1' shares all the parameters to measure with an earlier layer"),
        (nn.Flatten, "the network has no parameters"),
    ],
)
@pytest.mark.filterwarnings("ignore:`torch.nn.utils:FutureWarning")
def test_unsupported_networks(make: Callable[[], nn.Module], message: str) -> None:
    with pytest.raises(UnsupportedModelError, match=message) as raised:
        GradientMeter(make())
    assert isinstance(raised.value, TypeError)
    assert "\n" not in str(raised.value)


def test_tied_weights_without_biases() -> None:
    with pytest.raises(UnsupportedModelError, match="layer 'second' shares all the parameters to measure"):
        GradientMeter(Tied(), biases=False)


class Functional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.dense.weight, self.dense.bias)


@pytest.mark.parametrize("first_frozen", [0, None])
def test_weight_used_without_its_layer(first_frozen: int | None) -> None:
    with pytest.raises(UnsupportedModelError, match=r"parameter 'dense\.weight' is used without calling the layer"):
        GradientMeter(frozen(Functional(), first_frozen))(INPUTS)


class Overwriting(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(5, 3), nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x) * 2
        out: Tensor = self.second(h)
        h.zero_()
        return out


def test_input_overwritten_in_place() -> None:
    with pytest.raises(UnsupportedModelError, match="overwrites the input of layer 'second' in place"):
        GradientMeter(Overwriting())(INPUTS)


class Patches(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patch, self.head = nn.Linear(1, 2), nn.Linear(10, 3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.patch(x.reshape(-1, 1)).reshape(len(x), -1))
        return out


def test_layer_called_on_other_rows_than_the_batch() -> None:
    with pytest.raises(UnsupportedModelError, match="layer 'patch' is called on 20 rows for 4 samples"):
        GradientMeter(Patches())(INPUTS)


@pytest.mark.parametrize("model", [nn.Linear, None, lambda x: x])
def test_not_a_module(model: Any) -> None:
    with pytest.raises(InputError, match=rf"model is a {type(model).__name__}; expected a torch\.nn\.Module"):
        GradientMeter(model)


@pytest.mark.parametrize("tile", [0, -1, 2.5, "8", True])
def test_bad_tile(tile: Any) -> None:
    with pytest.raises(InputError, match=f"tile={tile!r}; expected a whole number of samples, at least 1"):
        GradientMeter(small(), tile=tile)


def test_bad_pseudo_label() -> None:
    with pytest.raises(InputError, match="pseudo_label='predictd'; expected one of predicted"):
        GradientMeter(small(), pseudo_label="predictd")
    with pytest.raises(InputError, match="pseudo_label=3, but the network has classes 0 to 2"):
        GradientMeter(small(), pseudo_label=3)(INPUTS)


def test_wrong_names_in_readings() -> None:
    readings = GradientMeter(small())(INPUTS)
    with pytest.raises(InputError, match="no layer 'conv1'; the network has 0, 2, all"):
        readings["conv1", "l2"]
    with pytest.raises(InputError, match="no metric 'norm'"):
        readings["0", "norm"]
