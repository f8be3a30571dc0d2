import pytest
import torch
from torch import nn

from gradmeter.research.ood_benchmark.real.attacks import ATTACKS, EPSILONS, adversarial

RANDOM = torch.Generator().manual_seed(0)
IMAGES = torch.randint(256, (60, 3, 4, 4), generator=RANDOM) / 255


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(48, 20), nn.Tanh(), nn.Linear(20, 4))


NETWORK = network().eval()
with torch.no_grad():
    LABELS = NETWORK(IMAGES).argmax(1)


@pytest.mark.parametrize("epsilon", EPSILONS)
@pytest.mark.parametrize("name", ATTACKS)
def test_the_loss_grows_within_the_largest_change(name: str, epsilon: float) -> None:
    moved = ATTACKS[name](NETWORK, IMAGES, LABELS, epsilon)
    assert (moved - IMAGES).abs().max() <= epsilon + 1e-6
    assert 0 <= moved.min() <= moved.max() <= 1
    with torch.no_grad():
        before, after = (nn.functional.cross_entropy(NETWORK(x), LABELS, reduction="none") for x in (IMAGES, moved))
    assert (after > before).all()


def test_pgd_is_at_least_as_strong_as_fgsm() -> None:
    losses = {}
    for name, attack in ATTACKS.items():
        moved = attack(NETWORK, IMAGES, LABELS, 0.1)
        with torch.no_grad():
            losses[name] = float(nn.functional.cross_entropy(NETWORK(moved), LABELS))
    assert losses["PGD"] > losses["FGSM"]


def test_only_changed_predictions_of_right_ones_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gradmeter.research.ood_benchmark.real.attacks.EPSILONS", (10 / 255,))
    labels = LABELS.clone()
    labels[:30] = (labels[:30] + 1) % 4  # predicted wrong before the attack
    kept = adversarial(NETWORK, IMAGES, labels)
    assert kept.dtype == torch.uint8
    assert 0 < len(kept) <= 60
    originals = (255 * IMAGES[30:]).round()
    for image in kept:
        changes = (image.float() - originals).abs().flatten(1).amax(1)
        source = int(changes.argmin())
        assert 0 < changes[source] <= 10
        assert NETWORK(image[None] / 255).argmax(1) != LABELS[30 + source]
