"""Each kind of synthetic unknowns against its definition."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter1d
from torch import Generator, Tensor

from gradmeter.trust.synthetic import KINDS, register_unknown, synthetic_unknowns

N = 200
LABELS = torch.arange(N) % 5


def images(*shape: int) -> Tensor:
    return torch.rand(N, *shape, generator=Generator().manual_seed(0), dtype=torch.float64)


def of_kind(kind: str, known: Tensor, others: Tensor | None = None) -> Tensor:
    """Make unknowns of a kind from images in [0, 1] and partners."""
    return KINDS[kind](known, known.flip(0) if others is None else others, Generator().manual_seed(3))


def test_blend() -> None:
    """All pixels of an image have the same weight."""
    known, others = images(2, 6, 6), images(2, 6, 6).flip(0)
    weight = (of_kind("blend", known, others) - others) / (known - others)
    weight = weight.flatten(1)
    torch.testing.assert_close(weight, weight[:, :1].expand_as(weight), rtol=0, atol=1e-6)
    assert 0.35 <= weight.min() < 0.4
    assert 0.6 < weight.max() <= 0.65


def test_overlay() -> None:
    """Bright lines of both images remain on a dark background."""
    rows, columns = torch.zeros(2, 1, 1, 9, 9).unbind(0)
    rows[..., 4, :], columns[..., 4] = 0.8, 0.9
    both = of_kind("overlay", rows, columns)
    assert (both[..., 4, :4] == 0.8).all()
    assert (both[..., 4] == 0.9).all()
    assert both.sum().item() == pytest.approx(8 * 0.8 + 9 * 0.9)


def test_halves() -> None:
    known, others = torch.zeros(N, 1, 6, 9), torch.ones(N, 1, 6, 9)
    upper, left = others.clone(), others.clone()
    upper[:, :, :3], left[..., :4] = 0, 0
    unknowns = of_kind("halves", known, others)
    kinds = [torch.equal(unknown, upper[0]) * 1 + torch.equal(unknown, left[0]) * 2 for unknown in unknowns]
    assert {*kinds} == {1, 2}
    assert 60 < kinds.count(1) < 140


def test_inversion() -> None:
    torch.testing.assert_close(of_kind("inversion", images(1, 3, 3)), 1 - images(1, 3, 3))


def pieces(image: Tensor, cells: int) -> list[tuple[float, ...]]:
    height, width = (size // cells for size in image.shape[1:])
    return sorted(
        tuple(image[:, row * height : (row + 1) * height, column * width : (column + 1) * width].flatten().tolist())
        for row in range(cells)
        for column in range(cells)
    )


@pytest.mark.parametrize(("kind", "cells"), [("shuffled quarters", [2]), ("permuted patches", [4, 7])])
def test_patches_are_permuted(kind: str, cells: list[int]) -> None:
    """The patches are the same but in other places; the remainder at the border is unchanged."""
    known = images(2, 17, 29)
    unknowns = of_kind(kind, known)
    for part, count in zip(
        zip(known.tensor_split(len(cells)), unknowns.tensor_split(len(cells)), strict=True), cells, strict=True
    ):
        for before, after in zip(*part, strict=True):
            assert pieces(before, count) == pieces(after, count)
            assert not torch.equal(before, after)
            height, width = 17 // count * count, 29 // count * count
            assert torch.equal(before[:, height:], after[:, height:])
            assert torch.equal(before[..., width:], after[..., width:])


def test_quarters_are_not_changed_themselves() -> None:
    known = torch.arange(4.0).view(1, 1, 2, 2).repeat_interleave(3, 2).repeat_interleave(3, 3).expand(N, 1, 6, 6)
    unknowns = of_kind("shuffled quarters", known)
    corners = unknowns[:, 0, ::3, ::3]
    assert torch.equal(unknowns, corners.repeat_interleave(3, 1).repeat_interleave(3, 2).unsqueeze(1))
    assert len({tuple(corner.flatten().tolist()) for corner in corners}) > 15


def test_rotation() -> None:
    """A rotation by 45 to 315 degrees, with a reflection of half the images, keeps the centre and distances from it."""
    known = torch.zeros(N, 1, 41, 41)
    known[:, :, 18:23, 18:23] = 0.5
    known[:, :, 18:23, 32:37] = 1
    unknowns = of_kind("rotation", known)
    torch.testing.assert_close(unknowns[:, 0, 20, 20], torch.full((N,), 0.5), rtol=0.02, atol=0)
    y, x = torch.meshgrid(torch.arange(41.0) - 20, torch.arange(41.0) - 20, indexing="ij")
    outer = (unknowns * ((y**2 + x**2).sqrt() > 8)).squeeze(1)
    cx, cy = ((outer * axis).sum((1, 2)) / outer.sum((1, 2)) for axis in (x, y))
    torch.testing.assert_close((cx**2 + cy**2).sqrt(), torch.full((N,), 14.0), rtol=0.05, atol=0)
    # Angle from the original position: at least 45 degrees, or, for mirrored images, at most 135 degrees.
    angle = torch.atan2(cy, cx).abs().rad2deg()
    mirrored = angle < 44
    assert angle.max() > 170
    assert 0 < mirrored.sum() < N / 2


def test_affine_and_elastic_keep_colours() -> None:
    """Distortions interpolate: they add no values outside the range of the image."""
    for kind in ("affine distortion", "elastic distortion", "rotation"):
        known = images(1, 20, 30) * 0.5 + 0.25
        unknowns = of_kind(kind, known)
        assert unknowns.min() >= known.min()
        assert unknowns.max() <= known.max()
        flat = torch.full((N, 1, 9, 9), 0.3)
        torch.testing.assert_close(of_kind(kind, flat), flat)


def test_blur() -> None:
    """Blurred images are those of SciPy for one of four widths, with kernels of three standard deviations."""
    known = images(1, 40, 50)
    unknowns = of_kind("blur", known)
    which = []
    for before, after in zip(known[:, 0].numpy(), unknowns[:, 0].numpy(), strict=True):
        errors = []
        for share in (0.08, 0.11, 0.15, 0.2):
            width = share * 40
            radius = [min(int(np.ceil(3 * width)), size - 1) for size in before.shape]
            expected = before
            for axis in (0, 1):
                expected = gaussian_filter1d(expected, width, axis, mode="nearest", radius=radius[axis])
            errors.append(np.abs(expected - after).max())
        which.append(int(np.argmin(errors)))
        assert min(errors) < 1e-12
    assert {*which} == {0, 1, 2, 3}


def test_uniform_noise() -> None:
    unknowns = of_kind("uniform noise", images(1, 12, 12)).flatten().numpy()
    assert 0 <= unknowns.min() < 0.001
    assert 0.999 < unknowns.max() <= 1
    assert np.histogram(unknowns, 10, (0, 1))[0] / len(unknowns) == pytest.approx(0.1, abs=0.01)


def test_added_noise() -> None:
    known = images(1, 28, 28)
    deviation = (of_kind("added noise", known) - known).flatten(1).std(1)
    assert 0.28 < deviation.min() < 0.35
    assert 0.9 < deviation.max() < 1.08


def test_textures_are_smooth() -> None:
    """Neighbouring pixels are similar, distant ones are not; binary textures have two values in varying shares."""
    known = images(2, 32, 32)
    grey, binary = of_kind("grey texture", known), of_kind("binary texture", known)
    assert 0 < grey.min() < 0.1
    assert 0.9 < grey.max() < 1
    step, all_over = grey.diff(dim=3).abs().mean(), (grey[..., :16] - grey[..., 16:]).abs().mean()
    assert step < all_over / 3
    assert {*binary.flatten().tolist()} == {0.0, 1.0}
    shares = binary.flatten(1).mean(1)
    assert shares.min() < 0.2
    assert shares.max() > 0.8
    assert (binary.diff(dim=3) != 0).double().mean() < 0.25


@pytest.fixture
def own_kind() -> Iterator[None]:
    register_unknown("black")(lambda known, others, generator: torch.zeros_like(known))
    yield
    del KINDS["black"]


@pytest.mark.usefixtures("own_kind")
def test_a_registered_kind_gets_images_in_the_unit_interval() -> None:
    """A kind gets and returns images in [0, 1], where 0 is the smallest value of the channel."""
    known = 5 * images(2, 4, 4) - 2
    unknowns = synthetic_unknowns(known, LABELS)
    assert [*unknowns][-1] == "black"
    torch.testing.assert_close(unknowns["black"], known.amin((0, 2, 3), keepdim=True).expand_as(known))
