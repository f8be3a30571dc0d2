import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from gradmeter.research.gradient_gain import corruptions
from gradmeter.research.gradient_gain.corruptions import CORRUPTIONS, STRENGTHS, corrupt


@pytest.fixture
def images() -> Tensor:
    return torch.rand(6, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 0.8


def corrupted(images: Tensor, name: str, strength: int) -> Tensor:
    return corrupt(images, name, strength, torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_stronger_corruptions_change_more(name: str, images: Tensor) -> None:
    changes = []
    for strength in range(STRENGTHS):
        changed = corrupted(images, name, strength)
        assert changed.shape == images.shape
        assert changed.dtype == torch.float32
        assert 0 <= changed.min() <= changed.max() <= 1
        changes.append(float((changed - images).square().mean()))
    assert changes == sorted(changes)
    assert changes[0] > 0


@pytest.mark.parametrize("strength", range(STRENGTHS))
def test_the_blur_is_a_gaussian(strength: int, images: Tensor) -> None:
    deviation = corruptions._BLUR[strength]
    expected = gaussian_filter(images.double().numpy(), (0, 0, deviation, deviation), mode="mirror", truncate=3.0)
    np.testing.assert_allclose(corrupted(images, "blur", strength).numpy(), expected, atol=1e-6)


def test_contrast_keeps_the_mean(images: Tensor) -> None:
    changed = corrupted(images, "contrast", 4)
    assert changed.mean(dim=(1, 2, 3)).tolist() == pytest.approx(images.mean(dim=(1, 2, 3)).tolist(), abs=1e-6)
    assert (changed.std(dim=(1, 2, 3)) / images.std(dim=(1, 2, 3))).tolist() == pytest.approx([0.15] * 6, rel=1e-4)
