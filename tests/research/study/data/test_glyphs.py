from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gradmeter.errors import DataError
from gradmeter.research.study.data import glyphs
from gradmeter.research.study.data.glyphs import LETTERS, SANS_FACES, letters


def test_letters_are_framed_like_mnist() -> None:
    concept = letters("letters", SANS_FACES, 208, seed=0)
    assert concept.images.shape == (208, 28, 28)
    assert concept.images.dtype == np.uint8
    for image in concept.images:
        rows, columns = np.nonzero(image > 20)
        longer_side = max(np.ptp(rows), np.ptp(columns)) + 1
        assert 16 <= longer_side <= 26
        # Centred up to a shift of 1.5 pixels, with a black border.
        assert abs(rows.min() + rows.max() - 27) <= 5
        assert image[0].max() == image[-1].max() == image[:, 0].max() == image[:, -1].max() == 0
        # White strokes on black.
        assert image.max() > 200
        assert np.median(image) < 128


def test_letters_are_upright_and_carry_their_label() -> None:
    concept = letters("letters", SANS_FACES[:1], 52, seed=0)
    assert concept.labels is not None
    assert sorted(concept.labels) == list(range(52))
    t, el = (concept.images[concept.labels == LETTERS.index(letter)][0].astype(int) for letter in "TL")
    assert t[:14].sum() > t[14:].sum()
    assert el[14:].sum() > el[:14].sum()
    assert el[:14, :14].sum() > el[:14, 14:].sum()


def test_every_image_differs() -> None:
    images = letters("letters", SANS_FACES[:1], 520, seed=0).images
    assert len(np.unique(images, axis=0)) == 520


def test_same_seed_same_letters() -> None:
    first, again, other = (letters("l", SANS_FACES[:1], 52, seed).images for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_faces_differ() -> None:
    sans, bold = (letters("l", [face], 52, seed=0).images for face in SANS_FACES[:2])
    assert bold.mean() > 1.2 * sans.mean()


def test_missing_face_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(glyphs, "package_folder", lambda package, extra: tmp_path)
    with pytest.raises(DataError, match=r"DejaVuSans\.ttf"):
        letters("letters", SANS_FACES, 10, seed=0)
