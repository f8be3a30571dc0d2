from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from gradmeter.research.study.data.preprocessing import cifar_to_grey, omniglot_to_strokes


def smooth(shape: tuple[int, ...]) -> np.ndarray:
    """Random images with the soft edges of photographs, uint8."""
    noise = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    return np.stack([np.asarray(Image.fromarray(image[:8, :8]).resize(image.shape[:2], 3)) for image in noise])


def test_cifar_agrees_with_pillow() -> None:
    images = smooth((20, 32, 32, 3))
    pillow = [
        np.asarray(Image.fromarray(image).convert("L").resize((28, 28), Image.Resampling.BILINEAR)) for image in images
    ]
    ours = cifar_to_grey(images)
    assert ours.shape == (20, 28, 28)
    assert ours.dtype == np.uint8
    assert np.abs(ours.astype(int) - np.stack(pillow)).max() <= 1


@pytest.mark.parametrize(
    ("colour", "grey"), [((255, 0, 0), 76), ((0, 255, 0), 150), ((0, 0, 255), 29), ((255, 255, 255), 255)]
)
def test_luma_weighs_the_colours(colour: tuple[int, int, int], grey: int) -> None:
    assert (cifar_to_grey(np.full((1, 32, 32, 3), colour, np.uint8)) == grey).all()


def test_omniglot_agrees_with_pillow() -> None:
    paper = smooth((20, 105, 105)) > 100
    pillow = [
        np.asarray(
            Image.fromarray(np.where(image, 0, 255).astype(np.uint8)).resize((28, 28), Image.Resampling.BILINEAR)
        )
        for image in paper
    ]
    ours = omniglot_to_strokes(paper)
    assert ours.dtype == np.uint8
    assert np.abs(ours.astype(int) - np.stack(pillow)).max() <= 1


def test_ink_becomes_white_on_black() -> None:
    paper = np.ones((1, 105, 105), bool)
    paper[0, 40:60] = False
    strokes = omniglot_to_strokes(paper)[0]
    assert (strokes[:9] == 0).all()
    assert (strokes[12:15] == 255).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_floats_stand_for_the_same_grey_levels(dtype: type) -> None:
    colour, paper = smooth((3, 32, 32, 3)), smooth((3, 105, 105))
    np.testing.assert_array_equal(cifar_to_grey((colour / 255).astype(dtype)), cifar_to_grey(colour))
    np.testing.assert_array_equal(omniglot_to_strokes((paper / 255).astype(dtype)), omniglot_to_strokes(paper))


def test_chunks_do_not_show() -> None:
    images = np.random.default_rng(0).integers(0, 256, (1030, 32, 32, 3), np.uint8)
    np.testing.assert_array_equal(cifar_to_grey(images)[1020:], cifar_to_grey(images[1020:]))
