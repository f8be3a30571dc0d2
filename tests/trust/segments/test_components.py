"""Connected components, their boundary and their contacts, compared with walks over pixels."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from gradmeter.trust.segments.components import Components
from trust.segments.loops import components, pixels_of

MAPS = st.tuples(st.integers(1, 7), st.integers(1, 7)).flatmap(
    lambda shape: arrays(np.int64, shape, elements=st.integers(-1, 2))
)


@given(MAPS)
def test_components_are_those_of_a_walk(classes: np.ndarray) -> None:
    found = Components.of(classes)
    pixels = pixels_of(found.mask)
    assert {*pixels.values()} == components(classes)
    assert [*range(len(found.sizes))] == sorted(pixels)
    for number, members in pixels.items():
        assert {int(classes[pixel]) for pixel in members} == {int(found.classes[number])}
        assert found.sizes[number] == len(members)
    assert (found.mask[classes < 0] == -1).all()


def test_corners_connect() -> None:
    found = Components.of(np.array([[0, 1, 5], [1, 0, 5]]))
    assert found.mask.tolist() == [[0, 1, 2], [1, 0, 2]]
    assert found.classes.tolist() == [0, 1, 5]


def test_a_map_of_no_class_has_no_components() -> None:
    found = Components.of(np.full((2, 3), -1))
    assert (found.mask == -1).all()
    assert not len(found.sizes)
    assert not len(found.classes)
