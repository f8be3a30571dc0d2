import pytest
import torch
from torch import nn

from gradmeter import UnsupportedModelError
from gradmeter.research.cifar_resnets import CifarResNet
from gradmeter.research.ood_benchmark.networks import ResNet8, resnet18
from gradmeter.research.ood_benchmark.parts import EMBEDDING, FEATURE_MAPS, IMAGES, LOGITS, parts_of
from gradmeter.research.study.network import PaperCNN

NETWORKS = {
    "paper": (lambda: PaperCNN(), (1, 28, 28)),
    "paper, standardised": (lambda: PaperCNN(standard=(0.17, 0.33)), (1, 28, 28)),
    "paper, other settings": (lambda: PaperCNN(padding="same", first_dropout="before"), (1, 28, 28)),
    "resnet18": (lambda: resnet18(10), (1, 28, 28)),
    "resnet8": (lambda: ResNet8(8), (3, 32, 32)),
    "resnet20 of He et al.": (lambda: CifarResNet(20), (3, 32, 32)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_parts_compute_the_logits(name: str) -> None:
    torch.manual_seed(0)
    make, shape = NETWORKS[name]
    network = make().eval()
    images = torch.rand(3, *shape)
    parts = parts_of(network)
    with torch.no_grad():
        logits = network(images)
        torch.testing.assert_close(parts.head(parts.backbone(images)), logits)
        torch.testing.assert_close(parts.last(parts.encoder(images)), logits)
        assert parts.backbone(images).dim() == 4
    assert dict(network.named_parameters())[parts.last_weight] is parts.last.weight
    modules = set(network.modules())
    assert all(layer in modules for layer in parts.layers)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_part_after_each_start_computes_the_logits(name: str) -> None:
    torch.manual_seed(0)
    make, shape = NETWORKS[name]
    parts = parts_of(make().eval())
    images = torch.rand(3, *shape)
    with torch.no_grad():
        logits = parts.network(images)
        inputs = {
            IMAGES: images,
            FEATURE_MAPS: parts.backbone(images),
            EMBEDDING: parts.encoder(images),
            LOGITS: logits,
        }
        for start, values in inputs.items():
            torch.testing.assert_close(parts.after(start).network(values), logits)
        for start in (FEATURE_MAPS, EMBEDDING):
            after = parts.after(start)
            torch.testing.assert_close(after.encoder(inputs[start]), inputs[EMBEDDING])
            torch.testing.assert_close(after.head(after.backbone(inputs[start])), logits)
            assert after.last_weight == "1.weight"


def test_a_network_of_no_task_is_refused() -> None:
    with pytest.raises(UnsupportedModelError, match="Linear"):
        parts_of(nn.Linear(2, 2))
