import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor

from gradmeter.reading.capture import OwnedRows, SampleAxis
from gradmeter.reading.capture.sample_axis import Scattered, candidate_axes, exclusive, growing_dimension, touched_by
from oracles.networks import samples

PLAIN = SampleAxis(0, 1, 1)


def first_axis(gradients: list[Tensor]) -> SampleAxis | None:
    """The first candidate."""
    touched = touched_by(gradients)
    assert touched is not None
    return next(candidate_axes(touched), None)


def indices(axis: SampleAxis, count: int, sample: int) -> list[int]:
    """The indices of a sample's entries along the dimension."""
    return [
        (before * count + sample) * axis.inner + after for before in range(axis.outer) for after in range(axis.inner)
    ]


def sent(shape: tuple[int, ...], axis: SampleAxis, count: int, dead: tuple[int, ...] = ()) -> list[Tensor]:
    """The gradients of an output of this shape for each sample's loss alone; zero for dead samples."""
    gradients = []
    for sample in range(count):
        gradient = torch.zeros(shape)
        if sample not in dead:
            gradient.index_fill_(axis.dim, torch.tensor(indices(axis, count, sample)), sample + 1.0)
        gradients.append(gradient)
    return gradients


@st.composite
def layouts(draw: st.DrawFn) -> tuple[tuple[int, ...], SampleAxis, int]:
    """(shape, axis, samples)"""
    sizes = st.lists(st.integers(1, 4), max_size=2).map(tuple)
    before, after, count = draw(sizes), draw(sizes), draw(st.integers(2, 4))
    axis = SampleAxis(len(before), draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    return (*before, axis.outer * count * axis.inner, *after), axis, count


@given(layouts())
def test_the_axis_is_found(layout: tuple[tuple[int, ...], SampleAxis, int]) -> None:
    shape, axis, count = layout
    assert first_axis(sent(shape, axis, count)) == axis


@given(layouts(), st.integers(0, 99))
def test_every_explanation_agrees_with_every_entry_that_was_touched(
    layout: tuple[tuple[int, ...], SampleAxis, int], seed: int
) -> None:
    """Where few entries are touched several axes may; the true one is always among them."""
    shape, axis, count = layout
    kept = torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < 0.2
    gradients = [gradient * kept for gradient in sent(shape, axis, count)]
    if (touched := touched_by(gradients)) is None:
        return
    axes = list(candidate_axes(touched))
    assert axis in axes
    assert axes == sorted(axes, key=lambda axis: (axis.dim, axis.outer))
    assert list(candidate_axes(touched, [axis.dim])) == [other for other in axes if other.dim == axis.dim]
    for agreed in axes:
        for sample, gradient in enumerate(gradients):
            rows = agreed.rows(gradient, count)
            assert not rows[[other for other in range(count) if other != sample]].any()


@given(layouts(), st.integers(0, 3), st.integers(0, 3))
def test_an_output_that_two_samples_touch_in_one_place_is_shared(
    layout: tuple[tuple[int, ...], SampleAxis, int], place: int, sample: int
) -> None:
    shape, axis, count = layout
    gradients = sent(shape, axis, count)
    entry = place % gradients[0].numel()
    owner = next(number for number, gradient in enumerate(gradients) if gradient.flatten()[entry])
    assume(sample % count != owner)
    gradients[sample % count].view(-1)[entry] = 1
    assert first_axis(gradients) is None
    touched = touched_by(gradients)
    assert touched is not None
    assert not exclusive(touched)


@pytest.mark.parametrize(
    ("shape", "axis"),
    [
        ((3, 5), PLAIN),
        ((3,), PLAIN),
        ((3, 3), PLAIN),
        ((3, 3), SampleAxis(1, 1, 1)),
        ((4, 3, 5), SampleAxis(1, 1, 1)),
        ((12, 5), SampleAxis(0, 1, 4)),
        ((12, 5), SampleAxis(0, 4, 1)),
        ((12, 5), SampleAxis(0, 2, 2)),
        ((2, 36), SampleAxis(1, 2, 6)),
        ((9, 9), SampleAxis(1, 3, 1)),
    ],
)
@pytest.mark.parametrize("dead", [(), (0,), (1,), (2,)])
def test_one_sample_without_a_gradient_hides_nothing(
    shape: tuple[int, ...], axis: SampleAxis, dead: tuple[int, ...]
) -> None:
    assert first_axis(sent(shape, axis, 3, dead)) == axis


def test_dimensions_from_the_left_come_first_and_unfolded_ones() -> None:
    diagonal = (torch.eye(3).unsqueeze(2) * torch.eye(3).unsqueeze(1)).bool()
    assert list(candidate_axes(diagonal)) == [PLAIN, SampleAxis(1, 1, 1)]
    assert list(candidate_axes(diagonal, [1])) == [SampleAxis(1, 1, 1)]
    # one entry of each of three folds is touched, so the side of the folds is ambiguous
    crossed = torch.eye(9)[::4].bool()
    assert list(candidate_axes(crossed)) == [SampleAxis(0, 1, 3), SampleAxis(0, 3, 1)]


def test_the_last_step_of_a_time_major_fold_may_deceive() -> None:
    """Two of three samples are dead, and the axis that comes first is not the true one."""
    gradients = [torch.zeros(6), torch.zeros(6), torch.zeros(6)]
    gradients[2][5] = 1
    touched = touched_by(gradients)
    assert touched is not None
    assert list(candidate_axes(touched)) == [SampleAxis(0, 1, 2), SampleAxis(0, 2, 1)]


def test_what_is_touched() -> None:
    touched = touched_by([None, torch.tensor([0.0, -2.0]), torch.tensor([0.0, 0.0])])
    assert touched is not None
    assert touched.tolist() == [[False, False], [False, True], [False, False]]
    assert touched_by([None, None]) is None
    assert touched_by([None, torch.zeros(2)]) is None


@pytest.mark.parametrize(
    ("shape", "smaller", "dim"),
    [
        ((3, 5), (1, 5), 0),
        ((5, 12), (5, 8), None),
        ((5, 12), (5, 4), 1),
        ((3,), (1,), 0),
        ((), (), None),
        ((5, 3), (5, 3), None),
        ((3, 3), (1, 1), None),
        ((3, 5), (1, 5, 1), None),
        ((4, 5), (2, 5), None),
    ],
)
def test_the_dimension_that_grows_with_the_batch(
    shape: tuple[int, ...], smaller: tuple[int, ...], dim: int | None
) -> None:
    """From one sample to three."""
    assert growing_dimension(shape, 3, smaller, 1) == dim


def test_growing_from_two_to_three() -> None:
    assert growing_dimension((5, 12), 3, (5, 8), 2) == 1
    assert growing_dimension((5, 12), 3, (5, 6), 2) is None


@pytest.mark.parametrize("shape", [(), (5,), (4, 5), (2, 2)])
def test_an_output_without_room_for_the_samples_is_shared(shape: tuple[int, ...]) -> None:
    assert first_axis([torch.ones(shape), torch.zeros(shape), torch.zeros(shape)]) is None


@given(layouts())
def test_rows_against_indices_written_out(layout: tuple[tuple[int, ...], SampleAxis, int]) -> None:
    shape, axis, count = layout
    tensor = samples(*shape)
    rows = axis.rows(tensor, count)
    assert len(rows) == count
    for sample in range(count):
        expected = tensor.index_select(axis.dim, torch.tensor(indices(axis, count, sample)))
        if axis.outer == axis.inner == 1:
            expected = expected.squeeze(axis.dim)
        else:
            expected = expected.unflatten(axis.dim, (axis.outer, axis.inner))
        assert torch.equal(rows[sample], expected)


@given(layouts())
def test_rows_are_a_view(layout: tuple[tuple[int, ...], SampleAxis, int]) -> None:
    shape, axis, count = layout
    tensor = torch.ones(shape)
    axis.rows(tensor, count)[1].zero_()
    assert torch.equal(tensor, torch.ones(shape).index_fill(axis.dim, torch.tensor(indices(axis, count, 1)), 0))


@given(layouts(), st.integers(0, 1))
def test_only_one_sample(layout: tuple[tuple[int, ...], SampleAxis, int], sample: int) -> None:
    shape, axis, count = layout
    tensor = samples(*shape)
    kept = torch.zeros(shape).index_fill(axis.dim, torch.tensor(indices(axis, count, sample)), 1)
    before = tensor.clone()
    assert torch.equal(axis.only(tensor, sample, count), tensor * kept)
    scattered = Scattered(
        sum((gradient != 0) * (owner + 1) for owner, gradient in enumerate(sent(shape, axis, count))) - 1
    )
    assert torch.equal(scattered.only(tensor, sample, count), tensor * kept)
    assert torch.equal(tensor, before)


@pytest.mark.parametrize(
    ("axis", "shape", "adapted"),
    [
        ((0, 1, 1), (4, 7), (0, 1, 1)),
        ((0, 1, 1), (8, 7), None),  # before or after the samples?
        ((1, 1, 1), (5, 4), (1, 1, 1)),
        ((1, 1, 1), (4,), None),
        ((0, 1, 3), (12,), (0, 1, 3)),
        ((0, 1, 3), (20, 2), (0, 1, 5)),
        ((0, 1, 3), (4,), (0, 1, 1)),
        ((0, 1, 3), (13,), None),
        ((0, 3, 1), (12,), (0, 3, 1)),
        ((0, 3, 1), (20, 2), (0, 5, 1)),
        ((1, 2, 3), (5, 24, 7), (1, 2, 3)),
        ((1, 2, 3), (5, 48), None),
        ((1, 2, 2), (5, 36), None),
    ],
)
def test_adapted_to_other_sizes(
    axis: tuple[int, int, int], shape: tuple[int, ...], adapted: tuple[int, int, int] | None
) -> None:
    """For four samples."""
    assert SampleAxis(*axis).adapted(shape, 4) == (None if adapted is None else SampleAxis(*adapted))


@given(layouts(), st.integers(1, 5))
def test_adapted_to_other_numbers_of_samples(layout: tuple[tuple[int, ...], SampleAxis, int], count: int) -> None:
    shape, axis, _ = layout
    assert axis.adapted((*shape[: axis.dim], axis.outer * count * axis.inner), count) == axis


def test_what_is_scattered_cannot_be_adapted() -> None:
    for scattered in (Scattered(torch.ones(7, 2)), OwnedRows(0, torch.ones(7), 4)):
        assert scattered.adapted((7, 2), 4) is None


@given(layouts(), st.integers(0, 99))
def test_owned_rows_against_an_axis(layout: tuple[tuple[int, ...], SampleAxis, int], seed: int) -> None:
    """Shuffled rows equal those of the axis, up to the order of positions and padding with zeros."""
    shape, axis, count = layout
    order = torch.randperm(shape[axis.dim], generator=torch.Generator().manual_seed(seed))
    owners = axis.owners_along(shape[axis.dim], count)
    tensor = samples(*shape)
    rows = OwnedRows(axis.dim, owners[order], count)
    mixed = tensor.index_select(axis.dim, order)
    expected = axis.positions(tensor, count)
    actual = rows.positions(mixed, count)
    assert actual.shape == expected.shape
    dim = axis.dim + 1
    torch.testing.assert_close(actual.sort(dim).values, expected.sort(dim).values)
    for sample in range(count):
        alone = rows.only(mixed, sample, count).index_select(axis.dim, order.argsort())
        assert torch.equal(alone, axis.only(tensor, sample, count))
    # rows without owner
    rows = OwnedRows(axis.dim, torch.where(owners == 0, -1, owners)[order], count)
    assert not rows.positions(mixed, count)[0].any()
    torch.testing.assert_close(rows.positions(mixed, count)[1:].sort(dim).values, expected[1:].sort(dim).values)


def test_plain() -> None:
    assert SampleAxis(0, 1, 1).plain
    assert not any(SampleAxis(*other).plain for other in [(1, 1, 1), (0, 2, 1), (0, 1, 2)])
