import functools
from collections.abc import Callable, Iterator

import mpmath
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gradmeter import GradientMeter, InputError, Readings
from gradmeter.reading.pseudo_labels import (
    PSEUDO_LABELS,
    PseudoLabel,
    StartVector,
    normalised,
    pseudo_label_name,
    register_pseudo_label,
    start_vector,
)
from oracles import loop
from oracles.gradients import exact_log_scale, predicted_error
from oracles.moments import assert_agree
from oracles.networks import randomise, samples

Loss = Callable[[Tensor], Tensor]


def logits(seed: int = 0, scale: float = 2.0) -> Tensor:
    return scale * torch.randn(6, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def derivative(start: StartVector) -> Tensor:
    return start.direction * start.log_scale.exp().unsqueeze(1)


def by_autograd(loss: Loss, z: Tensor) -> Tensor:
    leaf = z.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(leaf).sum(), leaf)
    return gradient


def cross_entropy(label: int) -> Loss:
    return lambda z: F.cross_entropy(z, torch.full((len(z),), label), reduction="none")


def to_uniform(z: Tensor) -> Tensor:
    return -torch.log_softmax(z, 1).mean(1)


def to_ones(z: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(z, torch.ones_like(z), reduction="none").sum(1)


def to_others(z: Tensor) -> Tensor:
    """Mean of -log p over all five classes but the predicted one."""
    losses = -torch.log_softmax(z, 1)
    return (losses.sum(1) - losses.amin(1)) / 4


def entropy(z: Tensor) -> Tensor:
    return torch.distributions.Categorical(logits=z).entropy()


def squared(z: Tensor) -> Tensor:
    return (z**2).sum(1)


CASES: list[tuple[PseudoLabel, Loss]] = [
    ("predicted", lambda z: F.cross_entropy(z, z.argmax(1), reduction="none")),
    ("uniform", to_uniform),
    ("all-ones", to_ones),
    ("counterfactual", to_others),
    ("expected", entropy),
    (0, cross_entropy(0)),
    (4, cross_entropy(4)),
    (squared, squared),
    (lambda z: 7 * z.logsumexp(1), lambda z: 7 * z.logsumexp(1)),
]


@pytest.mark.parametrize(("label", "loss"), CASES, ids=lambda case: case if isinstance(case, str | int) else "loss")
def test_against_autograd(label: PseudoLabel, loss: Loss) -> None:
    start = start_vector(label)(logits())
    assert start.log_scale.shape == (6,)
    torch.testing.assert_close(derivative(start), by_autograd(loss, logits()), rtol=1e-12, atol=1e-15)
    # the direction is propagated through a float32 network, so its size must be about one
    assert ((start.direction.abs().amax(1) > 0.3) & (start.direction.abs().amax(1) <= 1)).all()


@pytest.mark.parametrize("gap", [0.5, 17.0, 40.0, 70.0, 460.0, 690.0, 5000.0])
def test_confident_samples(gap: float) -> None:
    z = logits()
    z[:, 2] = z.amax(1) + gap
    start = start_vector("predicted")(z)
    np.testing.assert_allclose(start.log_scale, exact_log_scale(z), rtol=1e-14, atol=1e-15)
    assert (start.direction[:, 2] == -1).all()
    if gap < 700:  # 1 - p is a float64
        torch.testing.assert_close(derivative(start), predicted_error(z), rtol=1e-11, atol=0)


def test_a_given_class_far_from_the_predicted_one() -> None:
    z = torch.tensor([[300.0, 0.0, -1.0]], dtype=torch.float64)
    torch.testing.assert_close(derivative(start_vector(1)(z)), torch.tensor([[1.0, -1.0, 0.0]]).double())


def test_two_classes() -> None:
    z = torch.tensor([[90.0, 0.0]], dtype=torch.float64)
    start = start_vector("predicted")(z)
    assert start.direction.tolist() == [[-1.0, 1.0]]
    with mpmath.workdps(60):
        expected = float(-mpmath.log1p(mpmath.exp(90)))
    assert start.log_scale.item() == pytest.approx(expected, rel=1e-15)


def test_ties_take_the_first_class() -> None:
    start = start_vector("predicted")(torch.zeros(1, 4, dtype=torch.float64))
    torch.testing.assert_close(derivative(start), torch.tensor([[-3.0, 1.0, 1.0, 1.0]]).double() / 4)


def test_a_loss_at_its_minimum_has_no_gradient() -> None:
    start = start_vector("uniform")(torch.zeros(2, 4, dtype=torch.float64))
    assert (derivative(start) == 0).all()
    assert (start.log_scale == -torch.inf).all()


def test_all_ones_far_out() -> None:
    z = torch.tensor([[600.0, 650.0]], dtype=torch.float64)
    start = start_vector("all-ones")(z)
    assert start.log_scale.item() == pytest.approx(-600)
    torch.testing.assert_close(start.direction, torch.tensor([[-1.0, -np.exp(-50.0)]], dtype=torch.float64))


@pytest.mark.parametrize(("classes", "others"), [(2, 1), (3, 2), (6, 5), (7, 5), (40, 5)])
def test_counterfactuals_are_the_likeliest_five_but_the_predicted_one(classes: int, others: int) -> None:
    z = torch.randn(6, classes, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    expected = torch.softmax(z, 1)
    for row, order in zip(expected, z.argsort(1, descending=True), strict=True):
        row[order[1 : 1 + others]] -= 1 / others
    torch.testing.assert_close(derivative(start_vector("counterfactual")(z)), expected, rtol=1e-12, atol=1e-15)


def test_a_tie_is_no_counterfactual_of_itself() -> None:
    p = 1 / 8
    (actual,) = derivative(start_vector("counterfactual")(torch.zeros(1, 8, dtype=torch.float64)))
    assert actual[0].item() == pytest.approx(p)
    assert sorted(actual.tolist()) == pytest.approx([p - 1 / 5] * 5 + [p] * 3)


@pytest.mark.parametrize("gap", [40.0, 600.0, 5000.0])
def test_expected_of_a_confident_sample(gap: float) -> None:
    """Two classes with odds e^gap: the derivative is q (1 - q) gap, q the smaller share; then nothing."""
    start = start_vector("expected")(torch.tensor([[gap, 0.0]], dtype=torch.float64))
    if gap > 700:
        assert start.log_scale.item() == -torch.inf
        assert (start.direction == 0).all()
    else:
        assert start.log_scale.item() == pytest.approx(np.log(gap) - gap, rel=1e-12)
        assert start.direction[0].tolist() == pytest.approx([-1, 1])


def test_a_loss_that_takes_a_gradient_itself() -> None:
    """Such as one with a penalty on the gradient."""

    def penalised(z: Tensor) -> Tensor:
        (gradient,) = torch.autograd.grad((z**3).sum(), z, create_graph=True)
        return squared(z) + gradient.sum(1)

    torch.testing.assert_close(derivative(start_vector(penalised)(logits())), 2 * logits() + 6 * logits())


def test_losses_work_without_grad_mode_and_leave_the_logits_alone() -> None:
    z = logits()
    with torch.no_grad():
        start = start_vector(squared)(z)
    torch.testing.assert_close(derivative(start), 2 * logits())
    assert not z.requires_grad
    assert z.grad is None


def second(z: Tensor) -> Tensor:
    """-log p of the second most likely class."""
    return F.cross_entropy(z, z.topk(2, dim=1).indices[:, 1], reduction="none")


@pytest.fixture
def runner_up() -> Iterator[str]:
    """The name of a pseudo-label that is registered outside the package."""

    @register_pseudo_label("runner-up")
    def start(z: Tensor) -> StartVector:
        label = z.topk(2, dim=1).indices[:, 1]
        return normalised(torch.softmax(z, dim=1) - F.one_hot(label, z.shape[1]))

    yield "runner-up"
    PSEUDO_LABELS.pop("runner-up", None)


def test_a_registered_pseudo_label_is_measured(runner_up: str, device: torch.device) -> None:
    model = randomise(nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)).double())
    x = samples(5, 4)
    layers, expected = loop.expected_readings(model, x, lambda z: by_autograd(second, z))
    readings = GradientMeter(model.to(device), ["predicted", runner_up])(x.to(device))
    assert readings.pseudo_labels == ("predicted", runner_up)
    for part in (readings, Readings.from_arrow(readings.to_arrow())):
        assert part.layers == layers
        assert_agree(part.for_pseudo_label(runner_up).values.cpu(), expected, norms=1e-11, shapes=1e-9)
    del PSEUDO_LABELS[runner_up]
    with pytest.raises(InputError, match=runner_up):
        GradientMeter(model, runner_up)


@pytest.mark.parametrize("name", ["predicted", "", "a/b", "a:b", "3", "labels", "score", "activation"])
def test_invalid_names_of_pseudo_labels(name: str) -> None:
    registered = dict(PSEUDO_LABELS)
    with pytest.raises(InputError, match=repr(name)):
        register_pseudo_label(name)
    assert registered == PSEUDO_LABELS


@pytest.mark.parametrize("label", ["predictd", "", -1, True, 1.5, None, ["predicted"]])
def test_unknown_pseudo_label(label: PseudoLabel) -> None:
    names = "predicted, uniform, all-ones, counterfactual, expected"
    with pytest.raises(InputError, match=names) as raised:
        start_vector(label)
    assert repr(label) in str(raised.value)


def test_class_beyond_the_network() -> None:
    with pytest.raises(InputError, match=r"pseudo_label=5 .*0 to 4"):
        start_vector(5)(logits())


@pytest.mark.parametrize(
    ("loss", "given"),
    [
        (lambda z: squared(z).sum(), r"\(\).*\(6,\)"),
        (lambda z: z, r"\(6, 5\)"),
        (lambda z: 1.0, "float"),
        (lambda z: torch.zeros(len(z)), "differentiably"),
        (lambda z: squared(z.detach()), "differentiably"),
        (lambda z: squared(z * torch.inf), "^the loss or its derivative is not finite"),
        (lambda z: squared(z) + torch.nan, "^the loss or its derivative is not finite"),
        (lambda z: squared(z - z.detach()).sqrt(), "finite"),
        (lambda z: squared(z) / len(z), "batch of 6"),
        (lambda z: squared(z - z.mean(0)), "batch of 6"),
    ],
)
def test_bad_losses(loss: Loss, given: str) -> None:
    with pytest.raises(InputError, match=given):
        start_vector(loss)(logits())


def test_names() -> None:
    assert set(PSEUDO_LABELS) == {"predicted", "uniform", "all-ones", "counterfactual", "expected"}
    assert [pseudo_label_name(label) for label in ("uniform", 3, squared, max)] == ["uniform", "3", "squared", "max"]
    assert pseudo_label_name(functools.partial(squared)) == "loss"
