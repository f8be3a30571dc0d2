"""Networks of the benchmark other than the paper's."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from gradmeter.errors import GradmeterError


def resnet18(classes: int) -> nn.Module:
    """Return torchvision's ResNet-18 for one channel, with 11 million weights.

    Raises:
        GradmeterError: if torchvision is not installed.
    """
    try:
        from torchvision.models import resnet18 as torchvision_resnet18
    except ModuleNotFoundError as error:
        raise GradmeterError(
            'ResNet-18 needs the package torchvision, which is not installed; pip install "gradmeter[compare]"'
        ) from error
    network: nn.Module = torchvision_resnet18(weights=None, num_classes=classes)
    network.conv1 = nn.Conv2d(1, 64, 7, stride=2, padding=3, bias=False)
    return network


class _Block(nn.Module):
    """Two convolutions and a shortcut (He et al. 2016)."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.shortcut = (
            nn.Identity()
            if stride == 1 and channels == width
            else nn.Sequential(nn.Conv2d(channels, width, 1, stride, bias=False), nn.BatchNorm2d(width))
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return feature maps."""
        residual = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        output: Tensor = F.relu(residual + self.shortcut(x))
        return output


class ResNet8(nn.Module):
    """The smallest of the CIFAR ResNets (He et al. 2016, 6n + 2 layers with n = 1); 78,000 weights.

    Args:
        classes: number of classes.
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(16)
        self.blocks = nn.Sequential(_Block(16, 16, 1), _Block(16, 32, 2), _Block(32, 64, 2))
        self.fc = nn.Linear(64, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits [N, classes] for images [N, 3, H, W] in [0, 1]."""
        x = self.blocks(F.relu(self.bn(self.conv(images))))
        logits: Tensor = self.fc(x.mean(dim=(2, 3)))
        return logits
