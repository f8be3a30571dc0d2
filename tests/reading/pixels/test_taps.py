"""The matrices of a layer's kernel reproduce its output."""

from typing import Any

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from gradmeter.reading.pixels.bands import Band
from gradmeter.reading.pixels.taps import CHANNELS_LAST, has_taps, taps_of


def output_of(layer: Any, given_input: Tensor) -> Tensor:
    """The output of a convolution without bias from its taps."""
    expected = layer(given_input)
    taps = taps_of(layer, tuple(given_input.shape), tuple(expected.shape))
    assert taps is not None
    total = torch.zeros_like(expected)
    height, width = expected.shape[2:]
    for i, down in enumerate(taps.down(Band.identity(height))):
        for j, across in enumerate(taps.across(Band.identity(width))):
            seen = (down.dense().to(given_input) @ given_input @ across.dense().to(given_input).T).chunk(
                taps.groups, dim=1
            )
            if isinstance(layer, nn.ConvTranspose2d):
                weights = [part.transpose(0, 1) for part in layer.weight[..., i, j].chunk(taps.groups)]
            else:
                weights = [*layer.weight[..., i, j].chunk(taps.groups)]
            total += torch.cat(
                [torch.einsum("mc,nchw->nmhw", *pair) for pair in zip(weights, seen, strict=True)], dim=1
            )
    return total


@given(
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    dilation=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    padding=st.one_of(st.tuples(st.integers(0, 3), st.integers(0, 3)), st.sampled_from(["same", "valid"])),
    mode=st.sampled_from(["zeros", "reflect", "replicate", "circular"]),
    groups=st.sampled_from([1, 2]),
)
def test_convolutions(kernel: Any, stride: Any, dilation: Any, padding: Any, mode: str, groups: int) -> None:
    if padding == "same":
        stride = 1
        # PyTorch warns that it copies the input for even kernels.
        kernel = tuple(length | 1 for length in kernel)
    layer = nn.Conv2d(
        4, 6, kernel, stride, padding, dilation, groups, bias=False, padding_mode=mode, dtype=torch.float64
    )
    images = torch.randn(1, 4, 9, 8, dtype=torch.float64)
    torch.testing.assert_close(output_of(layer, images), layer(images))


@given(
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    stride=st.tuples(st.integers(2, 3), st.integers(2, 3)),
    dilation=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    padding=st.integers(0, 2),
    more=st.integers(0, 1),
    groups=st.sampled_from([1, 2]),
)
def test_transposed_convolutions(kernel: Any, stride: Any, dilation: Any, padding: int, more: int, groups: int) -> None:
    layer = nn.ConvTranspose2d(
        4, 6, kernel, stride, padding, more, groups, bias=False, dilation=dilation, dtype=torch.float64
    )
    images = torch.randn(1, 4, 5, 6, dtype=torch.float64)
    torch.testing.assert_close(output_of(layer, images), layer(images))


def test_a_dense_layer_has_one_tap() -> None:
    taps = taps_of(nn.Linear(3, 2), (1, 4, 5, 3), (1, 4, 5, 2))
    assert taps is not None
    assert (len(taps.rows), len(taps.columns), taps.axes) == (1, 1, CHANNELS_LAST)
    assert (taps.rows[0].tolist(), taps.columns[0].tolist()) == ([0, 1, 2, 3], [0, 1, 2, 3, 4])


class _Standardised(nn.Conv2d):
    """A convolution with a forward pass of its own."""

    def forward(self, images: Tensor) -> Tensor:
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        return self._conv_forward(images, weight, self.bias)


def test_layers_without_taps() -> None:
    assert has_taps(nn.Conv2d(1, 1, 1))
    assert not has_taps(_Standardised(1, 1, 1))
    assert not has_taps(nn.BatchNorm2d(3))
    assert taps_of(nn.Linear(3, 2), (1, 4, 3), (1, 4, 2)) is None
