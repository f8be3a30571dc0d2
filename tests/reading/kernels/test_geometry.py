from typing import Any

import torch
import torch.nn.functional as F
from hypothesis import assume, given
from hypothesis import strategies as st

from gradmeter.reading.kernels.geometry import POINT, Geometry
from oracles.networks import samples


def pairs(low: int, high: int) -> st.SearchStrategy[tuple[int, int]]:
    return st.tuples(st.integers(low, high), st.integers(low, high))


@given(pairs(1, 3), pairs(1, 3), pairs(1, 2), pairs(0, 2), pairs(1, 9))
def test_windows_against_unfold(
    kernel: tuple[int, int],
    stride: tuple[int, int],
    dilation: tuple[int, int],
    padding: tuple[int, int],
    size: tuple[int, int],
) -> None:
    out = tuple(
        (side + 2 * pad - (taps - 1) * step - 1) // jump + 1
        for side, pad, taps, step, jump in zip(size, padding, kernel, dilation, stride, strict=True)
    )
    assume(min(out) > 0)
    activation = samples(2, 3, *size)
    windows = Geometry(kernel, stride, dilation, padding, groups=1).windows(activation, out)
    assert windows.shape == (2, 3, *out, *kernel)
    expected = F.unfold(activation, kernel, dilation, padding, stride)
    columns = windows.permute(0, 1, 4, 5, 2, 3).reshape(2, 3 * kernel[0] * kernel[1], out[0] * out[1])
    torch.testing.assert_close(columns, expected, rtol=0, atol=0)


@given(st.integers(1, 3), st.integers(1, 2), st.integers(0, 2), st.integers(1, 4))
def test_what_lies_behind_the_input_is_padded_as_far_as_windows_reach(
    stride: int, dilation: int, padding: int, more: int
) -> None:
    """The windows of a transposed convolution with output padding, which has more positions than fit into the input."""
    kernel, size = 3, 5
    count = (size + 2 * padding - 2 * dilation - 1) // stride + 1 + more
    activation = samples(2, 1, size)
    windows = Geometry((kernel,), (stride,), (dilation,), (padding,), groups=1).windows(activation, (count,))
    for position in range(count):
        for tap in range(kernel):
            place = position * stride + tap * dilation - padding
            expected = activation[:, 0, place] if 0 <= place < size else torch.zeros(2).double()
            assert torch.equal(windows[:, 0, position, tap], expected)


def test_windows_of_three_dimensions() -> None:
    activation = samples(2, 2, 4, 5, 6)
    geometry = Geometry((2, 3, 1), (1, 2, 3), (2, 1, 1), (1, 0, 0), groups=2)
    weight: Any = samples(3, 2, 2, 3, 1, seed=2)
    expected = F.conv3d(activation, weight, stride=(1, 2, 3), dilation=(2, 1, 1), padding=(1, 0, 0))
    windows = geometry.windows(activation, tuple(expected.shape[2:]))
    torch.testing.assert_close(torch.einsum("ncxyzabd,mcabd->nmxyz", windows, weight), expected)


def test_windows_that_need_no_padding_are_a_view() -> None:
    activation = samples(2, 3, 6, 6)
    windows = Geometry((3, 2), (2, 1), (1, 2), (0, 0), groups=1).windows(activation, (2, 4))
    assert windows.data_ptr() == activation.data_ptr()


def test_leftovers_of_the_stride_are_cut_off() -> None:
    activation = samples(1, 1, 8)
    windows = Geometry((2,), (3,), (1,), (0,), groups=1).windows(activation, (2,))
    torch.testing.assert_close(windows[0, 0], activation[0, 0, [[0, 1], [3, 4]]])


def test_taps() -> None:
    assert Geometry((3, 2, 4), (1,) * 3, (1,) * 3, (0,) * 3, groups=5).taps == 24


def test_a_point_is_its_own_window() -> None:
    activation = samples(2, 3, 5)
    assert POINT.taps == 1
    assert POINT.groups == 1
    torch.testing.assert_close(POINT.windows(activation, (5,)), activation.unsqueeze(3))
