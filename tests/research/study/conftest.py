"""A small run: an untrained network, images, and labels that make its predictions right or wrong."""

from pathlib import Path

import numpy as np
import pytest
import torch

from gradmeter.research.study.data import Concept, Draw
from gradmeter.research.study.measuring import measure
from gradmeter.research.study.network import PaperCNN
from gradmeter.research.study.outcome import Outcome
from gradmeter.research.study.training import predict


@pytest.fixture(scope="session")
def network() -> PaperCNN:
    """An untrained network with a last layer that makes some predictions confident."""
    torch.manual_seed(3)
    network = PaperCNN().eval()
    with torch.no_grad():
        network.dense.weight *= 8
    return network


@pytest.fixture(scope="session")
def draw(network: PaperCNN) -> Draw:
    """120 validation and 150 test "digits", a third of them predicted wrongly, and three unknown concepts."""
    random = np.random.default_rng(0)

    def concept(role: str, count: int, brightest: int) -> Concept:
        return Concept(role, random.integers(0, brightest, (count, 28, 28), np.uint8))

    def digits(count: int) -> Concept:
        images = concept("digits", count, 256)
        labels = predict(network, images.to_tensor()).numpy()
        wrong = random.random(count) < 1 / 3
        return Concept("digits", images.images, np.where(wrong, (labels + 1) % 10, labels))

    roles = {"letters": 200, "cifar10": 120, "uniform": 256}
    return Draw(
        digits(10),
        digits(120),
        digits(150),
        {role: concept(role, 40, brightest) for role, brightest in roles.items()},
        {role: concept(role, 20, brightest) for role, brightest in roles.items() if role != "letters"},
    )


@pytest.fixture(scope="session")
def readings_folder(network: PaperCNN, draw: Draw, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The readings of the run on disk; do not change them."""
    folder = tmp_path_factory.mktemp("readings")
    measure(network, draw, folder, biases=True, on_images=lambda count: None)
    return folder


@pytest.fixture(scope="session")
def outcome(readings_folder: Path) -> Outcome:
    return Outcome.load(readings_folder)
