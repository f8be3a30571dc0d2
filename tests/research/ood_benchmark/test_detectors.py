import copy
from functools import cache

import numpy as np
import pytest
import torch
from pytorch_ood import detector as library
from pytorch_ood.api import Detector
from torch import nn

from gradmeter.research.ood_benchmark import detectors
from gradmeter.research.ood_benchmark.detectors import DETECTORS, make_detector
from gradmeter.research.ood_benchmark.networks import ResNet8
from gradmeter.research.ood_benchmark.parts import EMBEDDING, FEATURE_MAPS, IMAGES, LOGITS, Parts, parts_of
from gradmeter.research.ood_benchmark.run import _score_detector
from gradmeter.research.ood_benchmark.tasks import Data, Images
from gradmeter.research.study.network import PaperCNN
from gradmeter.trust.evaluation.separation import separation
from gradmeter.trust.synthetic import synthetic_unknowns

# pytorch-ood lacks them.
OTHERS = {"GradTrust", "MetaModel", "NormalisedKNN", "NormalisedMahalanobis", "pNormMaxLogit"}
# MCM is made for CLIP; WeightedEBO needs class weights that a classifier does not have.
LEFT_OUT = {"MCM", "WeightedEBO"}
SEARCHED = {"ASH", "DICE", "GEN", "KNN", "NAC", "NCI", "ODIN", "OpenMax", "ReAct", "SCALE", "ViM", "VRA"}
COUNT = 240
LIBRARY_NAMES = {"MSP": "MaxSoftmax", "Energy": "EnergyBased", "NAC": "NACUE"}


@cache
def _network_and_images(kind: str) -> tuple[nn.Module, torch.Tensor]:
    torch.manual_seed(0)
    network, shape = (PaperCNN(), (1, 28, 28)) if kind == "paper" else (ResNet8(10), (3, 16, 16))
    images = torch.rand(COUNT, shape[0], 1, 1) * torch.rand(COUNT, *shape)
    parts = parts_of(network.eval())
    with torch.no_grad():
        features = parts.encoder(images)
        _, sizes, axes = torch.linalg.svd(features - features.mean(0), full_matrices=False)
        parts.last.weight.copy_(torch.randn(10, 8) @ (20 * axes[:8] / sizes[:8, None]))
        parts.last.bias.copy_(-parts.last.weight @ features.mean(0))
    return network, images


def make_parts(kind: str) -> tuple[Parts, torch.Tensor]:
    """Return a network that predicts every class, which some detectors need, and images."""
    network, images = _network_and_images(kind)
    return parts_of(copy.deepcopy(network)), images.clone()


@cache
def _starts() -> dict[str, torch.Tensor]:
    parts, images = make_parts("resnet8")
    with torch.no_grad():
        return {
            FEATURE_MAPS: parts.backbone(images),
            EMBEDDING: parts.encoder(images),
            LOGITS: parts.network(images),
        }


def test_all_detectors_of_the_library_are_registered() -> None:
    available = {
        name
        for name, kind in vars(library).items()
        if isinstance(kind, type) and issubclass(kind, Detector) and kind.__module__.startswith("pytorch_ood.detector")
    }
    assert {LIBRARY_NAMES.get(name, name) for name in DETECTORS} - OTHERS | LEFT_OUT == available
    assert set(DETECTORS) >= OTHERS


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", [name for name, entry in DETECTORS.items() if entry.start != IMAGES])
def test_a_detector_gives_the_same_scores_from_its_start(name: str) -> None:
    parts, images = make_parts("resnet8")
    starts = _starts()
    labels = starts[LOGITS].argmax(1)
    labels[::7] = (labels[::7] + 1) % 10  # some predictions are wrong
    scores = []
    for start, inputs in ((IMAGES, images), (DETECTORS[name].start, starts[DETECTORS[name].start].clone())):
        torch.manual_seed(0)
        detector = make_detector(name, parts.after(start))
        if getattr(detector, "requires_fit", False):
            detector.fit([(inputs[:100], labels[:100]), (inputs[100:], labels[100:])])
        scores.append(detector.predict(inputs[:12]).detach().double())
    torch.testing.assert_close(scores[0], scores[1], rtol=1e-3, atol=1e-4)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("network", ["paper", "resnet8"])
@pytest.mark.parametrize("name", DETECTORS)
def test_each_detector_scores_images(name: str, network: str) -> None:
    parts, images = make_parts(network)
    if not DETECTORS[name].applies(parts.network):
        assert (name, network) == ("MCD", "resnet8")
        return
    with torch.no_grad():
        labels = parts.network(images).argmax(1)
    assert len(labels.unique()) == 10
    detector = make_detector(name, parts)
    if getattr(detector, "requires_fit", False):
        detector.fit([(images[:100], labels[:100]), (images[100:], labels[100:])])
    scores = detector.predict(images[:7])
    assert scores.shape == (7,)
    assert torch.isfinite(scores).all()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_settings_are_chosen_on_synthetic_unknowns(monkeypatch: pytest.MonkeyPatch) -> None:
    parts, images = make_parts("paper")
    known = Images(images[:100], parts.network(images[:100]).argmax(1))
    # All that the settings are compared on: on other images, another one may be the best.
    synthetic = torch.cat([*synthetic_unknowns(known.images, known.labels).values()])
    unknown = Images(synthetic, torch.full((len(synthetic),), -1))
    data = Data(known, known, known, {"synthetic": unknown}, {})
    steepness = (1e-3, 1e3, 1e6)  # none of them nearly as good as another
    scores = []
    for alpha in steepness:
        monkeypatch.setattr(detectors, "_NAC_STEEPNESS", [alpha])
        scores.append(_score_detector("NAC", parts, data).values)
    quality = [separation(values["known"], values["synthetic"]).auroc for values in scores]
    assert len(set(quality)) == len(quality)
    monkeypatch.setattr(detectors, "_NAC_STEEPNESS", [*steepness])
    chosen = _score_detector("NAC", parts, data).values
    np.testing.assert_array_equal(chosen["synthetic"], scores[int(np.argmax(quality))]["synthetic"])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("network", ["paper", "resnet8"])
@pytest.mark.parametrize("name", DETECTORS)
def test_every_search_space_names_attributes_of_the_detector(name: str, network: str) -> None:
    parts, _ = make_parts(network)
    detector = make_detector(name, parts)
    space = DETECTORS[name].search_space(detector, parts, 5000)
    assert all(hasattr(detector, parameter) and values for parameter, values in space.items())
    assert bool(space) == (name in SEARCHED)
