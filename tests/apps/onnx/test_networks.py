"""Files of larger networks give the decisions of their TrustModels; the numbers of docs/onnx.md.

`pytest -n0 -s -m exhaustive tests/apps/onnx/test_networks.py` prints them. The networks of timm have random weights and
a last layer that was fitted to CIFAR-10 by ridge regression.
"""

import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import onnxruntime
import pandas as pd
import pytest
import timm
import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot
from torch.utils.data import DataLoader, TensorDataset

from apps.onnx.exported import needs_exporter
from gradmeter import GradientMeter, GradmeterError, TrustModel
from gradmeter.apps.onnx import exporting
from gradmeter.apps.onnx.exporting import export
from gradmeter.apps.onnx.graph import to_graph
from gradmeter.apps.onnx.judged_model import JudgedModel
from gradmeter.research.cifar_resnets import load_cifar_resnet
from gradmeter.sources.models import Classifier
from gradmeter.sources.models.preprocessing import ResizeAndNormalise, Stacked
from gradmeter.sources.samples import ImageKind
from gradmeter.trust.features import ACTIVATIONS, FeatureBlock
from gradmeter.trust.meta_classifier import SCORES
from gradmeter.trust.traced import JudgedNetwork

SHARED = Path(__file__).resolve().parents[3] / "../shared"

pytestmark = [
    pytest.mark.exhaustive,
    pytest.mark.slow,
    needs_exporter,
    pytest.mark.skipif(
        not (SHARED / "data/cifar10_test.npz").is_file(), reason="the real images are not beside the repository"
    ),
]

IMAGES = 2000
TOLERANCE = 1e-4
# P(known) and P(correct) of a few inputs change by more than that if the last digits of the activations change.
FEW, LARGEST = 0.02, 0.01


def cifar() -> tuple[Tensor, Tensor]:
    with np.load(SHARED / "data/cifar10_test.npz") as archive:
        images, labels = archive["images"][:IMAGES], archive["labels"][:IMAGES].astype(np.int64)
    return torch.from_numpy(images.astype(np.float32) / 255).permute(0, 3, 1, 2), torch.from_numpy(labels)


def resnet56() -> nn.Module:
    return load_cifar_resnet(SHARED / "networks", 56)


def mobilenet() -> nn.Module:
    network = timm.create_model("mobilenetv3_small_100", num_classes=10)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # an average over the batches
    images, _ = cifar()
    with torch.no_grad():
        for batch in images[:500].split(100):
            network(batch)
    return with_head(network.eval())


def vit() -> nn.Module:
    network = timm.create_model("vit_tiny_patch16_224", img_size=32, patch_size=8, num_classes=10)
    return with_head(network.eval())


def with_head(network: nn.Module) -> nn.Module:
    """Fit the last layer to the first quarter of the images."""
    images, labels = (part[: IMAGES // 4] for part in cifar())
    with torch.no_grad():
        features = [
            network.forward_head(network.forward_features(batch), pre_logits=True) for batch in images.split(50)
        ]
        inputs, targets = torch.cat(features), one_hot(labels, 10) - 0.1
        mean = inputs.mean(0)
        inputs = inputs - mean
        penalty = 0.01 * inputs.square().sum(0).mean() * torch.eye(inputs.shape[1])
        weights = torch.linalg.solve(inputs.T @ inputs + penalty, inputs.T @ targets.float()).T * 8
        network.get_classifier().weight.copy_(weights)
        network.get_classifier().bias.copy_(-weights @ mean)
    return network


@cache
def fitted(make: Callable[[], nn.Module]) -> TrustModel:
    torch.manual_seed(0)
    network, (images, labels) = make(), cifar()

    def part(first: int, last: int) -> "DataLoader[tuple[Tensor, ...]]":
        return DataLoader(TensorDataset(images[first:last], labels[first:last]), batch_size=100)

    trust = TrustModel(GradientMeter(network), reads="forward").fit(part(IMAGES // 4, IMAGES * 5 // 8))
    # The network with random weights is right for a fifth of the images.
    risk, least = (0.05, 0.5) if make is resnet56 else (0.95, 0.1)
    trust.set_risk(risk, part(IMAGES * 5 // 8, IMAGES * 3 // 4), least_probability=least)
    return trust


def new_inputs() -> Tensor:
    """Images that were not seen, turned images with noise, and noise."""
    torch.manual_seed(1)
    new = cifar()[0][IMAGES * 3 // 4 :]
    return torch.cat([new, new[:100].transpose(2, 3) + 0.3 * torch.randn(100, 3, 32, 32), torch.rand(100, 3, 32, 32)])


@pytest.mark.parametrize("make", [resnet56, mobilenet])
def test_decisions_and_probabilities(make: Callable[[], nn.Module], tmp_path: Path) -> None:
    trust, inputs = fitted(make), new_inputs()
    network = trust.meter.model
    normalised = Stacked(ResizeAndNormalise(32, (0.0,) * 3, (1.0,) * 3))
    out = tmp_path / "judged.onnx"
    started = time.process_time()
    export(trust, Classifier(make.__name__, network, None, ImageKind("RGB", 32), normalised), out)
    seconds = time.process_time() - started

    model = JudgedModel.open(out, threads=1)
    expected = trust.verdicts(inputs).to_pandas()
    batches = [model(batch.numpy()) for batch in inputs.split(16)]
    given = pd.DataFrame({name: np.concatenate([batch[name] for batch in batches]) for name in ("prediction", *NAMES)})
    # The judge itself, with one image in each forward pass.
    meter = GradientMeter(network, tile=1).for_trust_model(gradients=False, second_look=trust.meter.second_look)
    alone = trust.verdicts(meter(inputs)).to_pandas()
    for name, other in (("onnxruntime", given), ("the judge, one image at a time", alone)):
        report(f"{make.__name__}, {name}", other, expected)
    print(f"{out.stat().st_size / 1e6:.1f} MB, written in {seconds:.0f} s of one core")
    for column in ("prediction", "accepted"):
        assert given[column].tolist() == expected[column].tolist()
    difference = (given[[*NAMES[:3]]] - expected[[*NAMES[:3]]]).abs()
    assert difference["p_correct_if_known"].max() < TOLERANCE
    assert difference.to_numpy().max() < LARGEST
    assert (difference > TOLERANCE).any(axis=1).mean() < FEW


class Features(JudgedNetwork):
    """It returns the features of the judge instead of its verdicts."""

    def forward(self, inputs: Tensor) -> tuple[Tensor]:  # type: ignore[override]
        return (self.read(inputs)[0],)


def test_only_shares_of_positive_activations_matter() -> None:
    trust, inputs = fitted(resnet56), new_inputs()
    graph = to_graph(Features(trust, inputs[:8]), inputs[:8], "inputs", ["features"], "ResNet-56")
    session = onnxruntime.InferenceSession(graph.SerializeToString())
    given = np.concatenate([session.run(None, {"inputs": batch.numpy()})[0] for batch in inputs.split(16)])
    assert trust.judge is not None
    block = trust.judge.features.block(trust.meter(inputs))
    shares = block.axes.where(lambda feature: feature.source == ACTIVATIONS and feature.statistic == "positive")
    with_shares = given.copy()
    with_shares[:, shares] = block.values[:, shares]
    expected = trust.judge.classifier.judge(block)
    for name, values in (("all features", given), ("all but the shares", with_shares)):
        judgement = trust.judge.classifier.judge(FeatureBlock(values, block.axes))
        difference = max(float(np.abs(judgement.score(score) - expected.score(score)).max()) for score in SCORES)
        print(f"\n{name} from onnxruntime: {difference:.1e}")
    assert difference < TOLERANCE / 5


NAMES = ("p_known", "p_correct_if_known", "p_correct", "accepted")


def report(name: str, given: pd.DataFrame, expected: pd.DataFrame) -> None:
    """Print the largest difference of each probability, and how many exceed the tolerance."""
    texts = []
    for column in NAMES[:3]:
        difference = (given[column] - expected[column]).abs()
        texts.append(f"{column} {difference.max():.1e} ({(difference > TOLERANCE).sum()} above {TOLERANCE:g})")
    changed = (given["accepted"] != expected["accepted"]).sum()
    print(f"\n{name}: {', '.join(texts)}; {changed} of {len(expected)} decisions differ")


def test_a_transformer_that_was_never_trained_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its LayerNorms give statistics that are constant but for rounding."""
    # They move the verdicts by 1e-4 to 1e-2, as the machine rounds; those of trained networks by less than 1e-6.
    monkeypatch.setattr(exporting, "_TOLERANCE", 1e-5)
    torch.manual_seed(0)
    network, (images, labels) = vit(), cifar()
    batches = DataLoader(TensorDataset(images[500:1250], labels[500:1250]), batch_size=100)
    trust = TrustModel(GradientMeter(network), reads="forward").fit(batches)
    normalised = Stacked(ResizeAndNormalise(32, (0.0,) * 3, (1.0,) * 3))
    with pytest.raises(GradmeterError, match="equal but for rounding"):
        export(trust, Classifier("vit", network, None, ImageKind("RGB", 32), normalised), tmp_path / "vit.onnx")
