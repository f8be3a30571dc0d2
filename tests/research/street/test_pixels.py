from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from gradmeter import DataError
from gradmeter.reading.pixels.scores import ENTROPY
from gradmeter.research.street.judges import FORWARD, LOGISTIC, judge_name
from gradmeter.research.street.network import StreetNet
from gradmeter.research.street.pixels import ANOMALIES, BLOCK, LEARNED, PixelScores, score_pixels
from gradmeter.research.street.reading import SceneReader
from gradmeter.research.street.sample import all_scores
from gradmeter.research.street.scenes import PART, Scenes, Street, lessons, load_street
from gradmeter.research.street.training import trained
from gradmeter.trust.evaluation.binned import AUROC


@pytest.fixture(scope="module")
def street(street_data: Path) -> Street:
    return load_street(street_data)


@pytest.fixture(scope="module")
def network(street: Street, tmp_path_factory: pytest.TempPathFactory) -> StreetNet:
    path = tmp_path_factory.mktemp("networks") / "part.safetensors"
    return trained(street, lessons(street)[PART], 0, path, epochs=4)


@pytest.mark.slow
def test_anomalies_are_the_pixels_of_unlearned_classes(street: Street, network: StreetNet, tmp_path: Path) -> None:
    notes: list[str] = []
    scored = score_pixels(network, street, lessons(street)[PART], 0, lambda done, note: notes.append(note))
    assert [*scored] == [ANOMALIES, LEARNED]
    assert "judges" in notes
    labels = street.test.labels.ravel()
    used, unlearned = labels != street.void, np.isin(labels, street.unlearned)
    counts = scored[ANOMALIES].test[ENTROPY]
    assert len(counts.inside) == -(-len(street.test) // BLOCK)
    assert (counts.outside.sum(), counts.inside.sum()) == (unlearned.sum(), (used & ~unlearned).sum())
    # The entropy of all test pixels, against scikit-learn.
    scenes = [SceneReader(network)(images) for images, _ in street.test.batches()]
    entropy = np.concatenate([all_scores(of_batch)[ENTROPY] for of_batch in scenes])
    expected = roc_auc_score(unlearned[used], entropy[used])
    assert counts.measures()[AUROC][0] == pytest.approx(expected, abs=1e-5)
    predictions = np.concatenate([of_batch.pixels.predictions.numpy().ravel() for of_batch in scenes])
    known = used & ~unlearned
    assert scored[ANOMALIES].wrong == pytest.approx((predictions != labels)[known].mean())
    judge = judge_name(LOGISTIC, FORWARD)
    learned, unseen = (scored[task].test[judge].measures()[AUROC][0] for task in (LEARNED, ANOMALIES))
    assert learned > unseen
    assert ENTROPY not in scored[LEARNED].test
    path = tmp_path / "scores.npz"
    scored[ANOMALIES].write(path)
    read = PixelScores.read(path)
    assert (read.validation, read.wrong) == (scored[ANOMALIES].validation, scored[ANOMALIES].wrong)
    np.testing.assert_array_equal(read.test[ENTROPY].outside, counts.outside)


def test_a_network_without_wrong_pixels_cannot_be_judged(street: Street, network: StreetNet) -> None:
    predictions = np.concatenate(
        [SceneReader(network)(images).pixels.predictions.numpy() for images, _ in street.val.batches()]
    )
    right = Scenes(street.val.images, predictions.astype(np.uint8))
    perfect = Street(street.train, right, street.test, street.classes)
    with pytest.raises(DataError, match=r"0 of .* validation pixels wrong"):
        score_pixels(network, perfect, lessons(street)[PART], 0, lambda done, note: None)
