"""The default TrustModel on real images, with 200 validation images and no unknown inputs."""

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from gradmeter import GradientMeter, TrustModel
from gradmeter.reading.scores import max_softmax

DATA = Path(__file__).resolve().parents[2] / "../shared/data"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not all((DATA / f"{stem}.npz").is_file() for stem in ("emnist_digits", "notmnist", "cifar10_test")),
        reason="the real images are not beside the repository",
    ),
]

LEARNED, VALIDATION, TEST, UNKNOWN = 3000, 200, 4000, 600


def images(stem: str, count: int) -> tuple[Tensor, Tensor]:
    """Grey images [N, 1, 28, 28] in [0, 1] and their labels, in random order."""
    with np.load(DATA / f"{stem}.npz", allow_pickle=False) as archive:
        chosen = np.random.default_rng(0).permutation(len(archive["labels"]))[:count]
        pixels = torch.from_numpy(archive["images"][chosen]).float() / 255
        labels = torch.from_numpy(archive["labels"][chosen].astype(np.int64))
    if pixels.dim() == 4:  # channels last
        pixels = nn.functional.interpolate(pixels.mean(3).unsqueeze(1), (28, 28), mode="bilinear").squeeze(1)
    return pixels.view(-1, 1, 28, 28), labels


def trained(x: Tensor, y: Tensor) -> nn.Module:
    """A small network, trained in a few seconds."""
    torch.manual_seed(0)
    network = nn.Sequential(
        *(nn.Conv2d(1, 16, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 16, 3), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(400, 48), nn.ReLU(), nn.Linear(48, 10)),
    )
    optimiser = torch.optim.Adam(network.parameters(), 2e-3)
    for _ in range(4):
        for images, labels in DataLoader(TensorDataset(x, y), batch_size=50, shuffle=True):
            optimiser.zero_grad()
            nn.functional.cross_entropy(network(images), labels).backward()
            optimiser.step()
    return network.eval()


def test_it_finds_mistakes_as_the_softmax_does_and_unknown_images_too() -> None:
    x, y = images("emnist_digits", LEARNED + VALIDATION + TEST)
    network = trained(x[:LEARNED], y[:LEARNED])
    validation, test = slice(LEARNED, LEARNED + VALIDATION), slice(LEARNED + VALIDATION, None)
    trust = TrustModel(GradientMeter(network)).fit((x[validation], y[validation]))
    with torch.no_grad():
        logits = network(x[test])
    wrong = (logits.argmax(1) != y[test]).numpy()
    assert 0.005 < wrong.mean() < 0.15
    p_known = trust.predict_proba(x[test]).numpy()
    softmax = roc_auc_score(wrong, -max_softmax(logits))
    assert roc_auc_score(wrong, -p_known) > softmax - 0.01
    noise = torch.rand(UNKNOWN, 1, 28, 28, generator=torch.Generator().manual_seed(3))
    unknown = torch.cat([images("notmnist", UNKNOWN)[0], images("cifar10_test", UNKNOWN)[0], noise])
    p_unknown = trust.predict_proba(unknown).numpy()
    is_unknown = np.repeat([False, True], [np.count_nonzero(~wrong), len(unknown)])
    assert roc_auc_score(is_unknown, -np.concatenate([p_known[~wrong], p_unknown])) > 0.97
