from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from gradmeter import DataError, GradientMeter
from gradmeter.research.gradient_gain.networks import AllConvolutional, CifarResNet, Perceptron, SmallCNN, TextCNN
from gradmeter.research.speed_benchmark.models import resnet56


def test_the_resnet_standardises_its_images_and_is_the_speed_benchmark_s(tmp_path: Path) -> None:
    torch.manual_seed(0)
    other = resnet56().eval()
    save_file(other.state_dict(), tmp_path / "weights.safetensors")
    network = CifarResNet.trained(56, tmp_path / "weights.safetensors")
    assert not network.training
    images = torch.rand(2, 3, 32, 32)
    mean, deviation = (torch.tensor(v).view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    torch.testing.assert_close(network(images), other((images - mean) / deviation))


def test_other_weights_are_refused(tmp_path: Path) -> None:
    save_file(CifarResNet(8).state_dict(), tmp_path / "w.safetensors")
    for path in (tmp_path / "w.safetensors", tmp_path / "none.safetensors"):
        with pytest.raises(DataError, match=f"{path.name}.*ResNet-14"):
            CifarResNet.trained(14, path)


def test_the_all_convolutional_network_has_no_embedding() -> None:
    torch.manual_seed(0)
    images = torch.rand(4, 3, 32, 32)
    for network, has_embedding in ((AllConvolutional(3, 8), False), (SmallCNN(3, 32, 8), True)):
        readings = GradientMeter(network.eval()).for_trust_model()(images)
        assert readings.logits.shape == (4, 8)
        assert (readings.embedding is not None) == has_embedding


def test_the_others_give_logits() -> None:
    assert Perceptron(28 * 28, 10)(torch.rand(2, 1, 28, 28)).shape == (2, 10)
    assert SmallCNN(1, 28, 10)(torch.rand(2, 1, 28, 28)).shape == (2, 10)
    tokens = torch.randint(0, 9, (3, 32))
    network = TextCNN(9, 4).eval()
    assert network(tokens).shape == (3, 4)
    assert len(GradientMeter(network).for_trust_model()(tokens)) == 3
