from collections.abc import Callable

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.grad import conv1d_weight, conv2d_weight, conv3d_weight

from gradmeter.reading.kernels import portable
from gradmeter.reading.kernels.geometry import POINT, Geometry
from gradmeter.reading.statistics import PowerSums, statistics
from oracles.moments import assert_agree, eight
from oracles.networks import samples

EXACT = {"norms": 1e-12, "shapes": 1e-9}
WEIGHTS: dict[int, Callable[..., Tensor]] = {1: conv1d_weight, 2: conv2d_weight, 3: conv3d_weight}


def assert_sums(sums: PowerSums, gradients: Tensor, *, norms: float = 1e-12, shapes: float = 1e-9) -> None:
    assert sums.count == gradients[0].numel()
    assert_agree(statistics(sums), eight(gradients.double().numpy()), norms=norms, shapes=shapes)


# --- chunks


@pytest.mark.parametrize("chunk_bytes", [1, 3000, 10**9])
def test_chunks_do_not_show(chunk_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(portable, "_CHUNK_BYTES", chunk_bytes)
    values, chunk_sizes = samples(7, 5, 8), []

    def materialise(rows: slice) -> Tensor:
        chunk_sizes.append(len(values[rows]))
        return values[rows]

    assert_sums(portable.chunked(materialise, 7, bytes_per_sample=1000), values)
    assert sum(chunk_sizes) == 7
    assert max(chunk_sizes) == min(7, max(1, chunk_bytes // 1000))


@pytest.mark.parametrize("entries", [1, 7, 39, 40, 10**9])
def test_blocks_do_not_show(entries: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(portable, "_BLOCK_ENTRIES", entries)
    assert_sums(portable.reduce(samples(3, 5, 8)), samples(3, 5, 8))


@pytest.mark.parametrize("shape", [(), (1,), (40,), (2, 3, 4)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_reduce(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    values = samples(5, *shape).to(dtype)
    assert_sums(portable.reduce(values), values.reshape(5, -1))


def test_memory_of_a_reduction() -> None:
    """The entries, their float64 copy and its square."""
    assert portable.reduction_bytes(10, torch.zeros(1)) == 10 * (4 + 8 + 8)
    assert portable.reduction_bytes(10, torch.zeros(1).double()) == 10 * (8 + 8 + 8)


# --- weight gradients


@st.composite
def correlations(draw: st.DrawFn) -> tuple[Tensor, Tensor, Geometry]:
    """(delta, activation, geometry)"""
    dims, groups = draw(st.integers(1, 3)), draw(st.integers(1, 3))

    def each(low: int, high: int) -> tuple[int, ...]:
        return tuple(draw(st.integers(low, high)) for _ in range(dims))

    geometry = Geometry(each(1, 3), each(1, 3), each(1, 2), each(0, 2), groups)
    size = each(1, 7)
    out = tuple(
        (side + 2 * pad - (taps - 1) * step - 1) // stride + 1
        for side, pad, taps, step, stride in zip(
            size, geometry.padding, geometry.kernel, geometry.dilation, geometry.stride, strict=True
        )
    )
    assume(min(out) > 0)
    outputs, inputs = groups * draw(st.integers(1, 3)), groups * draw(st.integers(1, 3))
    activation = samples(3, inputs, *size, seed=2)
    if draw(st.booleans()):  # channels last
        activation = activation.movedim(1, -1).contiguous().movedim(-1, 1)
    return samples(3, outputs, *out), activation, geometry


@given(correlations())
def test_weight_gradients_against_torch(case: tuple[Tensor, Tensor, Geometry]) -> None:
    delta, activation, geometry = case
    shape = delta.shape[1], activation.shape[1] // geometry.groups, *geometry.kernel
    options = geometry.stride, geometry.padding, geometry.dilation, geometry.groups
    expected = torch.stack(
        [
            WEIGHTS[len(geometry.kernel)](activation[sample : sample + 1], shape, delta[sample : sample + 1], *options)
            for sample in range(3)
        ]
    )
    actual = portable.materialise(delta, activation, geometry)
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-12)
    assert_sums(portable.correlate(delta, activation, geometry), expected, norms=1e-11, shapes=1e-8)


@pytest.mark.parametrize("chunk_bytes", [1, 5000, 10**9])
def test_chunks_of_weight_gradients_do_not_show(chunk_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    delta, activation = samples(7, 4, 3, 3), samples(7, 2, 7, 6, seed=2)
    geometry = Geometry((3, 2), (2, 1), (1, 2), (0, 0), groups=2)
    whole = portable.materialise(delta, activation, geometry)
    monkeypatch.setattr(portable, "_CHUNK_BYTES", chunk_bytes)
    assert_sums(portable.correlate(delta, activation, geometry), whole)


def test_a_dense_layer_over_positions() -> None:
    delta, activation = samples(3, 4, 6), samples(3, 5, 6, seed=2)
    expected = torch.einsum("nmt,nkt->nmk", delta, activation)
    torch.testing.assert_close(portable.materialise(delta, activation, POINT), expected.unsqueeze(3))
    assert_sums(portable.correlate(delta, activation, POINT), expected)


@pytest.mark.parametrize("space", [(), (5,), (2, 3), (2, 2, 2)])
def test_channel_sums(space: tuple[int, ...]) -> None:
    delta, activation, mean = samples(3, 4, *space), samples(3, 4, *space, seed=2), samples(4, seed=3)
    products, sums = portable.channel_sums(delta, activation, mean)
    flat, centred = delta.reshape(3, 4, -1), activation.reshape(3, 4, -1) - mean[None, :, None]
    torch.testing.assert_close(products, torch.einsum("nct,nct->nc", flat, centred))
    torch.testing.assert_close(sums, flat.sum(2))
