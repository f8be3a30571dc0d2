import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from sklearn.metrics import roc_auc_score

from gradmeter import GradientMeter, TrustModel
from gradmeter.errors import DataError, InputError, OutputError
from gradmeter.evaluation.comparison import WRONG
from gradmeter.measuring import Work, measure
from gradmeter.pipeline.fit import Fitted, fit
from gradmeter.samples import open_source
from meta.trained import digits, trained
from pipeline.digits import recipe

QUICK = {"repetitions": 100}


def test_what_is_saved_is_what_the_library_fits(place: Path, at_place: Path, tmp_path: Path) -> None:
    found = fit(recipe(place), "validation", ["noise:uniform:200"], tmp_path / "trust", **QUICK)
    assert found.guarantee is None
    assert found.refusal is None
    loaded = TrustModel.load(tmp_path / "trust", trained())
    images = digits()[0][900:1000]
    assert torch.equal(loaded.predict_proba(images), found.trust.predict_proba(images))
    # The same from the readings that were kept, in the order of the files.
    known = pq.read_table(tmp_path / "trust/readings/validation.parquet")
    unknown = pq.read_table(tmp_path / "trust/readings/noise-uniform.parquet")
    right = int((known["label"].to_numpy() == known["prediction"].to_numpy()).sum())
    assert found.learned_from == {"right": right, "wrong": 600 - right, "unknown": 200}
    again = TrustModel(GradientMeter(trained())).fit(known, [unknown])
    torch.testing.assert_close(again.predict_proba(images), loaded.predict_proba(images))


def test_the_comparison_is_of_held_out_folds(fitted: Fitted) -> None:
    judge, judged = fitted.trust.judge, fitted.judged
    assert judge is not None
    inside, outside = judged.correct, judged.wrong
    for method, p_wrong in (("P(correct)", 1 - judge.held_out), ("softmax", judged.uncertainty["softmax"])):
        taken = inside | outside
        expected = roc_auc_score(outside[taken], p_wrong[taken])
        assert fitted.comparison.estimates["auroc", WRONG, method].value == pytest.approx(expected, abs=1e-12)
    # A judge that had seen the samples would find all of them out.
    assert fitted.comparison.estimates["auroc", "noise:uniform", "P(correct)"].value < 1


def test_a_promise_is_made_on_what_the_judge_did_not_see(fitted: Fitted, place: Path) -> None:
    assert fitted.learned_from["right"] + fitted.learned_from["wrong"] == 300
    assert fitted.learned_from["unknown"] == 100
    assert fitted.unknown_share == 0.25
    guarantee = fitted.guarantee
    assert guarantee is not None
    assert guarantee.accepted == round(guarantee.coverage * 400)
    images, labels = digits()
    readings = fitted.trust.meter(images[900:])
    accepted = fitted.trust.accept(readings)
    assert ((readings.predictions != labels[900:]) & accepted).sum() / accepted.sum() <= 0.08
    loaded = TrustModel.load(place / "trust", trained())
    assert loaded.guarantee == guarantee


def test_where_nothing_can_be_promised(place: Path, at_place: Path, tmp_path: Path) -> None:
    found = fit(recipe(place), "validation", [], tmp_path / "trust", risk=0.001, **QUICK)
    assert found.guarantee is None
    assert found.refusal is not None
    assert "cannot promise a risk of 0.001" in found.refusal
    assert TrustModel.load(tmp_path / "trust", trained()).guarantee is None


def test_readings_that_were_measured_before(place: Path, at_place: Path, tmp_path: Path) -> None:
    classifier = recipe(place).open()
    measure(classifier, open_source("validation", classifier.image), tmp_path / "known.parquet")
    found = fit(recipe(place), str(tmp_path / "known.parquet"), [], tmp_path / "trust", **QUICK)
    assert len(found.judged.correct) == 600
    assert [path.name for path in (tmp_path / "trust").glob("readings/*")] == []
    assert found.sets[0].source is not None
    assert len(found.sets[0].source) == 600
    other = replace(recipe(place), options=replace(recipe(place).options, mean=(0.5,)))
    with pytest.raises(DataError, match=r"readings of digits_network:network with other preprocessing"):
        fit(other, str(tmp_path / "known.parquet"), [], tmp_path / "other", **QUICK)
    (tmp_path / "known.parquet/_part-00000.json").unlink()
    with pytest.raises(DataError, match=r"holds readings of 0 of 600 samples; run gradmeter measure to its end"):
        fit(recipe(place), str(tmp_path / "known.parquet"), [], tmp_path / "other", **QUICK)


def test_classes_of_unknown_data_are_not_looked_at(place: Path, at_place: Path, tmp_path: Path) -> None:
    found = fit(recipe(place), "validation", ["torn", "torn"], tmp_path / "trust", **QUICK)
    assert found.judged.unknowns == ("torn", "torn (2)")
    assert found.learned_from["unknown"] == 400


def test_another_fit_is_not_written_over(place: Path, at_place: Path, tmp_path: Path) -> None:
    first = fit(recipe(place), "validation", [], tmp_path / "trust", **QUICK)
    again = fit(recipe(place), "validation", [], tmp_path / "trust", **QUICK)
    assert again.trust.fingerprint() == first.trust.fingerprint()
    saved = (tmp_path / "trust/trust.json").read_text()
    with pytest.raises(OutputError, match=r"fitted otherwise \(meta_classifier\); choose another folder"):
        fit(recipe(place), "validation", [], tmp_path / "trust", meta_classifier="lasso", **QUICK)
    assert (tmp_path / "trust/trust.json").read_text() == saved
    fit(recipe(place), "validation", [], tmp_path / "trust", meta_classifier="lasso", work=Work(fresh=True), **QUICK)
    assert json.loads((tmp_path / "trust/trust.json").read_text())["notes"]["meta_classifier"] == "lasso"


def test_a_save_that_was_killed_is_no_obstacle(place: Path, at_place: Path, tmp_path: Path) -> None:
    (tmp_path / "trust").mkdir()
    (tmp_path / "trust/estimator-0123.skops").write_bytes(b"")
    fit(recipe(place), "validation", [], tmp_path / "trust", **QUICK)
    assert len(list((tmp_path / "trust").glob("estimator-*"))) == 1


def test_what_cannot_be_is_refused_before_anything_is_measured(place: Path, at_place: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="classifier='forest'; expected ridge_cv, glm"):
        fit(recipe(place), "validation", [], tmp_path / "trust", meta_classifier="forest")
    with pytest.raises(InputError, match="risk=2; expected a share strictly between 0 and 1"):
        fit(recipe(place), "validation", [], tmp_path / "trust", risk=2)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="mine is there and holds no TrustModel"):
        fit(recipe(place), "validation", [], tmp_path / "mine")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine"]


def test_known_data_need_labels(place: Path, at_place: Path, tmp_path: Path) -> None:
    for number in range(3):
        Image.fromarray(np.full((8, 8), 80 * number, np.uint8)).save(tmp_path / f"{number}.png")
    with pytest.raises(DataError, match=r"has no labels; expected one folder for each class"):
        fit(recipe(place), str(tmp_path), [], tmp_path / "trust", **QUICK)
