from typing import Any

import pytest
import torch
from pytorch_ood.detector import ODIN
from torch import Tensor, nn

from gradmeter import GradientMeter
from gradmeter.reading.inputs import Inputs
from gradmeter.reading.probes import PROBES, odin
from oracles.networks import Recipe, randomise, samples

IMAGES = samples(6, 2, 7, 7)


def network() -> nn.Module:
    layers = (nn.Conv2d(2, 4, 3), nn.Tanh(), nn.Conv2d(4, 3, 3), nn.GELU(), nn.Flatten(), nn.Linear(27, 5))
    return randomise(nn.Sequential(*layers).double()).eval()


def scores(model: nn.Module, inputs: Any, probe: Any = "odin", **options: Any) -> Tensor:
    return GradientMeter(model, probes=[probe], **options)(inputs).scores["odin"]


@pytest.mark.parametrize(("temperature", "epsilon"), [(1000.0, 0.0014), (1.0, 0.0), (10.0, 0.05), (1.0, 0.3)])
def test_against_pytorch_ood(temperature: float, epsilon: float) -> None:
    """Its scores are negated, since they are high for outliers."""
    model = network()
    expected = -ODIN(model, eps=epsilon, temperature=temperature).predict(IMAGES)
    actual = scores(model, IMAGES, odin(temperature, epsilon))
    assert actual.dtype == torch.float64
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=0)


def test_the_settings_of_the_paper_go_by_name() -> None:
    model = network()
    assert torch.equal(scores(model, IMAGES), scores(model, IMAGES, odin(1000.0, 0.0014)))
    assert PROBES["odin"] is GradientMeter(model, probes=["odin"])._probes[0]


def test_the_push_helps_the_answer() -> None:
    model = network()
    plain, pushed = (scores(model, IMAGES, odin(1.0, epsilon)) for epsilon in (0.0, 0.01))
    assert (pushed > plain).all()
    torch.testing.assert_close(plain, model(IMAGES).softmax(1).amax(1).detach())


@pytest.mark.parametrize("tile", [1, 4])
def test_a_sample_is_pushed_alone(tile: int) -> None:
    model = network()
    torch.testing.assert_close(scores(model, IMAGES, tile=tile), scores(model, IMAGES), rtol=1e-12, atol=0)


def test_float32_is_float64_but_for_rounding() -> None:
    actual = scores(network().float(), IMAGES.float())
    assert actual.dtype == torch.float64
    torch.testing.assert_close(actual, scores(network(), IMAGES), rtol=1e-6, atol=0)


def test_all_that_is_a_number_with_a_fraction_is_pushed() -> None:
    """By name or in a tuple; inputs that do not affect the logits are not perturbed."""

    class Sum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network()

        def forward(self, a: Tensor, b: Tensor, mask: Tensor, unused: Tensor) -> Tensor:
            out: Tensor = self.network((a + b) * mask[:, None, None, None])
            return out

    model, mask = Sum().double(), torch.tensor([1, 1, 1, 1, 1, 0])
    actual = scores(model, (IMAGES - 1, torch.ones_like(IMAGES), mask, IMAGES), odin(1.0, 0.05))
    expected = scores(model.network, IMAGES, odin(1.0, 0.1))
    torch.testing.assert_close(actual[:5], expected[:5], rtol=1e-9, atol=0)
    named = {"a": IMAGES - 1, "b": torch.ones_like(IMAGES), "mask": mask, "unused": IMAGES}
    assert torch.equal(scores(model, named, odin(1.0, 0.05)), actual)


def test_tokens_cannot_be_pushed() -> None:
    model = randomise(
        Recipe(lambda m, x: m.head(m.table(x).mean(1)), table=nn.Embedding(9, 4), head=nn.Linear(4, 3)).double()
    )
    tokens = torch.randint(9, (5, 6), generator=torch.Generator().manual_seed(0))
    actual = scores(model, tokens, odin(10.0))
    torch.testing.assert_close(actual, (model(tokens) / 10).softmax(1).amax(1).detach(), rtol=1e-12, atol=0)


def test_a_network_that_writes_into_its_input() -> None:
    model = nn.Sequential(nn.ReLU(inplace=True), network())
    torch.testing.assert_close(
        scores(model, IMAGES.clone(), odin(1.0)), scores(network(), IMAGES.relu(), odin(1.0)), rtol=1e-2, atol=0
    )


def test_it_leaves_nothing_behind() -> None:
    model, images = network(), IMAGES.clone()
    before = [parameter.clone() for parameter in model.parameters()]
    with torch.enable_grad():
        actual = odin()(model, Inputs.of(images), model(images))
    assert not actual["odin"].requires_grad
    assert images.grad is None
    assert not images.requires_grad
    assert torch.equal(images, IMAGES)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(*pair) for pair in zip(before, model.parameters(), strict=True))
