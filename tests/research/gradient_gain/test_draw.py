from pathlib import Path

import numpy as np
import pytest
import torch

from gradmeter import DataError, TrustModel
from gradmeter.reading.meter import GradientMeter
from gradmeter.reading.readings import Readings
from gradmeter.reading.scores import max_softmax
from gradmeter.research.gradient_gain.draw import WRONG, Draw, Pools, few, learned
from gradmeter.research.gradient_gain.exam import Exam
from gradmeter.research.gradient_gain.reading import read_all, read_price
from gradmeter.research.gradient_gain.scored import SOFTMAX, Scored
from gradmeter.trust.meta_classifier import CORRECT, UNKNOWN
from gradmeter.trust.meta_classifier import WRONG as WRONG_PREDICTION
from gradmeter.trust.two_heads import TwoHeads
from research.gradient_gain.exams import exam

METHODS = {
    SOFTMAX,
    *(f"two heads: {variant}" for variant in ("forward", "gradients", "noise")),
    *(f"logistic regression: {variant}" for variant in ("forward", "gradients", "noise", "gradients alone")),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("readings")


@pytest.fixture(scope="module")
def three() -> Exam:
    return exam(3)


@pytest.fixture(scope="module")
def readings(three: Exam, folder: Path) -> dict[str, Readings]:
    return read_all(three, folder, lambda done, name: None)


@pytest.fixture(scope="module")
def pools(three: Exam, readings: dict[str, Readings]) -> Pools:
    return Pools(three, readings, 2)


def test_equal_gradients_are_refused(three: Exam, readings: dict[str, Readings]) -> None:
    """Readings of black images, say, tell nothing."""
    first = readings["known"]
    equal = {name: first.rows(np.zeros(len(part), np.int64)) for name, part in readings.items()}
    with pytest.raises(DataError, match="same gradients"):
        Pools(three, equal, 2)


@pytest.fixture(scope="module")
def cases(pools: Pools) -> dict[str, Scored]:
    return dict(Draw(pools).cases([100, 100_000]))


def test_readings_are_kept(three: Exam, readings: dict[str, Readings], folder: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    read = []
    again = read_all(three, folder, lambda done, name: read.append(name))
    assert read == []
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    assert torch.equal(again["unknown dark"].values, readings["unknown dark"].values)
    price = read_price(folder)
    assert 0 < price.plain < price.gradients


@pytest.mark.slow
def test_all_cases_and_methods(pools: Pools, cases: dict[str, Scored]) -> None:
    assert list(cases) == [
        *(WRONG, "dark", "FGSM 8/255", "noise", learned("FGSM")),
        *(few(100, WRONG), few(100, "dark")),
    ]
    wrong = pools.wrong["known"][2::3]
    for name, case in cases.items():
        assert set(case.scores) == METHODS
        assert all(np.isfinite(scores).all() and len(scores) == len(case.outside) for scores in case.scores.values())
        if WRONG in name:
            np.testing.assert_array_equal(case.outside, wrong)
        elif "dark" in name:
            assert np.count_nonzero(case.outside) == 20
            assert np.count_nonzero(~case.outside) == np.count_nonzero(~wrong)
    softmax = max_softmax(pools.readings["known"].logits)[2::3]
    order = np.argsort(cases[WRONG].scores[SOFTMAX])
    assert (np.diff(softmax[order]) <= 1e-12).all()


def test_only_attacks_that_succeed_count(cases: dict[str, Scored], three: Exam) -> None:
    case = cases["FGSM 8/255"]
    with torch.no_grad():
        attacked = three.network(three.adversarial["FGSM 8/255"]()).argmax(1)
        clean = three.network(three.known.inputs[:120]).argmax(1)
    labels = three.known.labels[:120]
    successes = ((clean == labels) & (attacked != labels))[2::3]
    assert 0 < np.count_nonzero(case.outside) == int(successes.sum()) < 40


def test_gradmeter_s_own_classifier_scores_as_one_that_is_fitted_to_readings_without_gradients(
    cases: dict[str, Scored], three: Exam, readings: dict[str, Readings]
) -> None:
    pool, rows = three.lesson_rows(2)
    known = readings[pool].rows(rows).without_gradients()
    synthetic = [readings[f"synthetic {kind}"].without_gradients() for kind in three.synthetic]
    lessons = Readings.concatenate([known, *synthetic])
    features = TwoHeads().features(lessons)
    right = (known.predictions == three.known.labels[torch.from_numpy(rows)]).numpy()
    target = [np.where(right, CORRECT, WRONG_PREDICTION), *(np.full(30, UNKNOWN + kind) for kind in range(2))]
    heads = TwoHeads().fit(features.block(lessons), np.concatenate(target))
    unknown = features.block(readings["unknown dark"].without_gradients().rows(np.arange(2, 60, 3)))
    scores = cases["dark"].scores["two heads: forward"][cases["dark"].outside]
    np.testing.assert_allclose(-scores, heads.predict_proba(unknown)[:, CORRECT], rtol=1e-6)


def test_the_meter_is_that_of_a_trust_model(three: Exam, readings: dict[str, Readings]) -> None:
    meter = TrustModel(GradientMeter(three.network)).meter
    assert meter.pseudo_labels == readings["known"].pseudo_labels
    assert meter.layers == readings["known"].layers


def test_predictions_of_the_loss(pools: Pools, three: Exam) -> None:
    predicted = Draw(pools).predicted()
    with torch.no_grad():
        logits = three.network(three.known.inputs[2::3])
    expected = torch.nn.functional.cross_entropy(logits, three.known.labels[2::3], reduction="none")
    np.testing.assert_allclose(predicted.loss, expected.numpy(), rtol=1e-4, atol=1e-5)
    assert len(predicted.predictions) == 8
    assert all(np.isfinite(values).all() for values in predicted.predictions.values())


def test_with_validation_data_all_known_inputs_are_tested(tmp_path: Path) -> None:
    one = exam(1)
    cases = dict(Draw(Pools(one, read_all(one, tmp_path, lambda done, name: None), 0)).cases([]))
    assert len(cases[WRONG].outside) == len(one.known)
    assert learned("FGSM") not in cases  # there is no other fold to learn an attack from
