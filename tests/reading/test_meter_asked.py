"""What a meter reads besides one pseudo-label's gradients: others, activations, the embedding, scores."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from gradmeter import GradientMeter, InputError, Readings
from gradmeter.errors import SlowLayerWarning
from gradmeter.reading.inputs import Inputs
from gradmeter.reading.network import NotFinite
from gradmeter.reading.pseudo_labels import PseudoLabel
from gradmeter.reading.statistics import ACTIVATION_METRICS
from oracles import loop
from oracles.moments import Array, assert_agree, eight
from oracles.networks import CASES, Recipe, Residual, classifier, randomise, samples
from reading.architectures import attention, recurrent
from reading.architectures.case import Case

LABELS: list[PseudoLabel] = [
    *("predicted", "uniform", "all-ones", "counterfactual", "expected", 1),
    lambda z: z.exp().sum(1),
]
EVEN_KERNEL = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")


def build_case(case: str, count: int = 4) -> tuple[nn.Module, Tensor]:
    make, shape = CASES[case]
    model = randomise(make().double()).eval()
    return model, samples(count, *shape) / (10 if case.startswith("paper") else 1)


def everything(model: nn.Module, **options: Any) -> GradientMeter:
    return GradientMeter(model, ["predicted", "uniform"], activations=True, embedding=True, probes=["odin"], **options)


def assert_equal(actual: Readings, expected: Readings, atol: float = 1e-12) -> None:
    """All that was read, but for rounding."""
    assert actual.layers == expected.layers
    assert actual.pseudo_labels == expected.pseudo_labels
    assert actual.scores.keys() == expected.scores.keys()
    assert (actual.activations is None, actual.embedding is None) == (
        expected.activations is None,
        expected.embedding is None,
    )
    pairs = [(actual.logits, expected.logits)]
    for name in expected.pseudo_labels:
        actual_part, expected_part = actual.for_pseudo_label(name), expected.for_pseudo_label(name)
        # Moments of nearly constant gradients lose digits.
        assert_agree(actual_part.values, expected_part.values.numpy(), norms=1e3 * atol, shapes=1e5 * atol)
        pairs.append((actual_part.log_scale, expected_part.log_scale))
    if actual.activations is not None and expected.activations is not None:
        assert actual.activations.layers == expected.activations.layers
        assert_activations_agree(actual.activations.values, expected.activations.values.numpy(), 1e3 * atol)
    if actual.embedding is not None and expected.embedding is not None:
        pairs.append((actual.embedding, expected.embedding))
    pairs += [(actual.scores[name], expected.scores[name]) for name in expected.scores]
    for actual_tensor, expected_tensor in pairs:
        torch.testing.assert_close(actual_tensor, expected_tensor, rtol=atol, atol=atol)


# --- several pseudo-labels


@EVEN_KERNEL
@pytest.mark.parametrize("case", CASES)
def test_several_pseudo_labels_are_as_many_meters(case: str) -> None:
    model, x = build_case(case)
    readings = GradientMeter(model, LABELS)(x)
    assert readings.pseudo_labels == ("predicted", "uniform", "all-ones", "counterfactual", "expected", "1", "<lambda>")
    for label, name in zip(LABELS, readings.pseudo_labels, strict=True):
        alone, actual = GradientMeter(model, label)(x), readings.for_pseudo_label(name)
        assert actual.pseudo_label == alone.pseudo_label == name
        assert torch.equal(actual.logits, alone.logits)
        assert torch.equal(actual.log_scale, alone.log_scale)
        assert_agree(actual.values, alone.values.numpy(), norms=1e-12, shapes=1e-10)


@pytest.mark.parametrize("labels", [["uniform", "predicted"], ("uniform", "predicted"), ["uniform"], "uniform"])
def test_the_first_pseudo_label_is_the_readings_own(labels: Any) -> None:
    model, x = build_case("residual")
    readings, alone = GradientMeter(model, labels)(x), GradientMeter(model, "uniform")(x)
    assert readings.pseudo_label == "uniform"
    assert torch.equal(readings["stem", "l2"], alone["stem", "l2"])
    assert torch.equal(readings.log_scale, alone.log_scale)


def test_labels_replace_the_first_pseudo_label_only() -> None:
    model, x = build_case("tokens")
    labels = torch.tensor([2, 0, 1, 0])
    meter = GradientMeter(model, ["uniform", "predicted"])
    plain, given = meter(x), meter(x, labels)
    assert given.pseudo_labels == ("labels", "predicted")
    for sample, label in enumerate(labels.tolist()):
        alone = GradientMeter(model, label)(x[sample : sample + 1])
        assert_agree(given.values[sample], alone.values[0].numpy(), norms=1e-10, shapes=1e-8)
    assert torch.equal(given.for_pseudo_label("predicted").values, plain.for_pseudo_label("predicted").values)
    assert not torch.allclose(given.values, plain.values)


def checkpointed(m: Any, x: Tensor) -> Tensor:
    """Two blocks whose activations are computed anew in the backward pass."""
    for block in (m.first, m.second):
        x = checkpoint(block, x, use_reentrant=False)
    out: Tensor = m.head(x)
    return out


def half_checkpointed(m: Any, x: Tensor) -> Tensor:
    out: Tensor = m.head(m.second(checkpoint(m.first, x, use_reentrant=False)))
    return out


@pytest.mark.parametrize("recipe", [checkpointed, half_checkpointed])
@pytest.mark.parametrize("tile", [None, 2])
def test_networks_that_save_memory_by_checkpoints(recipe: Callable[[Any, Tensor], Tensor], tile: int | None) -> None:
    def block() -> nn.Module:
        return nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 5), nn.Tanh())

    model = randomise(Recipe(recipe, first=block(), second=block(), head=nn.Linear(5, 3)).double())
    x = samples(5, 5)
    meter = everything(model, tile=tile)
    for batch in (x, x.flip(0), x[:1]):
        readings = meter(batch)
        for name in readings.pseudo_labels:
            _, expected = loop.expected_readings(model, batch, derivative_of(name))
            assert_agree(readings.for_pseudo_label(name).values, expected, norms=1e-10, shapes=1e-8)
        assert_activations(readings, model, batch)


def derivative_of(name: str) -> Callable[[Tensor], Tensor]:
    def start(z: Tensor) -> Tensor:
        expected_part = torch.full_like(z, 1 / z.shape[1])
        if name == "predicted":
            expected_part = torch.nn.functional.one_hot(z.argmax(1), z.shape[1]).double()
        return torch.softmax(z, 1) - expected_part

    return start


# --- batches and tiles


@EVEN_KERNEL
@pytest.mark.parametrize("case", ["paper valid", "conv1d after a transposition", "called twice", "residual", "tokens"])
def test_batch_and_tile_do_not_show(case: str) -> None:
    model, x = build_case(case, 7)
    whole = everything(model)(x)
    for tile in (1, 2, 3, 7):
        assert_equal(everything(model, tile=tile)(x), whole)
    meter = everything(model)
    joined = Readings.concatenate([meter(x[:1]), meter(x[1:3]), meter(x[3:])])
    assert_equal(joined, whole)


# --- activations


def outputs_alone(model: nn.Module, inputs: loop.Inputs) -> list[dict[str, Array]]:
    """For each sample, all entries that each layer puts out when the sample goes through the network alone."""
    first = inputs if isinstance(inputs, Tensor) else next(iter(loop._values(inputs)))
    owners = [
        (name, module)
        for name, module in model.named_modules()
        if name and any(True for _ in module.parameters(recurse=False))
    ]
    training = {module: module.training for module in model.modules()}
    rows = []
    for sample in range(len(first)):
        outputs: dict[str, list[Array]] = {}

        def keep(name: str, output: Any, outputs: dict[str, list[Array]]) -> None:
            output = output[0] if isinstance(output, tuple) else output
            if isinstance(output, Tensor) and output.is_floating_point():
                # A copy, because the next layer may overwrite the output.
                outputs.setdefault(name, []).append(output.detach().clone().flatten().numpy())

        handles = [
            module.register_forward_hook(
                lambda module, args, output, name=name, outputs=outputs: keep(name, output, outputs)
            )
            for name, module in owners
        ]
        loop.call(model.eval(), loop.converted(inputs, lambda tensor, at=sample: tensor[at : at + 1].clone()))
        for handle in handles:
            handle.remove()
        rows.append({name: np.concatenate(parts) for name, parts in outputs.items()})
    for module, state in training.items():
        module.training = state
    return rows


def assert_activations_agree(actual: Tensor, expected: Array, rtol: float = 1e-9) -> None:
    assert_agree(actual[..., :8], expected[..., :8], norms=rtol, shapes=100 * rtol)
    np.testing.assert_allclose(actual[..., 8], expected[..., 8], rtol=1e-15)


def assert_activations(readings: Readings, model: nn.Module, inputs: loop.Inputs) -> None:
    """Compare with scipy.stats on what each layer puts out for each sample alone."""
    rows = outputs_alone(model, inputs)
    assert readings.activations is not None
    assert readings.activations.metrics == ACTIVATION_METRICS
    for index, layer in enumerate(readings.activations.layers):
        expected = np.stack([np.append(eight(row[layer][None])[0], (row[layer] > 0).mean()) for row in rows])
        assert_activations_agree(readings.activations.values[:, index], expected)


@EVEN_KERNEL
@pytest.mark.parametrize("case", CASES)
def test_activations_against_outputs_of_each_sample_alone(case: str) -> None:
    model, x = build_case(case)
    readings = GradientMeter(model, activations=True)(x)
    assert readings.activations is not None
    # In the order of their first call; a layer that is never called has no output.
    assert readings.activations.layers == tuple(outputs_alone(model, x)[0])
    assert readings.activations.values.dtype == torch.float64
    assert_activations(readings, model, x)
    # InstanceNorm of PyTorch 2.6 differs in the last digit.
    digits = 1e-14 if case == "instance norm running" else 0.0
    torch.testing.assert_close(readings.values, GradientMeter(model)(x).values, rtol=digits, atol=digits)


@pytest.mark.parametrize(
    "case", [*attention.CASES.values(), *recurrent.CASES.values()], ids=[*attention.CASES, *recurrent.CASES]
)
def test_activations_of_attention_and_recurrent_networks(case: Case) -> None:
    model, inputs = case.build()
    readings = GradientMeter(model, activations=True)(inputs)
    assert_activations(readings, model, inputs)


def windows(m: Any, x: Tensor) -> Tensor:
    """Three windows of each sample side by side: [N * 3, 4]."""
    out: Tensor = m.head(m.mix(x.reshape(-1, 4)).tanh().reshape(len(x), -1))
    return out


def windows_first(m: Any, x: Tensor) -> Tensor:
    """The first windows of all samples, then the second ones: [3 * N, 4]."""
    folded = torch.cat(x.unflatten(1, (3, 4)).unbind(1))
    out: Tensor = m.head(torch.cat(m.mix(folded).tanh().chunk(3), 1))
    return out


def steps_first(m: Any, x: Tensor) -> Tensor:
    """[T, N, 4], as recurrent layers take them by default."""
    out: Tensor = m.head(m.mix(x.unflatten(1, (3, 4)).transpose(0, 1)).tanh().transpose(0, 1).flatten(1))
    return out


@pytest.mark.parametrize("recipe", [windows, windows_first, steps_first])
@pytest.mark.parametrize("first", [1, 2, 5])
def test_folded_and_transposed_samples(recipe: Callable[[Any, Tensor], Tensor], first: int) -> None:
    """Also where a batch of one sample was the first."""
    model = randomise(Recipe(recipe, mix=nn.Linear(4, 4), head=nn.Linear(12, 3)).double())
    x = samples(5, 12)
    meter = GradientMeter(model, activations=True)
    for batch in (x[:first], x, x[:1], x[:3]):
        readings = meter(batch)
        assert readings.activations is not None
        assert readings.activations.layers == ("mix", "head")
        assert_activations(readings, model, batch)


@pytest.mark.parametrize("value", [1.0, torch.nan])
def test_blank_samples_tell_nothing_of_where_others_lie(value: float) -> None:
    """All windows of all of them are the same; what was guessed of them must not last."""
    model = randomise(Recipe(windows_first, mix=nn.Linear(4, 4), head=nn.Linear(12, 3)).double())
    meter, x = GradientMeter(model, activations=True), samples(5, 12)
    for count in (1, 4):
        with suppress(NotFinite):
            meter(torch.full((count, 12), value).double())
    assert_activations(meter(x), model, x)


def time_major(m: Any, x: Tensor) -> Tensor:
    steps = m.mix(x.transpose(0, 1).flatten(0, 1)).tanh().unflatten(0, (x.shape[1], -1))
    return m.head(steps.sum(0))  # type: ignore[no-any-return]


def step_by_step(m: Any, x: Tensor) -> Tensor:
    state = x.new_zeros(len(x), 3)
    for step in x.unbind(1):
        state = m.mix(torch.cat([step, state], 1)).tanh()
    return m.head(state)  # type: ignore[no-any-return]


def samples_first(m: Any, x: Tensor) -> Tensor:
    steps = m.mix(x.flatten(0, 1)).tanh().unflatten(0, (-1, x.shape[1]))
    return m.head(steps.sum(1))  # type: ignore[no-any-return]


@pytest.mark.parametrize(("recipe", "width"), [(time_major, 4), (samples_first, 4), (step_by_step, 7)])
@pytest.mark.parametrize(
    "shapes", [[(4, 1), (4, 5), (4, 2), (4, 1), (4, 5)], [(4, 5), (4, 1), (4, 5)], [(4, 5), (1, 3), (4, 5)]]
)
def test_outputs_of_other_steps_than_in_the_first_batch(
    recipe: Callable[[Any, Tensor], Tensor], width: int, shapes: list[tuple[int, int]]
) -> None:
    """A batch with one step does not show how several steps are folded."""
    model = randomise(Recipe(recipe, mix=nn.Linear(width, 3), head=nn.Linear(3, 3)).double())
    meter = GradientMeter(model, activations=True)
    for count, steps in shapes:
        x = samples(count, steps, 4)
        assert_activations(meter(x), model, x)


def test_blank_samples_of_other_steps_do_not_change_where_others_lie() -> None:
    model = randomise(Recipe(time_major, mix=nn.Linear(4, 3), head=nn.Linear(3, 3)).double())
    meter, x = GradientMeter(model, activations=True), samples(4, 5, 4)
    meter(x)
    meter(torch.ones(2, 3, 4).double())
    assert_activations(meter(x), model, x)


def test_outputs_in_which_samples_change_places_are_left_out() -> None:
    model = Recipe(lambda m, x: m.head(m.body(x).tanh().flip(0)).flip(0), body=nn.Linear(5, 4), head=nn.Linear(4, 3))
    randomise(model.double())
    readings = GradientMeter(model, activations=True)(samples(4, 5))
    assert readings.activations is not None
    assert readings.activations.layers == ("body",)


def test_a_layer_is_named_as_in_the_readings() -> None:
    model, x = build_case("residual")
    readings = GradientMeter(model, activations=True)(x)
    assert readings.activations is not None
    assert isinstance(model, Residual)
    expected = model.stem(x)
    torch.testing.assert_close(
        readings.activations["stem", "mean"], expected.flatten(1).mean(1), rtol=1e-12, atol=1e-14
    )
    share = (expected > 0).double().flatten(1).mean(1)
    torch.testing.assert_close(readings.activations["stem", "positive"], share)
    with pytest.raises(InputError, match=r"'relu'.* stem, norm, conv1, conv2, shortcut, head"):
        readings.activations["relu", "mean"]
    with pytest.raises(InputError, match=r"'median'.* l1, .*, kurtosis, positive"):
        readings.activations["stem", "median"]


# --- the embedding


@EVEN_KERNEL
@pytest.mark.parametrize("case", CASES)
def test_the_embedding_is_what_the_last_layer_is_given(case: str) -> None:
    model, x = build_case(case)
    actual = GradientMeter(model, embedding=True)(x).embedding
    last = [module for module in model.modules() if isinstance(module, nn.Linear)][-1]
    given: list[Tensor] = []
    handle = last.register_forward_pre_hook(lambda module, args: given.append(args[0].detach().clone()))
    model(x)
    handle.remove()
    assert actual is not None
    torch.testing.assert_close(actual, given[-1], rtol=1e-12, atol=1e-12)


def test_the_embedding_of_a_layer_that_is_called_often() -> None:
    dense = nn.Linear(3, 3)
    model = randomise(Recipe(lambda m, x: m.dense(m.dense(x).tanh()), dense=dense).double())
    x = samples(4, 3)
    actual = GradientMeter(model, embedding=True)(x).embedding
    assert actual is not None
    torch.testing.assert_close(actual, dense(x).tanh().detach())


def test_token_ids_are_no_embedding() -> None:
    ids = torch.randint(0, 20, (4, 7), generator=torch.Generator().manual_seed(0))
    for model in (nn.EmbeddingBag(20, 3), nn.Sequential(nn.EmbeddingBag(20, 3))):
        assert GradientMeter(model.eval(), embedding=True, gradients=False)(ids).embedding is None


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_log_probabilities_hide_no_last_layer(dtype: torch.dtype) -> None:
    model = randomise(
        Recipe(
            lambda m, x: torch.log_softmax(m.head(m.body(x).relu()), 1), body=nn.Linear(4, 5), head=nn.Linear(5, 3)
        ).to(dtype)
    )
    x = samples(70, 4).to(dtype)
    assert isinstance(model.body, nn.Linear)
    expected = model.body(x).relu().detach()
    for meter in (GradientMeter(model, embedding=True, tile=9), GradientMeter(model, gradients=False, embedding=True)):
        actual = meter(x).embedding
        assert actual is not None
        torch.testing.assert_close(actual, expected)


@pytest.mark.parametrize(
    "recipe",
    [lambda m, x: m.head(x) / 2, lambda m, x: m.head(x.unsqueeze(1)).squeeze(1), lambda m, x: m.head(x)[:, [0, 1, 2]]],
)
def test_no_embedding_where_something_follows_the_last_layer(recipe: Callable[[Any, Tensor], Tensor]) -> None:
    model = randomise(Recipe(recipe, head=nn.Linear(4, 3)).double())
    assert GradientMeter(model, embedding=True)(samples(4, 4)).embedding is None


# --- scores


def test_probes_are_asked_in_eval_mode_with_gradients_on() -> None:
    model, x = build_case("residual", 5)
    model.train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    seen: list[tuple[int, bool, bool]] = []

    def probe(network: nn.Module, inputs: Inputs, logits: Tensor) -> dict[str, Tensor]:
        seen.append((inputs.samples, network.training, torch.is_grad_enabled()))
        return {"first": inputs.args[0].flatten(1)[:, 0], "largest": logits.amax(1)}

    readings = GradientMeter(model, probes=[probe, "odin"], tile=2)(x)
    assert [samples for samples, _, _ in seen] == [2, 2, 1]
    assert {(training, gradients) for _, training, gradients in seen} == {(False, True)}
    assert [*readings.scores] == ["first", "largest", "odin"]
    torch.testing.assert_close(readings.scores["first"], x.flatten(1)[:, 0])
    torch.testing.assert_close(readings.scores["largest"], readings.logits.amax(1))
    assert model.training


# --- options


def test_nothing_is_read_unasked() -> None:
    model, x = build_case("residual")
    readings = GradientMeter(model)(x)
    assert (readings.activations, readings.embedding) == (None, None)
    assert (readings.further, readings.scores) == ({}, {})
    assert readings.pseudo_labels == GradientMeter(model).pseudo_labels == ("predicted",)


def test_extended() -> None:
    model, x = build_case("residual")
    meter = GradientMeter(model, ["all-ones", "uniform", 2], probes=["odin"], biases=False, tile=3).for_trust_model()
    assert meter.pseudo_labels == ("predicted", "uniform", "all-ones", "2")
    readings = meter(x)
    assert readings.activations is not None
    assert readings.embedding is not None
    assert [*readings.scores] == ["odin", "mirror", "mirror_logit"]
    assert_agree(readings.values, GradientMeter(model, biases=False)(x).values.numpy(), norms=1e-12, shapes=1e-10)


def test_nothing_of_it_holds_the_graph() -> None:
    model, x = build_case("residual")
    readings = everything(model)(x)
    assert readings.activations is not None
    assert readings.embedding is not None
    for tensor in (readings.activations.values, readings.embedding, *readings.scores.values()):
        assert not tensor.requires_grad
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize(
    ("options", "given"),
    [
        ({"pseudo_label": []}, r"pseudo_label=\[\]"),
        ({"pseudo_label": ["uniform", "uniform"]}, r"\['uniform', 'uniform'\]"),
        ({"pseudo_label": [1, "uniform", 1]}, r"\[1, 'uniform', 1\]"),
        ({"pseudo_label": ["predicted", "unifrom"]}, "'unifrom'.*predicted, uniform"),
        ({"pseudo_label": [["uniform"]]}, r"\['uniform'\]"),
        ({"probes": ["odim"]}, "'odim'.*odin, mc_dropout"),
        ({"probes": [3]}, "probe 3.*odin"),
        ({"probes": "odin"}, r"probes='odin'.*\['odin'\]"),
        ({"activations": 1}, "activations=1"),
        ({"embedding": "yes"}, "embedding='yes'"),
    ],
)
def test_bad_options(options: dict[str, Any], given: str) -> None:
    with pytest.raises(InputError, match=given):
        GradientMeter(nn.Linear(2, 2), **options)


def test_a_class_beyond_the_network_among_several() -> None:
    with pytest.raises(InputError, match=r"pseudo_label=3 .*0 to 2"):
        GradientMeter(classifier((5,), nn.Linear(5, 4)).double(), ["predicted", 3])(samples(2, 5))


class _EarlyExit(nn.Module):
    """Returns the logits of the first head, unless they are unsure; only those samples go on."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.body, self.second = nn.Linear(4, 3), nn.Linear(4, 5), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.first(x)
        unsure = x[:, 0] < 0
        if unsure.all():
            return self.second(self.body(x).tanh())  # type: ignore[no-any-return]
        if unsure.any():
            logits = logits.clone()
            logits[unsure] = self.second(self.body(x[unsure]).tanh())
        return logits


@pytest.mark.parametrize("signs", ["+++++-", "-+++++", "+++---", "---+++", "+-+-+-"])
@pytest.mark.parametrize("gradients", [True, False])
def test_no_embedding_if_some_samples_leave_at_another_layer(signs: str, gradients: bool) -> None:
    x = samples(6, 4)
    x[:, 0] = x[:, 0].abs() * torch.tensor([1.0 if sign == "+" else -1.0 for sign in signs])
    model = randomise(_EarlyExit().double())
    assert GradientMeter(model, gradients=gradients, embedding=True, tile=3)(x).embedding is None


@pytest.mark.parametrize("gradients", [True, False])
def test_outputs_that_some_samples_skip_are_left_out(gradients: bool) -> None:
    """Also if the first batch is one sample, or of samples that take the same way."""
    x = samples(6, 4)
    x[:, 0] = x[:, 0].abs() * torch.tensor([-1.0, -1.0, -1.0, 1.0, -1.0, 1.0])
    model = randomise(_EarlyExit().double())
    for first in (1, 3):
        meter = GradientMeter(model, gradients=gradients, activations=True)
        readings = [meter(x[:first]), meter(x), *(meter(row) for row in x.split(1))]
        assert {part.activations.layers for part in readings if part.activations} == {("first",)}
        together, alone = readings[1], Readings.concatenate(readings[2:])
        assert together.activations is not None
        assert alone.activations is not None
        torch.testing.assert_close(alone.activations.values, together.activations.values)


def until_small(m: Any, x: Tensor) -> Tensor:
    """Calls a layer again for the samples whose outputs are large."""
    y = m.body(x).tanh()
    large = x[:, 0] > 0
    return m.head(y.index_put((large,), m.body(y[large]).tanh()) if large.any() else y)  # type: ignore[no-any-return]


def test_layers_that_some_samples_call_again_are_left_out() -> None:
    """As in networks with adaptive depth: which of the calls are a sample's own depends on the batch."""
    x = samples(6, 4)
    x[:, 0] = x[:, 0].abs() * torch.tensor([1.0, -1.0, 1.0, -1.0, -1.0, 1.0])
    x[0, 1] = -1
    model = randomise(Recipe(until_small, body=nn.Linear(4, 4), head=nn.Linear(4, 3)).double())
    for first in (x[:1], x[1:2], x):
        meter = GradientMeter(model, activations=True)
        meter(first)
        readings = meter(x)
        assert readings.activations is not None
        assert readings.activations.layers == ("head",)
        assert_equal(Readings.concatenate([meter(row) for row in x.split(1)]), readings)


@pytest.mark.skipif(torch.__version__ < "2.7", reason="PyTorch cannot index them")
def test_outputs_for_inputs_of_16_bits() -> None:
    """PyTorch cannot compare them."""
    model = randomise(Recipe(lambda m, x: m.head(x.double() / 65535), head=nn.Linear(4, 3)).double())
    readings = GradientMeter(model, activations=True)(torch.tensor([[0, 1, 2, 65535], [5, 6, 7, 8]]).to(torch.uint16))
    assert readings.activations is not None
    assert readings.activations.layers == ("head",)


class _Packed(nn.Module):
    """Calls a layer for the steps of all samples together, without their padding."""

    def __init__(self) -> None:
        super().__init__()
        self.step, self.head = nn.Linear(3, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        steps = torch.arange(x.shape[1]) < lengths[:, None]
        sample = steps.nonzero()[:, 0]
        sums = torch.zeros(len(x), 4, dtype=x.dtype).index_add(0, sample, self.step(x[steps]).tanh())
        return self.head(sums)  # type: ignore[no-any-return]


@pytest.mark.parametrize("gradients", [True, False])
def test_a_layer_whose_rows_do_not_show_their_samples_is_read_for_each_sample_alone(gradients: bool) -> None:
    x, lengths = samples(6, 5, 3), torch.tensor([1, 5, 3, 2, 2, 4])
    model = randomise(_Packed().double())
    meter = GradientMeter(model, gradients=gradients, activations=True)
    alone = Readings.concatenate([meter(pair) for pair in zip(x.split(1), lengths.split(1), strict=True)])
    assert alone.activations is not None
    assert alone.activations.layers == ("step", "head")
    fresh = GradientMeter(model, gradients=gradients, activations=True)
    fresh.read_outputs_of(("step", "head"))
    for same in (meter, fresh):
        with pytest.warns(SlowLayerWarning, match="'step'"):
            together = same((x, lengths))
        assert together.activations is not None
        torch.testing.assert_close(together.activations.values, alone.activations.values)
        torch.testing.assert_close(together.values, alone.values)
