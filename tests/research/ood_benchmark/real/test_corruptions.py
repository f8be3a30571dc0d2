import io

import numpy as np
import pytest
from PIL import Image

from gradmeter.research.ood_benchmark.real.corruptions import CORRUPTIONS, corrupted

RANDOM = np.random.default_rng(0)
BY_NAME = {kind.name: kind for kind in CORRUPTIONS}
# Smooth and with a contrast, as photographs are.
IMAGES = np.clip(
    128 + 60 * np.sin(np.linspace(0, 6, 32))[None, :, None, None] + RANDOM.normal(scale=10, size=(4, 32, 32, 3)), 0, 255
).astype(np.uint8)


def test_every_kind_and_strength() -> None:
    images, shown = corrupted(IMAGES, 2)
    assert images.shape == (50, 32, 32, 3)
    assert images.dtype == np.uint8
    np.testing.assert_array_equal(shown, np.arange(50) % 4)
    np.testing.assert_array_equal(images, corrupted(IMAGES, 2)[0])


@pytest.mark.parametrize("name", BY_NAME)
def test_stronger_corruptions_change_more(name: str) -> None:
    kind = BY_NAME[name]
    image = IMAGES[0] / 255
    changes = [np.abs(kind.apply(image, s, np.random.default_rng(1)) - image).mean() for s in kind.strengths]
    assert len(changes) == 5
    assert changes == sorted(changes)
    assert changes[0] > 0


def test_what_each_kind_does() -> None:
    image = IMAGES[0] / 255

    def apply(name: str, strength: float) -> np.ndarray:
        return BY_NAME[name].apply(image, strength, np.random.default_rng(1))

    np.testing.assert_allclose(apply("brightness", 0.1), image + 0.1)
    np.testing.assert_allclose(apply("contrast", 0.5).mean((0, 1)), image.mean((0, 1)))
    np.testing.assert_allclose(apply("contrast", 0.5).std((0, 1)), 0.5 * image.std((0, 1)))
    assert (apply("Gaussian noise", 0.1) - image).std() == pytest.approx(0.1, rel=0.05)
    blurred = apply("blur", 1.0)
    assert np.abs(np.diff(blurred, axis=0)).mean() < 0.6 * np.abs(np.diff(image, axis=0)).mean()
    np.testing.assert_allclose(blurred.mean(), image.mean(), atol=0.01)
    file = io.BytesIO()
    Image.fromarray(IMAGES[0]).save(file, "jpeg", quality=50)
    np.testing.assert_allclose(apply("JPEG", 50), np.asarray(Image.open(file)) / 255)
