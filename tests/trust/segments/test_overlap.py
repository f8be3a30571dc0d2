"""The adjusted IoU: by hand, and compared with sets of pixels."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from gradmeter.trust.segments.components import Components
from gradmeter.trust.segments.overlap import adjusted_iou
from trust.segments import loops

PAIRS = st.tuples(st.integers(1, 6), st.integers(1, 6)).flatmap(
    lambda shape: st.tuples(
        arrays(np.int64, shape, elements=st.integers(0, 2)), arrays(np.int64, shape, elements=st.integers(0, 3))
    )
)


@given(PAIRS, st.sampled_from([None, 0, 3, 255]))
def test_it_is_that_of_sets_of_pixels(maps: tuple[np.ndarray, np.ndarray], ignore: int | None) -> None:
    classes, truth = maps
    found = Components.of(classes)
    valid = np.ones(truth.shape, bool) if ignore is None else truth != ignore
    given = adjusted_iou(found, truth, valid)
    expected = [
        loops.adjusted_iou(pixels, classes, truth, ignore) for _, pixels in sorted(loops.pixels_of(found.mask).items())
    ]
    np.testing.assert_array_equal(given, expected)


def iou(classes: list[list[int]], truth: list[list[int]], ignore: int = 9) -> list[float]:
    found, array = Components.of(np.array(classes)), np.array(truth)
    return adjusted_iou(found, array, array != ignore).tolist()


def test_by_hand() -> None:
    # One object of class 1 is covered by two segments, of 2 and of 1 pixels; one of its 5 pixels is not covered.
    classes = [[1, 1, 0, 1, 0, 0]]
    truth = [[1, 1, 1, 1, 0, 0]]
    # The segment of 2 pixels: 2 / (2 + 1), as the pixel of the other one is not missing. Its IoU would be 2 / 4.
    assert iou(classes, truth) == pytest.approx([0, 2 / 2, 2 / 3, 1 / 2])


def test_only_objects_that_a_segment_hits_count() -> None:
    # The second object of class 1 is missed; no segment of class 1 pays for it.
    assert iou([[1, 1, 0, 0, 0]], [[1, 1, 0, 1, 1]]) == pytest.approx([1 / 3, 1])


def test_ignored_pixels_do_not_count() -> None:
    assert iou([[1, 1, 1, 0]], [[1, 9, 0, 9]]) == pytest.approx([np.nan, 1 / 2], nan_ok=True)
