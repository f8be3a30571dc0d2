import pytest
import torch
from torch import Tensor, nn

from gradmeter.research.gradient_gain.attacks import ATTACKS, fgsm, pgd


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(4 * 36, 5)).eval()


@pytest.fixture
def images() -> Tensor:
    return torch.rand(20, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def losses(network: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    return nn.functional.cross_entropy(network(images), labels, reduction="none")


def test_fgsm_of_a_linear_network_moves_along_the_sign_of_its_weights() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 2, bias=False))
    with torch.no_grad():
        network[1].weight.copy_(torch.tensor([[1.0, -2.0, 0.5, 3.0], [0.0, 0.0, 0.0, 0.0]]))
    images = torch.tensor([0.5, 0.5, 0.99, 0.001]).view(1, 1, 2, 2)
    changed = fgsm(network, images, torch.tensor([0]), 0.1, torch.Generator())
    # Class 0 loses if its logit falls; no pixel leaves [0, 1].
    assert changed.flatten().tolist() == pytest.approx([0.4, 0.6, 0.89, 0.0])


@pytest.mark.parametrize("attack", ATTACKS)
def test_changes_are_small_and_raise_the_loss(attack: str, network: nn.Module, images: Tensor) -> None:
    labels = network(images).argmax(1)
    changed = ATTACKS[attack](network, images, labels, 0.05, torch.Generator().manual_seed(0))
    assert (changed - images).abs().max() <= 0.05 + 1e-6
    assert 0 <= changed.min() <= changed.max() <= 1
    assert (losses(network, changed, labels) > losses(network, images, labels)).all()
    assert not changed.requires_grad
    assert all(parameter.grad is None for parameter in network.parameters())


def test_pgd_is_reproducible_and_at_least_as_strong(network: nn.Module, images: Tensor) -> None:
    labels = network(images).argmax(1)
    strong, again = (pgd(network, images, labels, 0.1, torch.Generator().manual_seed(1)) for _ in range(2))
    assert torch.equal(strong, again)
    weak = fgsm(network, images, labels, 0.1, torch.Generator())
    assert losses(network, strong, labels).mean() >= losses(network, weak, labels).mean() - 1e-3
