"""Paths from a layer's output to the logits, as matrices."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from gradmeter.reading.pixels.paths import CHANNELS_FIRST, CHANNELS_LAST, LinearPaths, Path

CALL = ("head", 0)


def followed(
    output: Tensor, change: Callable[[Tensor], Tensor], axes: str = CHANNELS_FIRST
) -> tuple[Tensor, Path | None]:
    """What an operation returns, and the path that was followed to it."""
    paths = LinearPaths()
    with paths:
        paths.begin(CALL, output, axes)
        result = change(output)
    return result, paths.to(result).get(CALL)


@pytest.mark.parametrize(
    "change",
    [
        lambda z: z,
        lambda z: F.interpolate(z, size=(7, 3), mode="bilinear"),
        lambda z: F.interpolate(z, None, (1.5, 2.0), "nearest"),
        lambda z: F.interpolate(F.interpolate(z, scale_factor=2), size=(3, 5), mode="area"),
        lambda z: z[:, :, 1:, ::2],
        lambda z: z[..., 1:-1, :],
        lambda z: z[:],
        lambda z: F.pad(z, (1, 2)),
        lambda z: F.pad(z, (1, -1, 0, 3)),
        lambda z: 3 * z / torch.tensor(2.0),
        lambda z: z / torch.nn.Parameter(torch.tensor(1.5)),
        lambda z: F.dropout(z, 0.5, training=False).to(torch.float32).contiguous(),
        lambda z: z.clone().mul_(2).div_(3),
        lambda z: z.permute(0, 2, 3, 1)[:, 1:].permute(0, 3, 1, 2),
    ],
)
def test_what_is_recognised_is_what_happens(change: Callable[[Tensor], Tensor]) -> None:
    output = torch.randn(2, 3, 4, 5)
    result, path = followed(output.clone(), change)
    assert path is not None
    assert path.alone
    expected = path.factor * (path.rows.dense().float() @ output @ path.columns.dense().float().T)
    torch.testing.assert_close(result, expected)
    y, x = torch.tensor([0, 1]), torch.tensor([1, 0])
    torch.testing.assert_close(path.at(y, x, output), result[:, :, y, x])


@pytest.mark.parametrize(
    "change",
    [
        torch.relu,
        lambda z: torch.relu_(z),
        lambda z: z * z,
        lambda z: z * torch.ones(3, 1, 1),
        lambda z: z[:, 1:],
        lambda z: z[0:1],
        lambda z: z[:, :, [0, 1]],
        lambda z: z[:, :, None][:, :, 0],
        lambda z: F.pad(z, (1, 1, 1, 1), mode="reflect"),
        lambda z: F.pad(z, (1, 1), value=2.0),
        lambda z: F.pad(z, (0, 0, 0, 0, 0, 1)),
        lambda z: z + z,
        lambda z: torch.zeros_like(z).add_(z, alpha=2),
        lambda z: z.long(),
        lambda z: z.permute(0, 1, 3, 2),
        lambda z: torch.cat([z, z], dim=1),
        lambda z: F.dropout(z, 0.5),
        lambda z: z.flip(3),
    ],
)
def test_what_is_not_recognised(change: Callable[[Tensor], Tensor]) -> None:
    _, path = followed(torch.randn(2, 3, 4, 4), change)
    assert path is None


def test_a_tensor_changed_in_place_is_not_followed_further() -> None:
    def change(z: Tensor) -> Tensor:
        z.exp_()
        return z[:, :, 1:]

    assert followed(torch.randn(1, 2, 3, 3), change)[1] is None


def test_channels_last() -> None:
    output = torch.randn(2, 4, 5, 3)
    result, path = followed(output, lambda z: z.permute(0, 3, 1, 2)[:, :, 1:], CHANNELS_LAST)
    assert path is not None
    y, x = torch.tensor([0, 2]), torch.tensor([1, 0])
    torch.testing.assert_close(path.at(y, x, output), result[:, :, y, x])
    # The logits' axes must be in order.
    assert followed(output, lambda z: z, CHANNELS_LAST)[1] is None


def test_sums_and_differences_of_two_layers() -> None:
    low, high = torch.randn(1, 2, 3, 3), torch.randn(1, 2, 3, 3)
    paths = LinearPaths()
    with paths:
        paths.begin(("low", 0), low, CHANNELS_FIRST)
        paths.begin(("high", 0), high, CHANNELS_FIRST)
        both, shifted = low - high, low - torch.ones(3)
    found = paths.to(both)
    assert {call: path.factor for call, path in found.items()} == {("low", 0): 1.0, ("high", 0): -1.0}
    assert all(path.alone for path in found.values())
    (path,) = paths.to(shifted).values()
    assert not path.alone


def test_the_path_of_a_large_map_takes_little_memory() -> None:
    """As matrices, those of 3,000 x 4,000 pixels would take 200 MB."""
    output = torch.zeros(1).expand(1, 1, 3000, 4000)
    _, path = followed(output, lambda z: z[..., 1:])
    assert path is not None
    assert path.rows.weights.shape == (3000, 1)
    assert path.columns.weights.shape == (3999, 1)
