import pytest
import torch
from torch import Tensor

from gradmeter.errors import InputError
from gradmeter.trust.synthetic import KINDS, synthetic_unknowns
from gradmeter.trust.synthetic.unknowns import _partners
from modes import default_dtype

BLENDS = ("blend", "overlay", "halves")
SIZES = [(1, 28, 28), (3, 32, 32), (3, 17, 40), (2, 5, 5)]


def images(count: int, *shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return images with a bright spot on a dark background and some noise, asymmetric in both directions."""
    generator = torch.Generator().manual_seed(seed)
    channels, height, width = shape
    y, x = (torch.linspace(0, 1, size).view(-1, 1) for size in (height, width))
    centre = torch.rand(count, 4, generator=generator).view(count, 4, 1, 1)
    blot = torch.exp(
        -(((y - centre[:, 0]) / (0.2 + centre[:, 2])) ** 2) - ((x.T - centre[:, 1]) / (0.2 + centre[:, 3])) ** 2
    )
    noise = torch.rand(count, channels, height, width, generator=generator)
    return (0.9 * blot.unsqueeze(1) + 0.1 * noise).to(dtype)


def labels(count: int) -> Tensor:
    return torch.arange(count) % 4


@pytest.mark.parametrize("shape", SIZES)
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_for_images_of_every_size(kind: str, shape: tuple[int, ...]) -> None:
    known = images(20, *shape)
    before = known.clone()
    unknowns = synthetic_unknowns(known, labels(20), [kind])
    assert [*unknowns] == [kind]
    assert unknowns[kind].shape == known.shape
    assert unknowns[kind].dtype == torch.float32
    assert unknowns[kind].isfinite().all()
    changed = (unknowns[kind] - known).abs().flatten(1).amax(1)
    # Each image must change, or the meta classifier would learn to reject known inputs.
    assert (changed > 0.01).all()
    assert torch.equal(known, before)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_types_are_kept(dtype: torch.dtype) -> None:
    known = images(6, 3, 9, 9, dtype=dtype)
    for kind, unknowns in synthetic_unknowns(known, labels(6)).items():
        assert unknowns.dtype == dtype, kind
        assert unknowns.isfinite().all(), kind
        expected = synthetic_unknowns(known.float(), labels(6), [kind])[kind]
        assert unknowns.shape == expected.shape


@pytest.mark.parametrize("shape", [*SIZES, (1, 1, 1), (1, 3, 2)])
@pytest.mark.parametrize("kind", KINDS)
def test_one_image_only(kind: str, shape: tuple[int, ...]) -> None:
    known = images(1, *shape)
    unknown = synthetic_unknowns(known, labels(1), [kind])[kind]
    assert unknown.shape == known.shape
    assert unknown.isfinite().all()
    if kind not in BLENDS and min(shape[1:]) > 4:
        assert (unknown - known).abs().max() > 0.02


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [0.0, 0.3, -1.5, 255.0])
def test_images_without_any_contrast(kind: str, value: float) -> None:
    unknowns = synthetic_unknowns(torch.full((8, 3, 9, 9), value), labels(8), [kind])[kind]
    assert unknowns.shape == (8, 3, 9, 9)
    assert unknowns.isfinite().all()


def test_a_channel_without_contrast_stays_without() -> None:
    known = images(8, 3, 12, 12)
    known[:, 1] = 0.25
    for kind, unknowns in synthetic_unknowns(known, labels(8)).items():
        torch.testing.assert_close(unknowns[:, 1], known[:, 1], msg=kind)
        assert unknowns[:, 0].isfinite().all()


@pytest.mark.parametrize("kind", KINDS)
def test_all_of_one_class(kind: str) -> None:
    known = images(10, 1, 28, 28)
    unknowns = synthetic_unknowns(known, torch.full((10,), 3), [kind])[kind]
    assert ((unknowns - known).abs().flatten(1).amax(1) > 0.02).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(1, 1, 16), (2, 16, 1), (1, 2, 40), (1, 5, 5), (1, 1, 500)])
def test_no_unknown_of_a_signal_is_one_of_the_known_ones(kind: str, shape: tuple[int, ...]) -> None:
    images = torch.rand(60, *shape, generator=torch.Generator().manual_seed(0))
    unknown = synthetic_unknowns(images, torch.arange(60) % 5, [kind])[kind]
    distances = (unknown[:, None] - images[None]).abs().flatten(2).amax(2)
    assert (distances.amin(1) > 1e-3).all()


def test_autocast_and_the_default_dtype_change_nothing() -> None:
    expected = synthetic_unknowns(images(40, 1, 28, 28), labels(40))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        in_autocast = synthetic_unknowns(images(40, 1, 28, 28), labels(40))
    known = images(40, 1, 28, 28)
    with default_dtype(torch.float64):
        in_double = synthetic_unknowns(known, labels(40))
    assert all(torch.equal(in_autocast[kind], expected[kind]) for kind in KINDS)
    assert all(torch.equal(in_double[kind], expected[kind]) for kind in KINDS)


def test_the_same_seed_makes_the_same_unknowns() -> None:
    known = images(12, 3, 16, 16)
    first, second, other = (synthetic_unknowns(known, labels(12), seed=seed) for seed in (1, 1, 2))
    assert [*first] == [*KINDS]
    for kind in KINDS:
        assert torch.equal(first[kind], second[kind]), kind
        assert torch.equal(first[kind], other[kind]) == (kind == "inversion"), kind
    state = torch.get_rng_state()
    synthetic_unknowns(known, labels(12))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("kind", KINDS)
def test_normalised_images_become_what_plain_ones_become(kind: str) -> None:
    """Images may be normalised with a mean and a standard deviation for each channel."""
    plain = images(16, 3, 20, 20).double()
    plain[0, :, 0, 0], plain[0, :, 0, 1] = 0, 1
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    mean, std = mean.double().view(3, 1, 1), std.double().view(3, 1, 1)
    expected = synthetic_unknowns(plain, labels(16), [kind])[kind]
    unknowns = synthetic_unknowns((plain - mean) / std, labels(16), [kind])[kind]
    # Rounding decides ties.
    assert torch.isclose(unknowns, (expected - mean) / std, atol=1e-4).double().mean() > 0.999


@pytest.mark.parametrize("kind", ["uniform noise", "grey texture", "binary texture"])
def test_kinds_without_a_source_image_span_the_range_of_the_images(kind: str) -> None:
    known = 7 * images(60, 2, 28, 28) - 3
    unknowns = synthetic_unknowns(known, labels(60), [kind])[kind]
    for channel in range(2):
        low, high = known[:, channel].min(), known[:, channel].max()
        assert low - 1e-5 <= unknowns[:, channel].min() < low + 0.7
        assert high - 0.7 < unknowns[:, channel].max() <= high + 1e-5


# --- partners


@pytest.mark.parametrize(
    "counts",
    [(5, 5), (1, 1), (3, 3, 3), (10, 9, 1), (7, 3, 2, 2), (50, 30, 20), (1,) * 9, (4, 4, 1), (6, 5)],
)
@pytest.mark.parametrize("seed", range(5))
def test_partners_are_of_another_class(counts: tuple[int, ...], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    classes = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    classes = classes[torch.randperm(len(classes), generator=generator)]
    partners = _partners(classes, generator)
    assert sorted(partners.tolist()) == [*range(len(classes))]
    alike = int((classes[partners] == classes).sum())
    # If a class is more than half of all samples, some of its samples get no partner of another class.
    assert alike == max(0, 2 * max(counts) - len(classes))


@pytest.mark.parametrize("count", [2, 3, 10])
def test_partners_of_one_class_are_at_least_others(count: int) -> None:
    partners = _partners(torch.zeros(count, dtype=torch.long), torch.Generator().manual_seed(0))
    assert (partners != torch.arange(count)).all()


def test_partners_are_random() -> None:
    classes = torch.arange(40) % 4
    first, second = (_partners(classes, torch.Generator().manual_seed(seed)) for seed in (0, 1))
    assert not torch.equal(first, second)


# --- errors


@pytest.mark.parametrize(
    ("known", "classes", "message"),
    [
        (torch.zeros(4, 8, 8), torch.zeros(4), r"images.*\(4, 8, 8\).*float32"),
        (torch.zeros(4, 1, 8, 8, dtype=torch.uint8), torch.zeros(4), r"images.*\(4, 1, 8, 8\).*uint8"),
        (torch.zeros(0, 1, 8, 8), torch.zeros(0), r"images.*\(0, 1, 8, 8\)"),
        (torch.zeros(4, 1, 8, 8), torch.zeros(3), r"labels.*\(3,\).*\b4\b"),
        (torch.zeros(4, 1, 8, 8), torch.zeros(4, 1), r"labels.*\(4, 1\)"),
    ],
)
def test_invalid_images_and_labels(known: Tensor, classes: Tensor, message: str) -> None:
    with pytest.raises(InputError, match=message):
        synthetic_unknowns(known, classes)


def test_an_unknown_kind() -> None:
    with pytest.raises(InputError, match=r"'blurr'.*\bblur\b"):
        synthetic_unknowns(images(2, 1, 8, 8), labels(2), ["blur", "blurr"])
