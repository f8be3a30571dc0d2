from pathlib import Path

import numpy as np
import pytest
import torch

from gradmeter.reading.content import content_hashes
from gradmeter.research.label_study.learned import EARLY, Learner, out_of_fold_networks
from gradmeter.research.label_study.place import Place
from gradmeter.research.label_study.pools import digits, probabilities, texts
from gradmeter.research.study.network import PaperCNN


def test_each_label_is_judged_by_a_head_that_did_not_learn_it() -> None:
    torch.manual_seed(0)
    network, images = PaperCNN().eval(), torch.rand(200, 1, 28, 28)
    labels = np.arange(200) % 10
    networks, folds = out_of_fold_networks(network, images, labels, seed=0)
    assert np.bincount(folds).tolist() == [40] * 5
    for fold, headed in enumerate(networks):
        torch.testing.assert_close(headed.conv1.weight, network.conv1.weight)
        predictions = probabilities(headed, images).argmax(axis=1)
        # Random images are learned by heart by the head, and not predicted otherwise.
        assert (predictions == labels)[folds != fold].mean() > (predictions == labels)[folds == fold].mean() + 0.2


def test_a_class_without_labels_is_never_predicted() -> None:
    torch.manual_seed(0)
    images, labels = torch.rand(60, 1, 28, 28), np.arange(60) % 3
    networks, _ = out_of_fold_networks(PaperCNN().eval(), images, labels, seed=0)
    assert probabilities(networks[0], images)[:, 3:].max() < 1e-9


@pytest.mark.slow
def test_pools_are_disjoint_and_learners_learn_the_given_labels(small_data: Path, tmp_path: Path) -> None:
    place = Place(small_data, None, tmp_path, 0.02)
    (tmp_path / "networks").mkdir()
    notes: list[str] = []
    pools = [digits(part, most)(place, 0, notes.append) for part, most in ((0, 5000), (1, 5000), (2, 6000))]
    assert any("training" in note for note in notes)
    hashes = [set(content_hashes(pool.samples.inputs).tolist()) for pool in pools[:2]]
    assert not hashes[0] & hashes[1]
    learner = Learner(pools[2], place, 0)
    learner.train("symmetric", 0.2)
    sheet = learner.sheet("symmetric", 0.2, EARLY)
    assert len(sheet.given) == 100
    assert sheet.planted.sum() == 20
    before = place.weights("learned-0-symmetric-20").stat().st_mtime_ns
    learner.train("symmetric", 0.2)
    assert place.weights("learned-0-symmetric-20").stat().st_mtime_ns == before


@pytest.mark.slow
def test_a_pool_of_texts(tmp_path: Path) -> None:
    (tmp_path / "networks").mkdir()
    pool = texts(Place(tmp_path, None, tmp_path, 0.02), 0, lambda note: None)
    assert len(pool.ids) == len(pool.samples) == len(pool.early) == 72
    np.testing.assert_allclose(pool.early.sum(axis=1), 1)
