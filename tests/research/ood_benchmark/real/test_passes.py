from pathlib import Path

import pytest
import torch

from gradmeter.research.cifar_resnets import CifarResNet, load_cifar_resnet
from gradmeter.research.ood_benchmark.parts import EMBEDDING, FEATURE_MAPS, IMAGES, LOGITS
from gradmeter.research.ood_benchmark.real.images import RealImages, load_images
from gradmeter.research.ood_benchmark.real.passes import Passes, attack
from gradmeter.research.ood_benchmark.scores import KNOWN


@pytest.fixture(scope="module")
def setting(real_data: Path) -> tuple[CifarResNet, RealImages, Passes]:
    network, images = load_cifar_resnet(real_data / "networks", 20), load_images(real_data, 0.1)
    return network, images, Passes(network, images, attack(network, images) / 255)


def test_inputs_of_every_start(setting: tuple[CifarResNet, RealImages, Passes]) -> None:
    network, images, passes = setting
    sets = {KNOWN, *images.unknowns, "corrupted", "adversarial"}
    for start in (IMAGES, FEATURE_MAPS, EMBEDDING, LOGITS):
        inputs = passes.inputs(start)
        assert set(inputs) == sets
        with torch.no_grad():
            for name in ("letters", "adversarial"):
                logits = passes.parts(start).network(inputs[name].float())
                torch.testing.assert_close(logits, network(passes.sets[name]), rtol=1e-3, atol=1e-3)
    assert passes.inputs(LOGITS)[KNOWN].dtype == torch.float64
    torch.testing.assert_close(passes.predictions["letters"], passes.inputs(LOGITS)["letters"].argmax(1))
    assert passes.milliseconds(IMAGES) == 0
    assert passes.milliseconds(LOGITS) > 0


def test_tuning_images(setting: tuple[CifarResNet, RealImages, Passes]) -> None:
    _, images, passes = setting
    for start in (IMAGES, EMBEDDING):
        batches = passes.tuning(start)
        labels = torch.cat([labels for _, labels in batches])
        known = torch.cat([inputs for inputs, _ in batches])[labels >= 0]
        torch.testing.assert_close(known, passes.inputs(start)[KNOWN][images.tuning], rtol=1e-3, atol=1e-4)
        assert (labels < 0).sum() > 100
