from pathlib import Path

import numpy as np
import pytest
import torch

from gradmeter import DataError
from gradmeter.research.ood_benchmark.real.images import CHOSEN_ON, FILES, KNOWN_CLASSES, load_images
from research.ood_benchmark.real.archives import KNOWN

REAL = Path(__file__).resolve().parents[4] / "../shared/data"


def test_draws(real_data: Path) -> None:
    images = load_images(real_data, 1)
    assert len(images.draws) == 3
    for draw in images.draws:
        assert len(draw.validation) == len(draw.test) == KNOWN / 2
        assert sorted([*draw.validation, *draw.test]) == list(range(KNOWN))
        np.testing.assert_array_equal(draw.test[: len(images.attacked)], images.attacked)
        np.testing.assert_array_equal(draw.validation[-len(images.always_validation) :], images.always_validation)
    assert set(images.tuning) < set(images.always_validation)
    first, second = (set(draw.test) for draw in images.draws[:2])
    assert first != second
    assert set(images.tested) == set.union(*(set(draw.test) for draw in images.draws))


def test_a_share(real_data: Path) -> None:
    whole, part = load_images(real_data, 1), load_images(real_data, 0.1)
    assert len(part.draws[0].validation) == KNOWN / 2
    assert len(part.draws[0].test) == KNOWN / 20
    assert set(part.attacked) <= set(part.draws[2].test)
    assert len(part.corrupted) == 4 * 25
    torch.testing.assert_close(part.unknowns["uniform"][:50], whole.unknowns["uniform"][:50])


def test_unknown_images(real_data: Path) -> None:
    images = load_images(real_data, 1)
    with np.load(real_data / "cifar100_test3k.npz") as archive:
        pixels = archive["images"]
    reported = (255 * images.unknowns["CIFAR-100"]).round().byte().numpy().transpose(0, 2, 3, 1)
    np.testing.assert_array_equal(reported, pixels[CHOSEN_ON:])
    # Half of the names are classes of CIFAR-10.
    kept = np.isin(np.arange(60) % 4, [1, 3])
    tiny = (255 * images.unknowns["Tiny-ImageNet"]).round().byte().numpy().transpose(0, 2, 3, 1)
    np.testing.assert_array_equal(tiny, pixels[:60][kept])
    for name in ("digits", "letters"):
        drawings = images.unknowns[name]
        assert drawings.shape[1:] == (3, 32, 32)
        assert not drawings[:, :, :2].any()
        torch.testing.assert_close(drawings[:, 0], drawings[:, 2])
    labels = images.known.labels[images.attacked]
    np.testing.assert_array_equal(images.corrupted.labels[: len(labels)], labels)


def test_other_archives_are_refused(real_data: Path, tmp_path: Path) -> None:
    for name in FILES:
        (tmp_path / name).symlink_to(real_data / name)
    photographs = np.zeros((9, 32, 32, 3), np.uint8)
    refused = [
        ("cifar100_test3k.npz", {"images": photographs, "labels": np.zeros(9, int)}, "9 images"),
        ("tiny_imagenet_32_3k.npz", {"images": photographs, "labels": np.zeros(9, int)}, "no class_names"),
        ("tiny_imagenet_32_3k.npz", {"images": photographs, "labels": np.zeros(8, int)}, "each of the 9 images"),
        ("emnist_digits.npz", {"images": np.zeros((9, 64, 64), np.uint8)}, r"\(9, 64, 64\)"),
        ("cifar10_test.npz", {"images": photographs}, "no labels"),
        ("cifar10_test.npz", {"images": photographs, "labels": np.full(9, 10)}, "10"),
        ("cifar10_test.npz", {"images": photographs, "labels": np.zeros(8, int)}, "9 images"),
    ]
    for name, arrays, named in refused:
        (tmp_path / name).unlink()
        np.savez(tmp_path / name, **arrays)
        with pytest.raises(DataError, match=f"{name.replace('.', '[.]')}.*{named}"):
            load_images(tmp_path, 1)
        (tmp_path / name).unlink()
        (tmp_path / name).symlink_to(real_data / name)


@pytest.mark.skipif(not (REAL / FILES[0]).is_file(), reason="the real images are not beside the repository")
def test_classes_left_out_are_names_of_tiny_imagenet() -> None:
    with np.load(REAL / "tiny_imagenet_32_3k.npz") as archive:
        first_names = {str(names).split(",")[0] for names in archive["class_names"]}
    assert {name for names in KNOWN_CLASSES.values() for name in names} <= first_names
