import json
import shutil
from copy import copy as shallow_copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from sklearn.metrics import roc_auc_score

from apps.workflows.digits import recipe
from gradmeter import GradientMeter, TrustModel
from gradmeter.apps.workflows.evaluate import evaluate
from gradmeter.apps.workflows.fit import OURS, Fitted, _distinct, _pilot, fit
from gradmeter.apps.workflows.wording import learned
from gradmeter.errors import DataError, GradmeterWarning, InputError, OutputError
from gradmeter.reading.content import HASH_COLUMN
from gradmeter.runs.engines.processes import WorkerError
from gradmeter.runs.measuring import MeasuredSet, Work, measure
from gradmeter.sources.samples import Unlabelled, open_source
from gradmeter.trust.evaluation.comparison import WRONG
from gradmeter.trust.risk import Guarantee
from gradmeter.trust.synthetic import KINDS, per_kind
from runs.measuring.deadly import Deadly
from runs.measuring.small import classifier
from trust.quick import fit_quickly
from trust.trained import digits, trained

pytestmark = pytest.mark.slow

QUICK = {"repetitions": 100}
# A meta classifier that is fitted in a moment, for tests that are about something else.
RIDGE = {**QUICK, "meta_classifier": "ridge"}


def test_what_is_saved_is_what_the_library_fits(place: Path, at_place: Path, tmp_path: Path) -> None:
    options = {**QUICK, "reads": "gradients"}
    result = fit(recipe(place), "validation", ["noise:uniform:200"], tmp_path / "trust", **options)
    assert result.guarantee is None
    assert result.refusal is None
    loaded = TrustModel.load(tmp_path / "trust", trained())
    images = digits()[0][900:1000]
    torch.testing.assert_close(loaded.predict_proba(images), result.trust.predict_proba(images), rtol=0, atol=1e-12)
    # Fit again from the saved readings.
    known = pq.read_table(tmp_path / "trust/readings/validation.parquet")
    unknown = pq.read_table(tmp_path / "trust/readings/noise-uniform.parquet")
    right = int((known["label"].to_numpy() == known["prediction"].to_numpy()).sum())
    synthetic = len(KINDS) * per_kind(600)
    assert result.learned_from == {"right": right, "wrong": 600 - right, "unknown": 200, "synthetic": synthetic}
    assert result.accuracy_counts == (right, 600)
    # One table per kind.
    synthetic_tables = list(MeasuredSet(tmp_path / "trust/readings/_synthetic.parquet").tables())
    again = TrustModel(GradientMeter(trained()), reads="gradients").fit(known, [unknown], synthetic=synthetic_tables)
    torch.testing.assert_close(again.predict_proba(images), loaded.predict_proba(images))


def test_too_few_right_predictions_in_the_half_to_fit_on(place: Path, at_place: Path, tmp_path: Path) -> None:
    images, labels = digits()
    np.savez(tmp_path / "few.npz", images=images[900:980, 0].mul(255).byte().numpy(), labels=labels[900:980].numpy())
    for reads in ("forward", "auto"):
        with pytest.raises(InputError, match=r"predicted right.*half that is not held out"):
            fit(recipe(place), str(tmp_path / "few.npz"), [], tmp_path / "trust", risk=0.1, reads=reads, **QUICK)
    # Nothing else is measured or compared, which may take minutes.
    assert [path.name for path in (tmp_path / "trust/readings").iterdir()] == ["few-forward.parquet"]


def test_copies_are_not_compared() -> None:
    """A judge that has seen a copy of an input in the other half would know it."""
    known = pa.table({"id": ["a", "b", "c", "d"], HASH_COLUMN: pa.array([7, 3, 7, 2], pa.uint64())})
    assert _distinct(known)["id"].to_pylist() == ["a", "b", "d"]
    assert _distinct(known.select(["id"])).num_rows == 4


def test_a_loading_process_that_is_killed_while_reads_are_compared() -> None:
    known = pa.table({"id": [str(index) for index in range(40)], "label": [index % 3 for index in range(40)]})
    with pytest.raises(WorkerError, match="the same command again"):
        list(_pilot(classifier(), Deadly(3), known, Work(workers=1)))


def test_the_comparison_is_within_held_out_folds(fitted: Fitted) -> None:
    judge, judged = fitted.trust.judge, fitted.judged
    assert judge is not None
    assert judge.folds is not None
    inside, outside = judged.correct, judged.wrong
    for method, p_wrong in (("P(correct)", 1 - judge.held_out.p_correct), ("softmax", judged.uncertainty["softmax"])):
        taken = [(inside | outside) & (judge.folds == fold) for fold in np.unique(judge.folds[outside])]
        areas = [roc_auc_score(outside[rows], p_wrong[rows]) for rows in taken]
        pairs = [(inside & rows).sum() * (outside & rows).sum() for rows in taken]
        expected = np.average(areas, weights=pairs)
        assert fitted.comparison.estimates["auroc", WRONG, method].value == pytest.approx(expected, abs=1e-12)
    # A meta classifier that was fitted on the samples would recognise all of them.
    assert fitted.comparison.estimates["auroc", "noise:uniform", "P(correct)"].value < 1


def test_the_guarantee_uses_held_out_data(fitted: Fitted, place: Path) -> None:
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


def test_equal_images_prove_nothing_of_each_other(
    place: Path, at_place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of each image there are three copies: either all of them are held out, or none."""
    tested, set_risk = [], TrustModel.set_risk

    def spy(trust: TrustModel, risk: float, known: pa.Table, *args: Any, **options: Any) -> Guarantee:
        tested.append(len(known))
        return set_risk(trust, risk, known, *args, **options)

    monkeypatch.setattr(TrustModel, "set_risk", spy)
    for path in sorted(Path("validation").rglob("*.png")):
        for copy in range(3):
            target = tmp_path / "thrice" / path.parent.name / f"{copy}-{path.name}"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    result = fit(recipe(place), str(tmp_path / "thrice"), [], tmp_path / "trust", risk=0.1, **RIDGE)
    assert result.learned_from["right"] + result.learned_from["wrong"] == 900
    assert len(result.trust.learned_contents) == 2 * 300  # of images and of their readings
    assert result.guarantee is not None
    # The guarantee must also hold with the others, which recur.
    assert tested == [1800]
    assert result.guarantee.accepted == round(900 * result.guarantee.coverage)


def test_where_nothing_can_be_promised(place: Path, at_place: Path, tmp_path: Path) -> None:
    result = fit(recipe(place), "validation", [], tmp_path / "trust", risk=0.001, **RIDGE)
    assert result.guarantee is None
    assert result.refusal is not None
    assert "0.001" in result.refusal
    assert "unknown" not in result.refusal
    assert TrustModel.load(tmp_path / "trust", trained()).guarantee is None


def right_digits(folder: Path, place: Path) -> str:
    """Write the validation digits with correct predictions to a folder."""
    images, labels = digits()
    right = trained()(images[300:900]).argmax(1) == labels[300:900]
    for path in sorted((place / "validation").rglob("*.png")):
        if right[int(path.stem)]:
            target = folder / path.parent.name / path.name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    return str(folder)


def test_where_all_predictions_are_right(place: Path, at_place: Path, tmp_path: Path) -> None:
    result = fit(recipe(place), right_digits(tmp_path / "right", place), [], tmp_path / "trust", risk=0.1, **QUICK)
    assert result.accuracy_counts[0] == result.accuracy_counts[1] > 500
    assert result.comparison.estimates == {}
    assert result.guarantee is not None
    assert "cannot be compared" in learned(result)[-1]
    assert TrustModel.load(tmp_path / "trust", trained()).guarantee == result.guarantee


def test_equal_images_are_too_few(place: Path, at_place: Path, tmp_path: Path) -> None:
    picture = next((Path(right_digits(tmp_path / "right", place)) / "3").iterdir())
    (tmp_path / "equal/3").mkdir(parents=True)
    for number in range(60):
        (tmp_path / "equal/3" / f"{number}.png").write_bytes(picture.read_bytes())
    with pytest.raises(InputError, match="1 different input is"):
        fit(recipe(place), str(tmp_path / "equal"), [], tmp_path / "trust", risk=0.1, **QUICK)
    with pytest.raises(InputError, match=r"\b1 predictions are right, 0 are wrong and 1\d\d inputs"):
        fit(recipe(place), str(tmp_path / "equal"), ["torn"], tmp_path / "trust", risk=0.1, **RIDGE)


def test_a_set_of_unknown_inputs_of_which_one_half_is_empty(place: Path, at_place: Path, tmp_path: Path) -> None:
    torn = sorted(Path("torn/left").iterdir())
    result = fit(recipe(place), "validation", [str(torn[0])], tmp_path / "one", risk=0.1, **RIDGE)
    assert result.guarantee is None
    assert "none of the 1 inputs of 0001 can be held out" in str(result.refusal)
    # The other half is empty if the image is in another set, too, and held out there.
    again = [
        fit(recipe(place), "validation", ["torn", str(one)], tmp_path / one.stem, risk=0.1, **RIDGE) for one in torn[:5]
    ]
    shares = [result.guarantee.unknown_shares[1] for result in again if result.guarantee is not None]
    assert 0 < len(shares) < 5
    assert {*shares} == {0.0}


def test_readings_that_were_measured_before(place: Path, at_place: Path, tmp_path: Path) -> None:
    classifier = recipe(place).open()
    measure(classifier, open_source("validation", classifier.image), tmp_path / "known.parquet")
    result = fit(recipe(place), str(tmp_path / "known.parquet"), [], tmp_path / "trust", reads="gradients", **QUICK)
    assert len(result.judged.correct) == 600
    assert [path.name for path in (tmp_path / "trust").glob("readings/*")] == ["_synthetic.parquet"]
    assert result.sets[0].source is not None
    assert len(result.sets[0].source) == 600
    other = replace(recipe(place), options=replace(recipe(place).options, mean=(0.5,)))
    with pytest.raises(DataError, match=r"digits_network:network .*preprocessing"):
        fit(other, str(tmp_path / "known.parquet"), [], tmp_path / "other", **QUICK)
    (tmp_path / "known.parquet/_part-00000.json").unlink()
    with pytest.raises(DataError, match="0 of 600 samples"):
        fit(recipe(place), str(tmp_path / "known.parquet"), [], tmp_path / "other", **QUICK)


def test_classes_of_unknown_data_are_not_looked_at(place: Path, at_place: Path, tmp_path: Path) -> None:
    result = fit(recipe(place), "validation", ["torn", "torn"], tmp_path / "trust", **RIDGE)
    assert result.judged.unknowns == ("torn", "torn (2)")
    assert result.learned_from["unknown"] == 400


def test_another_fit_on_the_same_data_replaces_the_first(place: Path, at_place: Path, tmp_path: Path) -> None:
    def again(**options: Any) -> tuple[Fitted, list[str], bool]:
        """Return the fit, its notes, and whether anything was measured."""
        notes: list[str] = []
        before = measured()
        result = fit(recipe(place), "validation", [], tmp_path / "trust", work=Work(on_note=notes.append), **options)
        return result, notes, measured() != before

    def measured() -> dict[str, int]:
        return {str(path): path.stat().st_mtime_ns for path in (tmp_path / "trust").rglob("part-*.parquet")}

    first, notes, _ = again(**RIDGE)
    assert first.replaced is None
    assert notes == []
    same, notes, measured_anew = again(**RIDGE)
    assert same.trust.fingerprint() == first.trust.fingerprint()
    assert same.replaced is None
    assert len(notes) == 1
    assert notes[0].startswith("validation: 600 of 600 ")
    guaranteed, _, measured_anew = again(risk=0.08, **RIDGE)
    assert guaranteed.replaced == "--classifier ridge, --reads auto, no --risk"
    assert not measured_anew
    other, _, measured_anew = again(meta_classifier="lasso", risk=0.1, confidence=0.9, **QUICK)
    assert other.replaced is not None
    assert other.replaced.startswith("--classifier ridge, --reads auto, --risk 0.08 --confidence 0.95")
    assert not measured_anew
    assert json.loads((tmp_path / "trust/trust.json").read_text())["notes"]["meta_classifier"] == "lasso"


def test_the_place_of_the_data_counts_and_not_how_it_is_spelled(
    place: Path, at_place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (str(place / "validation"), "validation"):
        fit(recipe(place), name, [], tmp_path / "trust", **RIDGE)
        assert len([*(tmp_path / "trust/readings").glob("validation*")]) == 1  # not measured anew
    shutil.copytree("validation", tmp_path / "validation")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OutputError, match=r"DATA of another place.*--fresh"):
        fit(recipe(place), "validation", [], tmp_path / "trust", **RIDGE)
    trust = TrustModel.load(tmp_path / "trust", trained())
    assert str(place) not in json.dumps(trust.notes["learned_from"])
    del trust.notes["learned_from"][0]["place"]  # as an earlier version
    trust.save(tmp_path / "trust")
    monkeypatch.chdir(place)
    with pytest.raises(OutputError, match="other DATA"):
        fit(recipe(place), "validation", ["torn"], tmp_path / "trust", **RIDGE)
    fit(recipe(place), "validation", [], tmp_path / "trust", **RIDGE)


def test_classes_without_known_inputs_are_named(place: Path, at_place: Path, fitted: Fitted, tmp_path: Path) -> None:
    shutil.copytree("validation", tmp_path / "some")
    shutil.rmtree(tmp_path / "some/3")
    classifier = recipe(place).open()
    assert classifier.classes is not None
    few = fit(recipe(place), str(tmp_path / "some"), [], tmp_path / "trust", **RIDGE)
    assert few.absent == (classifier.classes[3],)
    assert f"No known input is of class {classifier.classes[3]};" in " ".join(learned(few))
    assert fitted.absent == ()
    assert "No known input" not in " ".join(learned(fitted))
    assert "of 9 classes, such as 0, 1, 2, 3, 4;" in " ".join(learned(replace(few, absent=tuple("012345678"))))


def test_synthetic_unknowns_of_the_whole_and_of_the_half_both_stay(place: Path, at_place: Path, tmp_path: Path) -> None:
    for risk in (0.5, None, 0.5):
        result = fit(recipe(place), "validation", [], tmp_path / "trust", reads="forward", risk=risk, **QUICK)
        assert result.learned_from["synthetic"] == len(KINDS) * per_kind(600 if risk is None else 300)
    names = {path.name for path in (tmp_path / "trust/readings").iterdir()}
    assert names == {f"{name}-forward.parquet" for name in ("validation", "_synthetic", "_synthetic-half")}


def test_a_fit_on_other_data_is_not_written_over(place: Path, at_place: Path, tmp_path: Path) -> None:
    fit(recipe(place), "validation", [], tmp_path / "trust", **RIDGE)
    saved = (tmp_path / "trust/trust.json").read_text()
    with pytest.raises(OutputError, match=r"other DATA.*--fresh"):
        fit(recipe(place), "validation", ["torn"], tmp_path / "trust", **RIDGE)
    other = replace(recipe(place), options=replace(recipe(place).options, mean=(0.5,)))
    with pytest.raises(OutputError, match="MODEL or other options"):
        fit(other, "validation", [], tmp_path / "trust", **RIDGE)
    assert (tmp_path / "trust/trust.json").read_text() == saved
    assert [path.name for path in (tmp_path / "trust/readings").iterdir()] == ["validation-once.parquet"]
    fresh = Work(fresh=True)
    fit(recipe(place), "validation", ["torn"], tmp_path / "trust", work=fresh, **RIDGE)


class Killed(BaseException):
    pass


def test_a_fit_killed_while_it_measures_synthetic_unknowns_goes_on(
    place: Path, at_place: Path, fitted: Fitted, tmp_path: Path
) -> None:
    arguments = ("validation", ["noise:uniform:200"], tmp_path / "trust")
    begun: list[str] = []
    done = 0

    def kill(samples: int) -> None:
        nonlocal done
        done += samples if begun[-1] == "synthetic unknowns" else 0
        if done > 2.5 * per_kind(300):
            raise Killed

    work = Work(on_start=lambda name, samples: begun.append(name), on_progress=kill)
    with pytest.raises(Killed):
        fit(recipe(place), *arguments, risk=0.08, work=work, **QUICK)
    parts = {path: path.stat().st_mtime_ns for path in (tmp_path / "trust/readings").rglob("part-*.parquet")}
    assert sum("_synthetic" in str(path) for path in parts) == 2
    notes: list[str] = []
    result = fit(recipe(place), *arguments, risk=0.08, work=Work(on_note=notes.append), **QUICK)
    assert f" {2 * per_kind(300)} " in notes[-1]
    assert all(path.stat().st_mtime_ns == when for path, when in parts.items())
    assert result.trust.fingerprint() == fitted.trust.fingerprint()


def test_a_fit_killed_while_it_measures_synthetic_unknowns_does_not_block_other_data(
    place: Path, at_place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit_quickly(monkeypatch)

    def kill(name: str, samples: int) -> None:
        if name == "synthetic unknowns":
            raise Killed

    with pytest.raises(Killed):
        fit(recipe(place), "validation", [], tmp_path / "trust", reads="forward", work=Work(on_start=kill), **QUICK)
    in_used, in_new = (
        fit(recipe(place), "test", [], tmp_path / name, reads="forward", **QUICK) for name in ("trust", "new")
    )
    assert in_used.trust.fingerprint() == in_new.trust.fingerprint()


def test_readings_without_their_samples(place: Path, at_place: Path, fitted: Fitted, tmp_path: Path) -> None:
    shutil.copytree("validation", tmp_path / "moved")
    classifier = recipe(place).open()
    measure(classifier, open_source(str(tmp_path / "moved"), classifier.image), tmp_path / "known.parquet")
    next((tmp_path / "moved/3").iterdir()).unlink()  # the samples are no longer those that were measured
    result = fit(recipe(place), str(tmp_path / "known.parquet"), [], tmp_path / "trust", reads="gradients", **QUICK)
    assert result.sets[0].source is None
    assert result.learned_from["synthetic"] == 0
    assert result.no_synthetic is not None
    assert any(result.no_synthetic in sentence for sentence in learned(result))
    assert fitted.no_synthetic is None


def test_it_says_that_a_guarantee_takes_half_of_the_data(fitted: Fitted, place: Path, at_place: Path) -> None:
    """So that the numbers of a fit with a guarantee are not taken for those of all data."""
    half, other = learned(fitted)[:2]
    assert {"half", f"{len(KINDS) * per_kind(300):,}"} <= {*half.split()}
    assert "guarantee" in other
    whole = replace(fitted, trust=shallow_copy(fitted.trust))
    whole.trust.notes = {**fitted.trust.notes, "promise": None}
    assert not any("half" in sentence for sentence in learned(whole))


def test_all_data_are_looked_at_before_the_first_is_measured(place: Path, at_place: Path, tmp_path: Path) -> None:
    unnamed = replace(recipe(place), classes=None)
    for model, known, unknown, named in (
        (recipe(place), "validation", "noise:gaussian", "noise:gaussian"),
        (recipe(place), "validation", "absent", "absent"),
        (recipe(place), "validation/3", "torn", "^3 "),
        (unnamed, "torn", "noise:uniform", r"\(left, right\)"),
    ):
        with pytest.raises((DataError, InputError), match=named):
            fit(model, known, [unknown], tmp_path / "trust")
    assert list(tmp_path.iterdir()) == []


def test_a_save_that_was_killed_is_no_obstacle(place: Path, at_place: Path, tmp_path: Path) -> None:
    (tmp_path / "trust").mkdir()
    (tmp_path / "trust/estimator-0123456789abcdef.skops").write_bytes(b"")
    fit(recipe(place), "validation", [], tmp_path / "trust", **RIDGE)
    assert len(list((tmp_path / "trust").glob("estimator-*"))) == 1


def test_what_cannot_be_is_refused_before_anything_is_measured(place: Path, at_place: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="classifier='forest'"):
        fit(recipe(place), "validation", [], tmp_path / "trust", meta_classifier="forest")
    with pytest.raises(InputError, match="risk=2"):
        fit(recipe(place), "validation", [], tmp_path / "trust", risk=2)
    with pytest.raises(InputError, match=r"score='p_known'.*\bridge\b"):
        fit(recipe(place), "validation", [], tmp_path / "trust", meta_classifier="ridge", risk=0.1, score="p_known")
    with pytest.raises(InputError, match=r"score='p_known'.*--risk"):
        fit(recipe(place), "validation", [], tmp_path / "trust", score="p_known")
    for option in ("confidence", "least_probability", "coverage_tolerance"):
        with pytest.raises(InputError, match=rf"{option}=0\.9 without a risk guarantee; .*--risk"):
            fit(recipe(place), "validation", [], tmp_path / "trust", **{option: 0.9})
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="mine "):
        fit(recipe(place), "validation", [], tmp_path / "mine")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine"]


def test_known_data_need_labels(place: Path, at_place: Path, tmp_path: Path) -> None:
    for number in range(3):
        Image.fromarray(np.full((8, 8), 80 * number, np.uint8)).save(tmp_path / f"{number}.png")
    with pytest.raises(DataError, match=f"^{tmp_path.name} "):
        fit(recipe(place), str(tmp_path), [], tmp_path / "trust", **QUICK)


def test_the_forward_pass_alone(place: Path, at_place: Path, tmp_path: Path) -> None:
    """Both kinds of readings lie side by side, and the fit with fewer readings replaces the other."""
    fit(recipe(place), "validation", [], tmp_path / "trust", reads="gradients", **RIDGE)
    result = fit(recipe(place), "validation", [], tmp_path / "trust", reads="forward", **RIDGE)
    assert result.replaced is not None
    assert "--reads gradients" in result.replaced
    names = {path.name for path in (tmp_path / "trust/readings").iterdir()}
    assert {"validation-once.parquet", "validation-forward-once.parquet"} <= names
    table = MeasuredSet(tmp_path / "trust/readings/validation-forward-once.parquet").readings()
    assert table.layers == ()
    loaded = TrustModel.load(tmp_path / "trust", trained())
    assert not loaded.meter.gradients
    images = digits()[0][900:1000]
    assert torch.equal(loaded.predict_proba(images), result.trust.predict_proba(images))


def test_one_image_of_each_patient(place: Path, at_place: Path, tmp_path: Path) -> None:
    """If images of one patient are in several folds, wrong predictions are found by their neighbours."""
    for path in Path("validation").rglob("*.png"):
        for number in range(3):
            copy = tmp_path / "crops" / path.parent.name / f"patient{path.stem}_{number}.png"
            copy.parent.mkdir(parents=True, exist_ok=True)
            image = np.asarray(Image.open(path)).copy()
            image[0, number] ^= 1
            Image.fromarray(image).save(copy)
    crops, options = str(tmp_path / "crops"), {"reads": "forward", **QUICK}
    with pytest.warns(GradmeterWarning, match="--one-per"):
        all_of_them = fit(recipe(place), crops, [], tmp_path / "all", **options)
    one_of_each = fit(recipe(place), crops, [], tmp_path / "one", one_per=r"patient\d+", **options)
    assert [fitted.accuracy_counts[1] for fitted in (all_of_them, one_of_each)] == [1800, 600]
    first, second = (fitted.comparison.estimates["auroc", WRONG, OURS] for fitted in (all_of_them, one_of_each))
    assert first.value > second.high
    judged = evaluate(
        one_of_each.trust, recipe(place).open(), crops, [], tmp_path / "out", one_per="t([0-9]+)", **QUICK
    )
    assert len(judged.rows) == 600
    # The others are left out, although they were measured before.
    trust, classifier, notes = one_of_each.trust, recipe(place).open(), list[str]()
    work = Work(on_note=notes.append)
    assert len(evaluate(trust, classifier, crops, [], tmp_path / "out", work=work, **QUICK).rows) == 1800
    evaluate(trust, classifier, crops, [], tmp_path / "out", one_per=r"patient\d+", work=work, **QUICK)
    assert any("1,200 earlier samples were removed or left out" in note for note in notes)
    # With readings there is nothing to choose from, and a TrustModel of other samples is not replaced.
    readings = str(tmp_path / "one/readings/crops-forward.parquet")
    with pytest.raises(InputError, match="holds readings; expected the samples themselves"):
        fit(recipe(place), readings, [], tmp_path / "new", one_per="t", **options)
    with pytest.raises(OutputError, match=r"other samples of DATA .or another --one-per"):
        fit(recipe(place), crops, [], tmp_path / "one", **options)


def test_readings_that_hold_more_than_is_read(place: Path, at_place: Path, tmp_path: Path) -> None:
    classifier = recipe(place).open()
    measure(classifier, Unlabelled(open_source("torn", classifier.image)), tmp_path / "torn.parquet")
    results = []
    for number, unknown in enumerate(("torn", str(tmp_path / "torn.parquet"))):
        fitted = fit(recipe(place), "validation", [unknown], tmp_path / f"{number}", reads="forward", **RIDGE)
        judged = evaluate(fitted.trust, classifier, "test", [unknown], tmp_path / f"evaluation {number}", **QUICK)
        results.append((fitted.judged.probability, judged.comparison.estimates, judged.importance))
    assert str(results[0]) == str(results[1])
