import pytest
import torch
from torch import Tensor

from gradmeter.trust.synthetic import KINDS, SAMPLED, ImageSample, per_kind, sample, synthetic_unknowns


def batch(first: int, count: int, size: int = 2) -> tuple[Tensor, Tensor]:
    """Return images whose values are their label."""
    numbers = torch.arange(first, first + count)
    return numbers.double().view(-1, 1, 1, 1).expand(count, 1, size, size), numbers


def kept(stream: ImageSample) -> list[int]:
    images, labels = stream.images()
    assert images is not None
    assert torch.equal(images[:, 0, 0, 0].long(), labels)
    return labels.tolist()


def test_all_of_a_few_images_are_kept() -> None:
    stream = ImageSample()
    for first in range(0, 90, 30):
        stream.add(*batch(first, 30))
    assert kept(stream) == [*range(90)]


def test_each_of_many_images_is_kept_with_equal_probability(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sample 20 of 100 images 2,000 times: each is sampled 400 times on average, with a standard deviation of 18."""
    monkeypatch.setattr(sample, "SAMPLED", 20)
    counts = torch.zeros(100)
    stream = ImageSample()
    images, labels = batch(0, 100, 1)
    for _ in range(2000):
        stream._seen, stream._kept = 0, []
        for first in (0, 7, 60):
            last = {0: 7, 7: 60, 60: 100}[first]
            stream.add(images[first:last], labels[first:last])
        chosen = kept(stream)
        assert len(chosen) == len({*chosen}) == 20
        counts[chosen] += 1
    deviation = (2000 * 0.2 * 0.8) ** 0.5
    assert (counts - 400).abs().max() < 4 * deviation
    # The spread of the counts is that of random sampling, and independent of the position.
    assert 0.7 < counts.std() / deviation < 1.3
    assert (counts[:20].mean() - counts[-20:].mean()).abs() < 4 * deviation * (2 / 20) ** 0.5


def test_at_most_the_limit_is_kept() -> None:
    stream = ImageSample()
    stream.add(*batch(0, 3 * SAMPLED, 1))
    assert len({*kept(stream)}) == SAMPLED == 500
    again = ImageSample()
    again.add(*batch(0, 3 * SAMPLED, 1))
    assert kept(again) == kept(stream)


@pytest.mark.parametrize(("limit", "count"), [(10 * 4 * 8, 10), (39 * 8, 9), (1, 1)])
def test_memory_is_bounded(limit: int, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample, "_BYTES", limit)
    stream = ImageSample()
    stream.add(*batch(0, 60))
    assert len(kept(stream)) == count


def test_kept_images_are_detached_copies() -> None:
    stream, (images, labels) = ImageSample(), batch(0, 5)
    images = images.clone().requires_grad_()
    stream.add(images, labels)
    with torch.no_grad():
        images.zero_()
    assert kept(stream) == [0, 1, 2, 3, 4]
    sampled, _ = stream.images()
    assert sampled is not None
    assert not sampled.requires_grad


@pytest.mark.parametrize(
    "inputs",
    [
        torch.zeros(4, 7),
        torch.zeros(4, 1, 2, 2, dtype=torch.uint8),
        {"images": torch.zeros(4, 1, 2, 2), "mask": torch.zeros(4)},
        (torch.zeros(4, 1, 2, 2), torch.zeros(4)),
        None,
    ],
)
def test_inputs_other_than_images_are_ignored(inputs: object) -> None:
    stream = ImageSample()
    stream.add(inputs, torch.zeros(4, dtype=torch.long))
    assert stream.images()[0] is None
    assert [*stream.unknowns()] == []


@pytest.mark.parametrize(
    ("known", "count"),
    [(1, 1), (30, 30), (50, 50), (150, 50), (500, 50), (700, 50), (1400, 100), (2000, 142), (7000, 500), (10**6, 500)],
)
def test_all_kinds_together_are_about_as_many_as_the_known_images(known: int, count: int) -> None:
    assert len(KINDS) == 14
    assert per_kind(known) == count
    stream = ImageSample()
    stream.add(*batch(0, min(known, 10_000), 1))
    images, labels = stream.chosen()
    assert images is not None
    assert torch.equal(images[:, 0, 0, 0].long(), labels)
    assert len({*labels.tolist()}) == len(labels) == min(count, per_kind(10_000))


def test_chosen_images_come_from_the_whole_stream() -> None:
    """The chosen images are from the whole stream: loaders may be sorted by class."""
    stream = ImageSample()
    stream.add(*batch(0, 400, 1))
    chosen = stream.chosen()[1].double()
    assert chosen.mean() == pytest.approx(200, abs=50)
    assert chosen.std() == pytest.approx(115, abs=30)


def test_images_of_several_sizes_give_no_unknowns() -> None:
    stream = ImageSample()
    stream.add(*batch(0, 3, 2))
    stream.add(*batch(3, 3, 4))
    sampled, labels = stream.images()
    assert sampled is None
    assert labels.tolist() == [*range(6)]
    assert [*stream.unknowns()] == []


@pytest.mark.parametrize("name", [None, "pixel_values"])
def test_unknowns_of_the_kept_images(name: str | None) -> None:
    """The kinds come in order, in batches of the same form as those added."""
    stream, images = ImageSample(), torch.rand(1000, 1, 9, 9)
    stream.add(images if name is None else {name: images}, torch.arange(1000))
    chosen, labels = stream.chosen()
    assert chosen is not None
    expected = synthetic_unknowns(chosen, labels)
    by_kind = [[*batches] for batches in stream.unknowns(torch.device("cpu"))]
    assert len(by_kind) == len(KINDS)
    for batches, unknowns in zip(by_kind, expected.values(), strict=True):
        assert sum(len(batch if name is None else batch[name]) for batch in batches) == 71
        assert len(batches) == 2
        assert torch.equal(torch.cat([batch if name is None else batch[name] for batch in batches]), unknowns)


def test_the_only_entry_of_a_dict() -> None:
    """Image processors of transformers return such dicts."""
    stream, images = ImageSample(), torch.rand(6, 1, 9, 9)
    assert stream.as_inputs(images) is images
    stream.add({"pixel_values": images}, torch.arange(6))
    sampled, _ = stream.images()
    assert sampled is not None
    assert torch.equal(sampled, images)
    assert stream.as_inputs(sampled) == {"pixel_values": sampled}
