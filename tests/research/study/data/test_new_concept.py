"""An unknown concept that the paper does not have needs one entry in `ARCHIVES`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gradmeter.research.study.data.archives import ARCHIVES, Archive, load_archives
from gradmeter.research.study.data.collection import Collection
from gradmeter.research.study.judging import THRESHOLDS, judge, judge_thresholds
from gradmeter.research.study.measuring import measure
from gradmeter.research.study.network import PaperCNN
from gradmeter.research.study.outcome import Outcome
from gradmeter.research.study.results import AllResults
from gradmeter.research.study.tables import paper_table


@pytest.fixture
def collection(archive_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Collection:
    """A folder with images of clothes, 14 x 14, which the entry enlarges."""
    entry = Archive("fashion", (14, 14), 10, lambda images: images.repeat(2, 1).repeat(2, 2), "Fashion-MNIST")
    monkeypatch.setitem(ARCHIVES, "clothes", entry)
    images = np.random.default_rng(1).integers(0, 256, (30, 14, 14), np.uint8)
    np.savez(archive_folder / "fashion.npz", images=images)
    return load_archives(archive_folder)


def test_the_concept_is_read_named_and_described(collection: Collection) -> None:
    assert collection.unknowns["clothes"].images.shape == (30, 28, 28)
    assert collection.names["clothes"] == "Fashion-MNIST"
    assert "30 images of 14 x 14" in collection.sources["clothes"]


def test_its_draws_depend_on_run_and_seed_and_leave_the_others_alone(
    collection: Collection, archive_folder: Path
) -> None:
    images = [collection.draw(run, seed).unknowns["clothes"].images for run, seed in ((0, 0), (0, 0), (1, 0), (0, 1))]
    assert np.array_equal(images[0], images[1])
    assert not np.array_equal(images[0], images[2])
    assert not np.array_equal(images[0], images[3])
    (archive_folder / "fashion.npz").unlink()
    draws = collection.draw(0, 0), load_archives(archive_folder).draw(0, 0)
    np.testing.assert_array_equal(*(draw.train.images for draw in draws))
    for role in draws[1].unknowns:
        np.testing.assert_array_equal(*(draw.unknowns[role].images for draw in draws))


def test_its_results_are_in_table_4(collection: Collection, network: PaperCNN, tmp_path: Path) -> None:
    folder = tmp_path / "readings"
    measure(network, collection.draw(0, 0), folder, biases=True, on_images=lambda count: None)
    outcome = Outcome.load(folder)
    assert "clothes" in outcome.columns
    assert "clothes" not in outcome.pooled, "the paper's row \"All\" pools the paper's concepts"
    results = [*judge_thresholds(outcome, {}, "step"), *judge(outcome, "lasso_a", THRESHOLDS["l2"], "step")]
    table = paper_table(4, AllResults([results]))
    assert [row["row"] for row in table if row["measure"] == "auroc"][-1] == "clothes"
