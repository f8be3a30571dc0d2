from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from oracles.networks import randomise, samples
from reading.layers.measured import DIGITS, Use, built, check

CONVOLUTIONS: dict[int, type[nn.Module]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED: dict[int, type[nn.Module]] = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}


@st.composite
def geometries(draw: st.DrawFn) -> tuple[int, dict[str, Any], tuple[int, ...]]:
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


def compare(module: nn.Module, channels: int, size: tuple[int, ...], channels_last: bool) -> None:
    randomise(module.double())
    x = samples(2, channels, *size)
    if channels_last:
        x = x.movedim(1, -1).contiguous().movedim(-1, 1)
    forms = check(module, x, norms=1e-10, shapes=1e-8)
    assert forms == {"weight": ["Correlation"], **({"bias": ["Totals"]} if module.bias is not None else {})}


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@settings(max_examples=100)
@given(geometries(), st.booleans())
def test_any_geometry(geometry: tuple[int, dict[str, Any], tuple[int, ...]], channels_last: bool) -> None:
    dims, options, size = geometry
    module = CONVOLUTIONS[dims](**options)
    amounts: Any = module._reversed_padding_repeated_twice
    amounts = amounts[::-2]
    # PyTorch's limits: reflected or circular padding must not exceed the input
    assume(options["padding_mode"] == "zeros" or all(pad < side for pad, side in zip(amounts, size, strict=True)))
    compare(module, options["in_channels"], size, channels_last)


@settings(max_examples=60)
@given(geometries(), st.integers(0, 2), st.booleans())
def test_any_geometry_transposed(
    geometry: tuple[int, dict[str, Any], tuple[int, ...]], output_padding: int, channels_last: bool
) -> None:
    dims, options, size = geometry
    options["padding_mode"] = "zeros"
    if isinstance(options["padding"], str):
        options["padding"] = (0,) * dims
    more = [max(stride, dilation) - 1 for stride, dilation in zip(options["stride"], options["dilation"], strict=True)]
    options["output_padding"] = tuple(min(output_padding, most) for most in more)
    module = TRANSPOSED[dims](**options)
    with torch.no_grad():
        try:
            out = module(torch.zeros(1, options["in_channels"], *size))
        except RuntimeError:
            out = None
    assume(out is not None and out.numel() > 0)
    compare(module, options["in_channels"], size, channels_last)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("make", [nn.Conv2d, nn.ConvTranspose2d])
@pytest.mark.parametrize("channels", [1, 16])
def test_float32_keeps_its_digits(
    channels: int, make: Callable[..., nn.Module], memory_format: torch.memory_format
) -> None:
    module = randomise(make(channels, 16, 3, padding=1))
    x = samples(4, channels, 28, 28).float().contiguous(memory_format=memory_format)
    check(module, x, **DIGITS[torch.float32])


IMAGES, FRAMES = samples(3, 2, 5, 6), samples(3, 4, 2, 5, 6)


def time_major(m: Any, x: Tensor) -> Tensor:
    folded = F.conv2d(x.transpose(0, 1).flatten(0, 1), m.w, m.b, stride=2, padding=1)
    out: Tensor = folded.unflatten(0, (x.shape[1], -1)).transpose(0, 1)
    return out


def both_sides(m: Any, x: Tensor) -> Tensor:
    folded = F.conv2d(x.unflatten(1, (2, 2)).transpose(0, 1).flatten(0, 2), m.w, m.b, dilation=(2, 1), groups=2)
    out: Tensor = folded.unflatten(0, (2, -1, 2)).transpose(0, 1)
    return out


USES: dict[str, Use] = {
    "frames of a sample": (
        lambda m, x: F.conv2d(x.flatten(0, 1), m.w, m.b).unflatten(0, (-1, 4)),
        FRAMES,
        {"w": (3, 2, 2, 3), "b": (3,)},
    ),
    "time-major": (time_major, FRAMES, {"w": (3, 2, 3, 3), "b": (3,)}),
    "folded on both sides": (both_sides, FRAMES, {"w": (4, 1, 2, 2), "b": (4,)}),
    "transposed, time-major": (
        lambda m, x: (
            F.conv_transpose2d(x.transpose(0, 1).flatten(0, 1), m.w, m.b, stride=2, groups=2)
            .unflatten(0, (4, -1))
            .transpose(0, 1)
        ),
        FRAMES,
        {"w": (2, 3, 2, 3), "b": (6,)},
    ),
    "one number for all dimensions": (
        lambda m, x: torch.conv2d(x, m.w, None, stride=(2,), padding=(1,), dilation=(1,)),
        IMAGES,
        {"w": (3, 2, 3, 3)},
    ),
    "same by name": (lambda m, x: F.conv2d(x, m.w, padding="same"), IMAGES, {"w": (3, 2, 3, 3)}),
    "valid by name": (lambda m, x: F.conv2d(x, m.w, padding="valid"), IMAGES, {"w": (3, 2, 3, 3)}),
    "weight alone": (lambda m, x: F.conv1d(x[:, 0], m.w), IMAGES, {"w": (3, 5, 2)}),
    "bias alone": (lambda m, x: F.conv1d(x[:, 0], x.new_ones(3, 5, 2), m.b), IMAGES, {"b": (3,)}),
}


@pytest.mark.parametrize("use", USES)
def test_uses_with_a_rule(use: str, device: torch.device) -> None:
    forms = check(*built(USES[use]), device=device)
    assert forms == {name: ["Totals" if name == "b" else "Correlation"] for name in USES[use][2]}


def test_samples_along_space_are_left_to_autograd() -> None:
    """The batch as one long image, which the stride splits into the samples."""
    use: Use = (
        lambda m, x: F.conv1d(x.transpose(0, 1).flatten(1).unsqueeze(0), m.w, m.b, stride=6)[0].t(),
        samples(3, 2, 6),
        {"w": (4, 2, 6), "b": (4,)},
    )
    assert check(*built(use)) == {"w": ["Masked"], "b": ["Masked"]}


def test_gradient_of_the_output_that_is_an_expanded_view() -> None:
    use: Use = (lambda m, x: F.conv1d(x, m.w, m.b).sum(2), samples(2, 2, 9), {"w": (3, 2, 3), "b": (3,)})
    check(*built(use))
