"""The Python blocks of the page on pixels run, in order, for a small network."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from docs.code import blocks
from gradmeter import PixelReadings
from gradmeter.trust.segments import SegmentTrust


class Segmenter(nn.Module):
    """A network whose last layer has the page's name."""

    def __init__(self) -> None:
        super().__init__()
        layers = [nn.Conv2d(3, 8, 1), nn.ReLU(), nn.Conv2d(8, 8, 1), nn.ReLU(), nn.Conv2d(8, 4, 1)]
        self.classifier = nn.Sequential(*layers)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.classifier(images)
        return 9 * logits


def batches(model: nn.Module, seed: int, count: int) -> list[tuple[Tensor, Tensor]]:
    """Noisy images, and the classes that the network predicts without the noise."""
    generator = torch.Generator().manual_seed(seed)
    made = []
    for _ in range(count):
        smooth = F.interpolate(torch.randn(10, 3, 5, 5, generator=generator), size=(24, 24), mode="bicubic")
        with torch.no_grad():
            masks = model(smooth).argmax(1)
        masks[:, :2] = 255
        made.append((smooth + 0.3 * torch.randn(smooth.shape, generator=generator), masks))
    return made


def test_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(1)
    model = Segmenter().eval()
    variables: dict[str, Any] = {
        "model": model,
        "images": batches(model, 3, 1)[0][0],
        "validation_loader": batches(model, 1, 3),
        "calibration_loader": batches(model, 2, 6),
    }
    for language, content in blocks("docs/pixels.md"):
        if language == "python":
            exec(content.replace("set_risk(0.2", "set_risk(0.8"), variables)
    assert isinstance(variables["readings"], PixelReadings)
    assert isinstance(variables["trust"], SegmentTrust)
    assert variables["trust"].guarantee is not None
    assert len(variables["verdicts"].p_hit) == len(variables["features"])
