from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from gradmeter import DataError
from gradmeter.research.cifar_resnets import DEPTHS, CifarResNet, load_cifar_resnet, weights_path
from gradmeter.research.ood_benchmark.tasks import as_images

REAL = Path(__file__).resolve().parents[2] / "../shared"


# Table 6 of He et al. 2016, in millions.
@pytest.mark.parametrize(("depth", "millions"), [*zip(DEPTHS, (0.27, 0.46, 0.66, 0.85), strict=True)])
def test_numbers_of_weights(depth: int, millions: float) -> None:
    network = CifarResNet(depth)
    assert sum(weights.numel() for weights in network.parameters()) / 1e6 == pytest.approx(millions, abs=0.01)
    convolutions = [module for module in network.modules() if isinstance(module, torch.nn.Conv2d)]
    assert len(convolutions) == depth - 1


def test_shortcuts_take_every_second_pixel_and_add_channels_of_zeros() -> None:
    block = CifarResNet(20).layer2[0].eval()
    torch.nn.init.zeros_(block.conv2.weight)  # the residual is 0
    x = torch.rand(2, 16, 6, 6)
    output = block(x)
    assert output.shape == (2, 32, 3, 3)
    torch.testing.assert_close(output[:, 8:24], x[:, :, ::2, ::2])
    assert not output[:, :8].any()
    assert not output[:, 24:].any()


def test_images_are_standardised() -> None:
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    torch.testing.assert_close(CifarResNet(20).inputs(mean + torch.tensor(0.229))[0], torch.ones(3, 1, 1)[0])


def test_weights_are_loaded(tmp_path: Path) -> None:
    saved = CifarResNet(20).eval()
    save_file(saved.state_dict(), weights_path(tmp_path, 20))
    loaded = load_cifar_resnet(tmp_path, 20)
    assert not loaded.training
    images = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(loaded(images), saved(images))


def test_missing_damaged_and_other_weights(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cifar10_resnet20\.safetensors cannot be read"):
        load_cifar_resnet(tmp_path, 20)
    weights_path(tmp_path, 20).write_bytes(b"no weights")
    with pytest.raises(DataError, match=r"cifar10_resnet20\.safetensors cannot be read"):
        load_cifar_resnet(tmp_path, 20)
    save_file(CifarResNet(32).state_dict(), weights_path(tmp_path, 20))
    with pytest.raises(DataError, match=r"ResNet-20: layer1\.3\.bn1\.bias is \(16,\), expected no such tensor"):
        load_cifar_resnet(tmp_path, 20)


@pytest.mark.slow
@pytest.mark.skipif(not (REAL / "networks").is_dir(), reason="the trained networks are not beside the repository")
@pytest.mark.parametrize("depth", DEPTHS)
def test_accuracy_of_the_trained_networks(depth: int) -> None:
    with np.load(REAL / "data/cifar10_test.npz", allow_pickle=False) as archive:
        images, labels = as_images(archive["images"][:500]), torch.from_numpy(archive["labels"][:500])
    with torch.no_grad():
        predictions = load_cifar_resnet(REAL / "networks", depth)(images).argmax(1)
    assert (predictions == labels).double().mean() > 0.88
