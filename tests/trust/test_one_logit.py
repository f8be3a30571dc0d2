"""A network of two classes with one output, whose sign alone says which class is predicted."""

import pytest
import torch
from torch import Tensor, nn

from gradmeter import GradientMeter, TrustModel
from trust.trained import digits


class OneLogit(nn.Module):
    """Logits 0 and z."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(72, 24))
        self.head = nn.Linear(24, 1)

    def forward(self, images: Tensor) -> Tensor:
        return nn.functional.pad(self.head(self.body(images).relu()), (1, 0))


@pytest.mark.parametrize("reads", ["forward", "gradients"])
def test_known_inputs_of_a_network_with_one_logit_are_known(reads: str) -> None:
    """Most were not: the class decides whether the output is positive, and of the last gradients, which are 0."""
    torch.manual_seed(0)
    images, labels = digits()[0], (digits()[1] >= 5).long()
    network = OneLogit()
    optimiser = torch.optim.Adam(network.parameters(), 0.01)
    for _ in range(60):
        optimiser.zero_grad()
        nn.functional.cross_entropy(network(images[:300]), labels[:300]).backward()
        optimiser.step()
    network.eval()
    trust = TrustModel(GradientMeter(network), reads=reads).fit((images[300:1000], labels[300:1000]))
    verdicts = trust.verdicts(images[1000:]).to_pandas()
    right = (verdicts.prediction == labels[1000:].numpy()).mean()
    assert verdicts.p_known.mean() > 0.95
    assert verdicts.p_correct.mean() == pytest.approx(right, abs=0.05)
