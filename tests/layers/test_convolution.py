import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from gradmeter.kernels import power_sums
from gradmeter.layers.convolution import convolution
from gradmeter.statistics import statistics
from oracles.gradients import per_sample
from oracles.moments import assert_agree, eight
from oracles.networks import randomise, samples

CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}


def check(module: nn.Module, x: Tensor, *, norms: float, shapes: float) -> None:
    delta = samples(*module(x).shape, seed=3).to(x.dtype)
    expected = per_sample(module, x, delta)
    gradients = convolution(module, x, delta)
    assert gradients.keys() == expected.keys()
    for name, gradient in gradients.items():
        found = gradient.materialise(slice(0, len(x)))
        assert found.shape == expected[name].shape
        size = np.abs(expected[name]).max()
        np.testing.assert_allclose(found.numpy(), expected[name], rtol=0, atol=max(norms, 1e-12) * size)
        assert_agree(statistics(power_sums([gradient])), eight(expected[name]), norms=norms, shapes=shapes)


@st.composite
def geometries(draw: st.DrawFn) -> tuple[int, dict[str, object], tuple[int, ...]]:
    dims = draw(st.integers(1, 3))
    groups = draw(st.sampled_from([1, 2, 3]))

    def each(low: int, high: int) -> tuple[int, ...]:
        return tuple(draw(st.integers(low, high)) for _ in range(dims))

    kernel, dilation = each(1, 3), each(1, 2)
    reach = [(size - 1) * step + 1 for size, step in zip(kernel, dilation, strict=True)]
    mode = draw(st.sampled_from(["zeros", "reflect", "replicate", "circular"]))
    stride, padding = each(1, 3), each(0, 2)
    if draw(st.booleans()):
        stride, padding = (1,) * dims, draw(st.sampled_from(["same", "valid"]))
    options = {
        "in_channels": groups * draw(st.integers(1, 2)),
        "out_channels": groups * draw(st.integers(1, 2)),
        "kernel_size": kernel,
        "stride": stride,
        "padding": padding,
        "dilation": dilation,
        "groups": groups,
        "bias": draw(st.booleans()),
        "padding_mode": mode,
    }
    return dims, options, tuple(span + draw(st.integers(0, 4)) for span in reach)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@settings(max_examples=120)
@given(geometries(), st.booleans())
def test_any_geometry(geometry: tuple[int, dict[str, object], tuple[int, ...]], channels_last: bool) -> None:
    dims, options, size = geometry
    module = randomise(CONVOLUTIONS[dims](**options).double())
    amounts = module._reversed_padding_repeated_twice[::-2]
    # PyTorch's own limits: a reflection or a turn must not reach beyond the input
    assume(options["padding_mode"] == "zeros" or all(pad < side for pad, side in zip(amounts, size, strict=True)))
    x = samples(2, options["in_channels"], *size)
    if channels_last:
        x = x.movedim(1, -1).contiguous().movedim(-1, 1)
    check(module, x, norms=1e-10, shapes=1e-8)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("channels", [1, 16])
def test_float32_keeps_its_digits(channels: int, memory_format: torch.memory_format) -> None:
    module = randomise(nn.Conv2d(channels, 16, 3, padding=1))
    x = samples(4, channels, 28, 28).float().contiguous(memory_format=memory_format)
    check(module, x, norms=1e-6, shapes=1e-5)


def test_gradient_of_the_output_that_is_an_expanded_view() -> None:
    module = randomise(nn.Conv1d(2, 3, 3).double())
    x = samples(2, 2, 9)
    delta = samples(2, 3, 1, seed=3).expand(2, 3, 7)
    expected = per_sample(module, x, delta)
    for name, gradient in convolution(module, x, delta).items():
        torch.testing.assert_close(gradient.materialise(slice(0, 2)), torch.from_numpy(expected[name]))
