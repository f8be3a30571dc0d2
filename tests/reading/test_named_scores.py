"""Published gradient scores, each computed from readings in one line."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from pytorch_ood.detector import GradNorm, GradUncertainty
from torch import Tensor, nn

from gradmeter import GradientMeter
from oracles.gradients import per_sample
from oracles.networks import randomise, samples

CLASSES = 4
X = samples(5, 2, 6, 6)


def network() -> nn.Module:
    layers = (nn.Conv2d(2, 3, 3), nn.Tanh(), nn.Flatten(), nn.Linear(48, 6), nn.Tanh(), nn.Linear(6, CLASSES))
    return randomise(nn.Sequential(*layers).double()).eval()


MODEL = network()
LAST = "5"
with torch.no_grad():
    LOGITS = MODEL(X)
    EMBEDDING = MODEL[:-1](X)  # type: ignore[index]
P = LOGITS.softmax(1)


def derivative(loss: Callable[[Tensor], Tensor]) -> Tensor:
    """The derivative of losses [N] with respect to the logits."""
    leaf = LOGITS.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(leaf).sum(), leaf)
    return gradient


def gradients(loss: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
    """Per-sample gradients of each parameter, by torch.func."""
    return {name: torch.from_numpy(actual) for name, actual in per_sample(MODEL, X, derivative(loss)).items()}


def from_uniform(logits: Tensor) -> Tensor:
    """KL divergence of the softmax from the uniform distribution, KL(u || p)."""
    uniform = torch.full_like(logits, 1 / CLASSES)
    return F.kl_div(logits.log_softmax(1), uniform, reduction="none").sum(1)


def close(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=1e-11, atol=0)


# --- GradNorm: Huang, Geng and Li 2021


def test_grad_norm() -> None:
    """The L1 norm of the last layer's weight gradient of KL(u || p), which is a product of two factors (Eq. 8)."""
    actual = GradientMeter(MODEL, "uniform", biases=False)(X)[LAST, "l1"]
    close(actual, gradients(from_uniform)[f"{LAST}.weight"].abs().sum((1, 2)))
    close(actual, EMBEDDING.abs().sum(1) * (P - 1 / CLASSES).abs().sum(1))


def test_grad_norm_by_pytorch_ood() -> None:
    """Its scores are negated, since they are high for outliers. The paper's code sums over the classes: a factor C."""
    detector = GradNorm(MODEL, param_filter=lambda name: name == f"{LAST}.weight")
    readings = GradientMeter(MODEL, ["predicted", "uniform"], biases=False)(X)
    close(-readings.for_pseudo_label("uniform")[LAST, "l1"], detector.predict(X))


def test_grad_norm_of_the_whole_network() -> None:
    close(-GradientMeter(MODEL, "uniform")(X)["all", "l1"], GradNorm(MODEL).predict(X))


# --- GradUncertainty: Lee and AlRegib 2020


def test_grad_uncertainty() -> None:
    """Squared L2 norms, layer by layer, of the gradient of the binary cross entropy to a label of all ones."""
    actual = GradientMeter(MODEL, "all-ones")(X)
    expected = gradients(lambda z: F.binary_cross_entropy_with_logits(z, torch.ones_like(z), reduction="none").sum(1))
    squares = {name: gradient.square().flatten(1).sum(1) for name, gradient in expected.items()}
    for layer in ("0", "3", LAST):
        close(actual[layer, "l2"] ** 2, squares[f"{layer}.weight"] + squares[f"{layer}.bias"])
    close(actual["all", "l2"] ** 2, torch.stack([*squares.values()]).sum(0))


@pytest.mark.parametrize("only", [None, LAST])
def test_grad_uncertainty_by_pytorch_ood(only: str | None) -> None:
    """Its loss has the derivative C p - 1 with respect to the logits, C times that of "uniform"."""
    detector = GradUncertainty(MODEL, param_filter=lambda name: only is None or name.startswith(only))
    actual = GradientMeter(MODEL, "uniform")(X)[only or "all", "l2"]
    close(-((CLASSES * actual) ** 2), detector.predict(X))


# --- ExGrad: Igoe, Chung, Char and Schneider 2022


def test_ex_grad() -> None:
    """The expectation under the softmax of the norm of the gradient of log p_c."""
    readings = GradientMeter(MODEL, list(range(CLASSES)))(X)
    actual = sum(readings.logits.softmax(1)[:, c] * readings.for_pseudo_label(c)["all", "l1"] for c in range(CLASSES))
    expected = torch.zeros(len(X), dtype=torch.float64)
    for c in range(CLASSES):
        by_parameter = gradients(lambda z, c=c: -z.log_softmax(1)[:, c])  # type: ignore[misc]
        expected += P[:, c] * torch.stack([one.abs().flatten(1).sum(1) for one in by_parameter.values()]).sum(0)
    assert isinstance(actual, Tensor)
    close(actual, expected)


def test_ex_grad_of_the_last_layer_is_a_product() -> None:
    """The product of the L1 norm of the last layer's input and the expected distance of p from each class."""
    readings = GradientMeter(MODEL, list(range(CLASSES)), embedding=True, biases=False)(X)
    actual = torch.stack([P[:, c] * readings.for_pseudo_label(c)[LAST, "l1"] for c in range(CLASSES)]).sum(0)
    assert readings.embedding is not None
    close(actual, readings.embedding.abs().sum(1) * 2 * (P * (1 - P)).sum(1))


# --- GradTrust: Prabhushankar and AlRegib 2024


def test_grad_trust_as_published_is_a_function_of_the_logits() -> None:
    """Its code takes the mean squared error of the logits to 1 / C, squares the last layer's weight gradient, takes
    the variance of each class's row, and divides the largest by the mean: what the layer is given cancels.
    """
    squares = gradients(lambda z: ((z - 1 / CLASSES) ** 2).mean(1))[f"{LAST}.weight"] ** 2
    rows = squares.var(2)
    fourth = (GradientMeter(MODEL)(X).logits - 1 / CLASSES) ** 4
    close(rows.amax(1) / rows.mean(1), fourth.amax(1) / fourth.mean(1))
