from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from gradmeter.errors import DataError, InputError
from gradmeter.research.study.data import Collection, Concept, Sizes
from gradmeter.research.study.data.collection import PAPER_NAMES, ROLE_KEYS

SIZES = Sizes(train=40, validation=20, test=30, unknowns={"letters": 12, "uniform": 9, "normal": 7}, known_unknowns=5)


def numbered(name: str, count: int) -> Concept:
    """Make images whose first two pixels hold their number."""
    images = np.zeros((count, 28, 28), np.uint8)
    images[:, 0, 0], images[:, 0, 1] = np.divmod(np.arange(count), 256)
    return Concept(name, images, np.arange(count) % 10)


def numbers(concept: Concept) -> list[int]:
    return (concept.images[:, 0, 0].astype(int) * 256 + concept.images[:, 0, 1]).tolist()


def collection(*roles: str, sizes: Sizes = SIZES, digits: int = 100, pool: int = 25) -> Collection:
    unknowns = {role: numbered(role, pool) for role in roles or ("letters", "cifar10", "omniglot", "notmnist")}
    return Collection(numbered("digits", digits), unknowns, PAPER_NAMES, {}, {}, sizes)


def test_digits_are_split_without_overlap() -> None:
    draw = collection().draw(0, seed=3)
    assert (len(draw.train), len(draw.validation), len(draw.test)) == (40, 20, 30)
    drawn = numbers(draw.train) + numbers(draw.validation) + numbers(draw.test)
    assert len(set(drawn)) == 90
    for part in (draw.train, draw.validation, draw.test):
        assert part.labels is not None
        np.testing.assert_array_equal(part.labels, np.array(numbers(part)) % 10)


def test_all_digits_can_be_used() -> None:
    draw = collection(digits=90).draw(0, seed=3)
    assert sorted(numbers(draw.train) + numbers(draw.validation) + numbers(draw.test)) == list(range(90))


def test_sizes_of_the_unknowns() -> None:
    draw = collection().draw(0, seed=3)
    tested = {role: len(concept) for role, concept in draw.unknowns.items()}
    # Letters are capped; CIFAR-10 and Omniglot give all but the known unknowns, notMNIST gives all.
    assert tested == {"letters": 12, "cifar10": 20, "omniglot": 20, "notmnist": 25, "uniform": 9, "normal": 7}
    known = {role: len(concept) for role, concept in draw.known_unknowns.items()}
    assert known == {"cifar10": 5, "omniglot": 5, "uniform": 5, "normal": 5}


@pytest.mark.parametrize("role", ["cifar10", "omniglot"])
def test_known_unknowns_are_not_tested(role: str) -> None:
    draw = collection().draw(1, seed=3)
    assert sorted(numbers(draw.known_unknowns[role]) + numbers(draw.unknowns[role])) == list(range(25))


@pytest.mark.parametrize("role", ["uniform", "normal"])
def test_known_noise_is_not_tested(role: str) -> None:
    draw = collection().draw(1, seed=3)
    images = np.concatenate([draw.known_unknowns[role].images, draw.unknowns[role].images])
    assert len(np.unique(images, axis=0)) == len(images)


def test_same_seed_and_run_give_the_same_images() -> None:
    first, again = collection().draw(2, seed=3), collection().draw(2, seed=3)
    np.testing.assert_array_equal(first.train.images, again.train.images)
    for role in first.unknowns:
        np.testing.assert_array_equal(first.unknowns[role].images, again.unknowns[role].images)


@pytest.mark.parametrize(("run", "seed"), [(0, 4), (1, 3)])
def test_other_runs_and_seeds_give_other_images(run: int, seed: int) -> None:
    first, other = collection().draw(0, seed=3), collection().draw(run, seed)
    assert numbers(first.train) != numbers(other.train)
    for role in first.unknowns:
        assert not np.array_equal(first.unknowns[role].images, other.unknowns[role].images)


def test_a_role_does_not_change_the_draws_of_another() -> None:
    alone, many = collection("omniglot").draw(0, seed=3), collection().draw(0, seed=3)
    assert numbers(alone.train) == numbers(many.train)
    for role in ("omniglot", "uniform", "normal"):
        np.testing.assert_array_equal(alone.unknowns[role].images, many.unknowns[role].images)
        np.testing.assert_array_equal(alone.known_unknowns[role].images, many.known_unknowns[role].images)


def test_roles_draw_independently() -> None:
    draw = collection().draw(0, seed=3)
    assert numbers(draw.known_unknowns["cifar10"]) != numbers(draw.known_unknowns["omniglot"])
    assert len(set(ROLE_KEYS.values())) == len(ROLE_KEYS)


def test_draws_never_change_between_versions() -> None:
    # A change of these numbers would change the split of every study.
    assert numbers(collection().draw(0, seed=0).train)[:5] == [81, 94, 89, 76, 72]


def test_the_form_reaches_the_noise() -> None:
    free, clipped = (
        dataclasses.replace(collection(), noise_form=form).draw(0, seed=3).unknowns["normal"].images
        for form in ("raw", "clipped")
    )
    np.testing.assert_array_equal(clipped, np.clip(free, 0, 1))


def test_too_few_digits() -> None:
    with pytest.raises(DataError, match=r"digits: .*89 images.* 90 "):
        collection(digits=89)


def test_too_few_unknowns() -> None:
    with pytest.raises(DataError, match=r"cifar10: .* 9 images.* 10 "):
        collection("cifar10", pool=9)
    with pytest.raises(DataError, match=r"letters: .* 0 images.* 1;"):
        collection("letters", pool=0)
    assert len(collection("cifar10", pool=10).draw(0, seed=0).unknowns["cifar10"]) == 5


@pytest.mark.parametrize(("run", "seed"), [(-1, 0), (0, -1)])
def test_negative_run_or_seed(run: int, seed: int) -> None:
    with pytest.raises(InputError, match=f"run={run}, seed={seed}"):
        collection().draw(run, seed)


def test_hashes_depend_on_images_and_labels() -> None:
    whole = collection()
    hashes = whole.hashes()
    assert set(hashes) == {"digits", "letters", "cifar10", "omniglot", "notmnist"}
    assert all(len(digest) == 64 for digest in hashes.values())
    assert hashes == collection().hashes()
    for digits in (
        Concept("digits", whole.digits.images ^ 1, whole.digits.labels),
        Concept("digits", whole.digits.images, whole.digits.labels * 0),  # type: ignore[operator]
        Concept("digits", whole.digits.images),
    ):
        changed = dataclasses.replace(whole, digits=digits).hashes()
        assert changed["digits"] != hashes["digits"]
        assert changed["letters"] == hashes["letters"]
