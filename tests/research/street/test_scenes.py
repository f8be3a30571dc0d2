from pathlib import Path

import numpy as np
import pytest

from gradmeter import DataError
from gradmeter.research.street.scenes import ALL, PART, lessons, load_street
from research.street.archive import CLASSES, VOID, write_street


def test_the_scenes_and_lessons(street_data: Path) -> None:
    street = load_street(street_data)
    assert [len(scenes) for scenes in (street.train, street.val, street.test)] == [24, 10, 18]
    assert (street.classes, street.void, street.unlearned) == (CLASSES, VOID, (3, 4))
    everything, part = (lessons(street)[name] for name in (ALL, PART))
    assert (everything.classes, part.classes) == (5, 3)
    labels = street.train.labels
    np.testing.assert_array_equal(everything.without_unlearned(labels, VOID), labels)
    hidden = part.without_unlearned(labels, VOID)
    assert set(np.unique(hidden)) == {0, 1, 2, VOID}
    np.testing.assert_array_equal(hidden[labels < 3], labels[labels < 3])


def test_batches_hold_all_scenes_and_the_labels_of_all_pixels(street_data: Path) -> None:
    street = load_street(street_data)
    images, labels = zip(*street.test.batches(), strict=True)
    assert [len(batch) for batch in images] == [8, 8, 2]
    np.testing.assert_array_equal(np.concatenate(labels), street.test.labels)
    pixels = np.concatenate([batch.numpy() for batch in images]).transpose(0, 2, 3, 1)
    np.testing.assert_allclose(pixels, street.test.images / np.float32(255), rtol=1e-6)


LABELS = np.zeros((3, 24, 32), np.uint8)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"val_labels": None}, "val_labels"),
        ({"class_names": None}, "class_names"),
        ({"train_labels": LABELS}, r"\(3, 24, 32\)"),
        ({"test_images": np.zeros((18, 24, 32, 3), np.float32)}, "float32"),
        ({"class_names": np.array(["sky", "road", "pedestrian", "bicyclist", "car"])}, "pedestrian and bicyclist last"),
        ({"class_names": np.array(["pedestrian", "bicyclist"])}, "labels up to 5"),
        ({"val_images": np.zeros((3, 24, 32, 3), np.uint8), "val_labels": LABELS}, "no pixel of class road"),
        ({"val_images": np.zeros((1, 24, 32, 3), np.uint8), "val_labels": LABELS[:1]}, "1 val scenes"),
    ],
)
def test_wrong_archives(tmp_path: Path, changes: dict[str, object], named: str) -> None:
    with pytest.raises(DataError, match=named):
        load_street(write_street(tmp_path, **changes))


def test_missing_and_damaged_archives(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"does not hold camvid\.npz"):
        load_street(tmp_path)
    path = write_street(tmp_path) / "camvid.npz"
    for content in (b"", b"no archive", path.read_bytes()[:3000]):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"camvid\.npz is (damaged|truncated)") as raised:
            load_street(tmp_path)
        assert "pickle" not in str(raised.value)
