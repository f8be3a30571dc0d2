"""A second look at the mirror image of doubtful images."""

from math import inf

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gradmeter import GradientMeter
from gradmeter.reading.inputs import Inputs
from gradmeter.reading.probes import Mirror, wrong_log_odds


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 6 * 6, 5)).double().eval()


def images(count: int = 12) -> Tensor:
    return torch.randn(count, 2, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def by_two_views(network: nn.Module, batch: Tensor) -> tuple[Tensor, Tensor]:
    """Return log odds of being wrong by one view and by two, from the probabilities."""
    with torch.no_grad():
        logits, mirrored = network(batch), network(torch.flip(batch, (3,)))
    classes = logits.argmax(1, keepdim=True)
    p, both = (values.softmax(1).gather(1, classes)[:, 0] for values in (logits, (logits + mirrored) / 2))
    return torch.log((1 - p) / p), torch.log((1 - both) / both)


def test_all_images_are_looked_at_twice(network: nn.Module) -> None:
    readings = GradientMeter(network, gradients=False, probes=["mirror"])(images())
    torch.testing.assert_close(readings.scores["mirror"], by_two_views(network, images())[1])


def test_only_doubtful_images_are_looked_at_twice(network: nn.Module) -> None:
    one, two = by_two_views(network, images())
    above = float(one.median())
    calls = []
    network.register_forward_hook(lambda module, args, output: calls.append(len(output)))
    scores = Mirror(above)(network, Inputs.of(images()), network(images()))
    torch.testing.assert_close(scores["mirror"], torch.where(one > above, two, one))
    with torch.no_grad():
        own, both = network(images()), (network(images()) + network(images().flip(3))) / 2
    torch.testing.assert_close(scores["mirror_logit"], torch.where(one > above, both.amax(1), own.amax(1)))
    assert calls[:2] == [12, int((one > above).sum())]


def test_never(network: nn.Module) -> None:
    meter = GradientMeter(network).for_trust_model(gradients=False, second_look=inf)
    torch.testing.assert_close(meter(images()).scores["mirror"], by_two_views(network, images())[0])
    assert meter.second_look == inf
    assert GradientMeter(network).second_look is None


def test_other_inputs_have_no_mirror_image() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(6, 4)).double().eval()
    vectors = torch.randn(5, 6, dtype=torch.float64)
    score = GradientMeter(network, probes=[Mirror()])(vectors).scores["mirror"]
    logits = network(vectors).detach()
    torch.testing.assert_close(score, wrong_log_odds(logits, logits.argmax(1)))


def test_a_mirror_image_without_finite_logits_does_not_count() -> None:
    class Fragile(nn.Module):
        """Gives NaN for images that are brighter on the left."""

        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(3))

        def forward(self, batch: Tensor) -> Tensor:
            left, right = batch[..., :4].mean((1, 2, 3)), batch[..., 4:].mean((1, 2, 3))
            logits = torch.stack([left, right, left * 0], 1) * self.weight
            return torch.where((left > right)[:, None], torch.nan, logits)

    batch = torch.zeros(2, 1, 4, 8)
    batch[..., 4:] = 1
    readings = GradientMeter(Fragile(), gradients=False, probes=["mirror"])(batch)
    logits = readings.logits.double()
    np.testing.assert_allclose(readings.scores["mirror"], wrong_log_odds(logits, logits.argmax(1)))


def test_no_graph_is_built_for_it(network: nn.Module) -> None:
    with_gradients = []
    network.register_forward_hook(lambda *args: with_gradients.append(torch.is_grad_enabled()))
    GradientMeter(network, gradients=False, probes=["mirror"])(images())
    assert not any(with_gradients)
