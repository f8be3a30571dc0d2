"""SegmentFeatures: by name, joined, of some images, and on pixels."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from gradmeter import InputError
from gradmeter.trust.segments import SegmentFeature, SegmentFeatures, segments
from trust.segments import loops


def features(seed: int, images: int = 2, size: int = 6, *, truth: bool = True) -> SegmentFeatures:
    random = np.random.default_rng(seed)
    classes = random.integers(0, 3, (images, size, size))
    shown = torch.from_numpy(random.integers(0, 3, classes.shape)) if truth else None
    return segments(loops.readings(classes, 3, seed), shown)


def test_names_and_selection() -> None:
    given = features(0)
    assert str(SegmentFeature("shape", "size")) == "shape/size"
    assert given.names[0] == "softmax/entropy/mean_all"
    chosen = given.select(lambda name: name.startswith("shape/"))
    assert len(chosen.axes) == chosen.values.shape[1] == 5
    np.testing.assert_array_equal(chosen.values[:, 0], given.size)
    assert {axis.source for axis in given.axes} - {axis.source for axis in given.without_gradients().axes} == {
        "gradients"
    }
    backwards = given.named(given.axes[::-1])
    np.testing.assert_array_equal(backwards.values, given.values[:, ::-1])
    with pytest.raises(InputError, match="softmax/entropy/mean_all"):
        chosen.named(given.axes)
    assert (
        repr(given)
        == f"SegmentFeatures({len(given)} segments of 2 images, {len(given.axes)} features, with ground truth)"
    )


def test_joined() -> None:
    parts = [features(0), features(1, 3), features(2, 1)]
    joined = SegmentFeatures.concatenate(iter(parts))
    assert joined.images == 6
    assert len(joined) == sum(map(len, parts))
    assert joined.mask is not None
    assert joined.adjusted_iou is not None
    # Every part is found again.
    for start, part in zip((0, 2, 5), parts, strict=True):
        kept = np.isin(np.arange(6), np.arange(start, start + part.images))
        again = joined.of_images(kept)
        np.testing.assert_array_equal(again.values, part.values)
        np.testing.assert_array_equal(again.image - start, part.image)
        np.testing.assert_array_equal(again.adjusted_iou, part.adjusted_iou)
        assert again.mask is not None
        np.testing.assert_array_equal(again.mask[kept], part.mask)
        assert (again.mask[~kept] == -1).all()


def test_joined_images_of_several_sizes_have_no_mask() -> None:
    joined = SegmentFeatures.concatenate([features(0), features(0, size=5)])
    assert joined.mask is None
    with pytest.raises(InputError, match="size"):
        joined.on_pixels(np.zeros(len(joined)))


@pytest.mark.parametrize(
    "parts",
    [[], [features(0), features(1, truth=False)], [features(0), features(1).without_gradients()]],
    ids=["none", "ground truth", "features"],
)
def test_what_differs_cannot_be_joined(parts: list[SegmentFeatures]) -> None:
    with pytest.raises(InputError, match="concatenate"):
        SegmentFeatures.concatenate(parts)


def test_on_pixels() -> None:
    given = features(0)
    assert given.mask is not None
    np.testing.assert_array_equal(given.on_pixels(given.prediction)[given.mask == 3], given.prediction[3])
    first = given.of_images([True, False])
    shown = first.on_pixels(first.size)
    assert np.isnan(shown[1]).all()
    np.testing.assert_array_equal(shown[0], given.size[given.mask[0]])
    with pytest.raises(InputError, match="expected"):
        given.on_pixels(np.zeros(len(given) + 1))


@pytest.mark.parametrize("keep", [[True], [0, 1], [[True, False]]])
def test_wrong_choices_of_images(keep: object) -> None:
    with pytest.raises(InputError, match="expected bool"):
        features(0).of_images(keep)  # type: ignore[arg-type]


def test_hashes_are_those_of_the_images_segments() -> None:
    one, other = features(0), features(1)
    joined = SegmentFeatures.concatenate([one, other, one])
    hashes = joined.image_hashes()
    assert hashes.tolist() == [*one.image_hashes(), *other.image_hashes(), *one.image_hashes()]
    assert len({*hashes.tolist()}) == 4


@pytest.mark.parametrize("where", ["mean_all", "variance_all"])
def test_images_that_differ_in_a_large_certain_segment_have_different_hashes(where: str) -> None:
    """The softmax of a small doubtful segment is a hundred times as large."""
    given = features(0, images=1)
    certain = given.size == given.size.max()
    given.values[certain] /= 100
    other = replace(given, values=given.values.copy())
    columns = [axis.source == "softmax" and axis.where == where for axis in given.axes]
    other.values[np.ix_(certain, columns)] *= 1.01
    assert given.image_hashes() != other.image_hashes()
    other.values[:] = given.values * (1 + 1e-7)
    assert given.image_hashes() == other.image_hashes()
