import pytest
import torch
from pytorch_ood import detector as library
from pytorch_ood.api import Detector

from gradmeter.compare.detectors import DETECTORS, applies, made
from gradmeter.compare.networks import ResNet8
from gradmeter.compare.parts import Parts, parts_of
from gradmeter.study.network import PaperCNN

# For CLIP, and for class weights that a classifier does not have.
ELSEWHERE = {"MCM", "WeightedEBO"}
NAMES = {"MSP": "MaxSoftmax", "Energy": "EnergyBased", "NAC": "NACUE"}


def pieces(network: str) -> tuple[Parts, torch.Tensor]:
    """A network that answers with every class: some detectors learn from right answers only."""
    torch.manual_seed(0)
    made, shape = (PaperCNN(), (1, 28, 28)) if network == "paper" else (ResNet8(10), (3, 32, 32))
    images = torch.rand(400, shape[0], 1, 1) * torch.rand(400, *shape)
    parts = parts_of(made.eval())
    with torch.no_grad():
        features = parts.encoder(images)
        _, sizes, axes = torch.linalg.svd(features - features.mean(0), full_matrices=False)
        parts.last.weight.copy_(torch.randn(10, 8) @ (20 * axes[:8] / sizes[:8, None]))
        parts.last.bias.copy_(-parts.last.weight @ features.mean(0))
    return parts, images


def test_none_of_the_library_is_forgotten() -> None:
    there = {
        name
        for name, kind in vars(library).items()
        if isinstance(kind, type) and issubclass(kind, Detector) and kind.__module__.startswith("pytorch_ood.detector")
    }
    assert {NAMES.get(name, name) for name in DETECTORS} | ELSEWHERE == there


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("network", ["paper", "resnet8"])
@pytest.mark.parametrize("name", DETECTORS)
def test_each_judges(name: str, network: str) -> None:
    parts, images = pieces(network)
    if not applies(name, parts):
        assert (name, network) == ("MCD", "resnet8")
        return
    with torch.no_grad():
        labels = parts.network(images).argmax(1)
    assert len(labels.unique()) == 10
    detector = made(name, parts)
    if getattr(detector, "requires_fit", False):
        detector.fit([(images[:200], labels[:200]), (images[200:], labels[200:])])
    scores = detector.predict(images[:7])
    assert scores.shape == (7,)
    assert torch.isfinite(scores).all()
