import copy
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from apps.workflows.digits import recipe
from gradmeter.apps.workflows.evaluate import RESULTS, Evaluation, GuaranteeCheck, _guaranteed, evaluate
from gradmeter.apps.workflows.evaluation_report import DISTRIBUTIONS, _figures, start_writing, write_evaluation
from gradmeter.apps.workflows.extremes import extremes
from gradmeter.apps.workflows.fit import Fitted, fit
from gradmeter.apps.workflows.open_trust import open_trust
from gradmeter.apps.workflows.records import guarantee_record
from gradmeter.apps.workflows.wording import (
    SCORE_NAMES,
    answer,
    compared,
    guarantee_checked,
    guarantee_scope,
    guaranteed,
)
from gradmeter.errors import DataError, GradmeterWarning, InputError, OutputError
from gradmeter.reading.scores import energy, entropy
from gradmeter.runs.measuring import Work, measure
from gradmeter.sources.samples import open_source
from gradmeter.trust.evaluation.comparison import ALL, WRONG, Comparison
from gradmeter.trust.evaluation.resampling import Interval
from gradmeter.trust.meta_classifier import SCORES
from trust.trained import digits, trained

pytestmark = pytest.mark.slow

MODEL = "digits_network:network"


def test_every_row_is_what_the_network_says(evaluation: Evaluation, fitted: Fitted) -> None:
    rows = evaluation.rows.to_pandas()
    assert rows["concept"].value_counts().to_dict() == {"test": 897, "torn": 200, "noise:uniform": 150}
    # The files are sorted by class, the images by number.
    number = rows["id"].where(rows["concept"] == "test").dropna().str[2:6].astype(int)
    images, labels = digits()
    readings = fitted.trust.meter(images[900:][number.tolist()])
    known = rows.iloc[: len(number)]
    assert (known["label"].to_numpy() == labels[900:][number.tolist()].numpy()).all()
    assert (known["prediction"].to_numpy() == readings.predictions.numpy()).all()
    # The files hold pixels rounded to 8 bits.
    np.testing.assert_allclose(known["entropy"], entropy(readings.logits), atol=0.02)
    np.testing.assert_allclose(known["energy"], energy(readings.logits), atol=0.05)
    assert not rows["correct"][len(number) :].any()
    assert evaluation.test_error == pytest.approx(1 - known["correct"].mean())


def test_every_column_is_right_predictions_against_its_own(evaluation: Evaluation) -> None:
    rows = evaluation.rows.to_pandas()
    right = rows["correct"]
    columns = {
        WRONG: (rows["concept"] == "test") & ~right,
        "torn": rows["concept"] == "torn",
        "noise:uniform": rows["concept"] == "noise:uniform",
        ALL: ~right,
    }
    for column, members in columns.items():
        for method, score in (
            ("P(correct)", -rows["p_correct"]),
            ("margin", -rows["margin"]),
            ("energy", rows["energy"]),
        ):
            taken = right | members
            expected = roc_auc_score(members[taken], score[taken])
            assert evaluation.comparison.estimates["auroc", column, method].value == pytest.approx(expected, abs=1e-12)


def test_copies_count_once_in_the_errors_of_classes(at_place: Path, fitted: Fitted, tmp_path: Path) -> None:
    shutil.copytree("test", tmp_path / "copied")
    for path in sorted((tmp_path / "copied").glob("*/*.png"))[:40]:
        for number in range(3):
            shutil.copy(path, path.with_name(f"{path.stem}-{number}.png"))
    counted = []
    for known in ("test", str(tmp_path / "copied")):
        out = tmp_path / f"out{len(counted)}"
        counted.append(evaluate(fitted.trust, recipe(Path.cwd()).open(), known, [], out, repetitions=50).class_errors)
    assert [(given.name, given.predictions, given.errors) for given in counted[0]] == [
        (given.name, given.predictions, given.errors) for given in counted[1]
    ]
    assert sum(given.predictions for given in counted[0]) == 897


def test_labels_in_another_order_are_named(at_place: Path, fitted: Fitted, tmp_path: Path) -> None:
    images, labels = digits()
    path = tmp_path / "swapped.npz"
    of_swapped = torch.where(labels[900:] < 2, 1 - labels[900:], labels[900:])
    np.savez(path, images=images[900:, 0].mul(255).byte().numpy(), labels=of_swapped.numpy())
    with pytest.warns(GradmeterWarning, match="number the classes in another order"):
        evaluate(fitted.trust, recipe(Path.cwd()).open(), str(path), [], tmp_path / "out", repetitions=50)


def test_unknown_inputs_that_are_given_twice_are_named(at_place: Path, fitted: Fitted, tmp_path: Path) -> None:
    part = tmp_path / "part"
    part.mkdir()
    for path in sorted(Path("torn").rglob("*.png"))[:7]:
        (part / path.name).write_bytes(path.read_bytes())
    with pytest.warns(GradmeterWarning, match="7 of the 7 inputs of part are also in other unknown data"):
        evaluate(fitted.trust, recipe(Path.cwd()).open(), "test", ["torn", str(part)], tmp_path / "out", repetitions=50)


def test_noise_is_not_the_noise_that_fit_saw(evaluation: Evaluation, fitted: Fitted, at_place: Path) -> None:
    assert evaluation.seen == {}
    noise_of_fit = fitted.sets[1].readings().logits
    noise = evaluation.sets[2].readings().logits
    assert not np.isin(noise[:, 0].numpy(), noise_of_fit[:, 0].numpy()).any()


def test_a_set_of_a_single_sample(at_place: Path, fitted: Fitted, tmp_path: Path, unpainted: None) -> None:
    trust, classifier = open_trust(Path("trust"), model=MODEL)
    image = next(Path("torn/left").iterdir())
    result = evaluate(trust, classifier, "test", [str(image)], tmp_path / "out", repetitions=100)
    assert [(data.name, len(data.least)) for data in extremes(result, 3)] == [("test", 3), (image.stem, 0)]
    assert write_evaluation(result, tmp_path / "out", command="").is_file()


def test_where_all_predictions_are_right(at_place: Path, fitted: Fitted, tmp_path: Path) -> None:
    trust, classifier = open_trust(Path("trust"), model=MODEL)
    images, labels = digits()
    number = next(
        row for row in range(900, len(images)) if trust.meter(images[row : row + 1]).predictions == labels[row]
    )
    name = str(int(labels[number]))
    (tmp_path / "one" / name).mkdir(parents=True)
    image = Path(f"test/{name}/{number - 900:04}.png")
    (tmp_path / "one" / name / image.name).write_bytes(image.read_bytes())
    with pytest.raises(InputError, match=r"\b1\b.*--unknown"):
        evaluate(trust, classifier, str(tmp_path / "one"), [], tmp_path / "out", repetitions=100)


def test_data_that_fit_saw_are_named(at_place: Path, fitted: Fitted, tmp_path: Path) -> None:
    trust, classifier = open_trust(Path("trust"), model=MODEL)
    # All of them, all of them with other file names, and a part of them.
    for number, folder in ((600, "validation"), (600, "copy"), (100, "part")):
        if folder != "validation":
            for path in sorted(Path("validation").rglob("*.png"))[: None if number == 600 else 2 * number]:
                copy = tmp_path / folder / path.parent.name / f"another-{path.name}"
                copy.parent.mkdir(parents=True, exist_ok=True)
                copy.write_bytes(path.read_bytes())
            folder = str(tmp_path / folder)
        result = evaluate(trust, classifier, folder, [], tmp_path / f"{Path(folder).name}-out", repetitions=100)
        learned = int(trust.learned_from(result.sets[0].contents()).sum())
        assert 0.3 * len(result.rows) < learned < 0.7 * len(result.rows)
        assert result.seen == {Path(folder).name: learned}
        assert f" {learned} of the {len(result.rows)} samples of {Path(folder).name}" in answer(result)[-1]


def test_the_guarantee_is_checked(evaluation: Evaluation, fitted: Fitted) -> None:
    assert fitted.guarantee is not None
    rows = evaluation.rows.to_pandas()
    known = rows[rows["concept"] == "test"]
    accepted = known[known["accepted"]]
    assert (accepted["p_correct"] >= fitted.guarantee.threshold).all()
    check = evaluation.guarantee_checks[WRONG]
    assert (check.samples, check.accepted, check.errors) == (897, len(accepted), (~accepted["correct"]).sum())
    assert check.risk <= 0.08
    assert evaluation.guarantee_checks[ALL].samples == len(rows)
    assert evaluation.guarantee_checks[WRONG].unknown == {}
    assert evaluation.guarantee_checks["torn"].unknown == {"torn": 200}
    assert evaluation.guarantee_checks["torn"].guaranteed == {"noise:uniform:200": 0.25}


def test_a_guarantee_of_a_program_is_not_about_the_kinds_of_fit(fitted: Fitted) -> None:
    trust = copy.copy(fitted.trust)
    assert trust.guarantee is not None
    assert _guaranteed(trust) == {"noise:uniform:200": 0.25}
    # `set_risk` with other data, of which there happen to be as many kinds as in `fit`.
    trust.guarantee = replace(trust.guarantee, accepted=trust.guarantee.accepted - 1)
    assert _guaranteed(trust) is None
    trust.guarantee = replace(trust.guarantee, unknown_shares=())
    assert _guaranteed(trust) == {}


def test_a_kind_that_was_given_twice_has_the_share_of_the_first(fitted: Fitted) -> None:
    trust, names = copy.copy(fitted.trust), ("known", "torn", "torn", "copies")
    assert trust.guarantee is not None
    trust.guarantee = replace(trust.guarantee, unknown_shares=(0.25, 0.0, 0.0))
    learned_from = [{"data": name} for name in names]
    trust.notes = {**trust.notes, "learned_from": learned_from, "guarantee": guarantee_record(trust.guarantee)}
    guaranteed = _guaranteed(trust)
    assert guaranteed is not None
    assert [*guaranteed.items()] == [("torn", 0.25), ("copies", 0.0)]
    check = GuaranteeCheck(trust.guarantee, 90, 1, 120, {"torn": 10, "copies": 10}, guaranteed)
    assert check.other_kinds == ("copies",)
    assert not check.is_covered


def test_judgements_hold_the_verdicts(evaluation: Evaluation) -> None:
    rows = evaluation.rows.to_pandas()
    contents = np.concatenate([data.contents() for data in evaluation.sets])
    np.testing.assert_array_equal(evaluation.judged.contents, contents)
    assert {*SCORES, "accepted", "reason"} <= {*rows.columns}
    np.testing.assert_allclose(rows["p_correct"], rows["p_known"] * rows["p_correct_if_known"])
    assert (rows["reason"].isna() == rows["accepted"]).all()


@pytest.mark.parametrize(
    ("score", "name"),
    [("p_correct", "P(correct)"), ("p_known", "P(known)"), ("p_correct_if_known", "P(correct | known)")],
)
def test_a_threshold_is_said_to_be_on_its_score(score: str, name: str, evaluation: Evaluation) -> None:
    """Only the figure of this probability shows the threshold."""
    guarantee = replace(evaluation.guarantee_checks[WRONG].guarantee, score=score)
    assert f" {name} " in guaranteed(guarantee, 0.0, None)
    checks = {WRONG: replace(evaluation.guarantee_checks[WRONG], guarantee=guarantee)}
    drawn = dict(_figures(replace(evaluation, guarantee_checks=checks)))
    labels = {shown: drawn[stem]().axes[-1].get_xlabel() for shown, stem in DISTRIBUTIONS.items()}
    assert all(label.startswith(SCORE_NAMES[shown]) for shown, label in labels.items())
    assert {shown for shown, label in labels.items() if "accepted" in label} == {score}


def test_what_is_accepted_comes_first_in_the_answer(evaluation: Evaluation) -> None:
    lines = answer(evaluation)
    assert [line.partition(":")[0] for line in lines[:5]] == [
        "Known inputs",
        "Known inputs and torn",
        "Known inputs and noise",
        "All inputs",
        "Risk guarantee",
    ]
    assert all("accepted" in line for line in lines[:5])
    assert not any("accepted" in line for line in lines[5:])
    assert ["only observed" in line for line in lines[:4]] == [False, True, False, True]


def test_the_guarantee_is_checked_on_known_inputs_if_all_are_correct(
    at_place: Path, fitted: Fitted, tmp_path: Path
) -> None:
    images, labels = digits()
    right = trained()(images[900:]).argmax(1) == labels[900:]
    paths = [path for path in sorted(Path("test").rglob("*.png"))[:200] if right[int(path.stem)]]
    for path in paths:
        target = tmp_path / "right" / path.parent.name / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    trust, classifier = open_trust(Path("trust"), model=MODEL)
    result = evaluate(trust, classifier, str(tmp_path / "right"), ["torn"], tmp_path / "out", repetitions=100)
    rows = result.rows.to_pandas()
    assert [*result.guarantee_checks] == [WRONG, "torn"]
    known = result.guarantee_checks[WRONG]
    assert (known.samples, known.errors) == (len(paths), 0)
    assert known.accepted == rows["accepted"][: len(paths)].sum()


@pytest.mark.parametrize(
    ("guaranteed", "named"),
    [
        ({"torn": 0.25}, "40 % of these inputs are unknown and the guarantee covers at most 25 %"),
        # With as many digits as distinguish the two shares.
        ({"torn": 0.39996}, "40 % of these inputs are unknown and the guarantee covers at most 39.996 %"),
        # The share is covered, but not the kind.
        ({"noise:uniform": 0.4}, "does not cover unknown inputs such as torn"),
        # More of one kind in place of another one is not covered.
        (
            {"torn": 0.25, "noise:uniform": 0.9},
            "40 % of these inputs are unknown and the guarantee covers at most 25 %",
        ),
        ({"torn": 0.0, "noise:uniform": 0.4}, "does not cover unknown inputs such as torn"),
        ({}, "covers no unknown inputs"),
        (None, "does not say"),
    ],
)
@pytest.mark.parametrize("errors", [0, 25])
def test_inputs_that_the_guarantee_does_not_cover_are_only_observed(
    evaluation: Evaluation, errors: int, guaranteed: dict[str, float] | None, named: str
) -> None:
    """Neither a low error rate nor a high one says anything about the guarantee."""
    guarantee = evaluation.guarantee_checks[WRONG].guarantee
    check = GuaranteeCheck(guarantee, 50, errors, 100, {"torn": 40}, guaranteed)
    assert not check.is_covered
    sentence = guarantee_checked("torn", check)
    assert named in sentence
    assert "only observed" in sentence
    assert "guaranteed" not in sentence


@pytest.mark.parametrize(
    ("guaranteed", "unknown"),
    [
        ({"noise:uniform:200": 0.4}, {"noise:uniform:150": 40}),
        ({"torn": 0.5, "noise:normal": 0.1}, {"torn": 40}),
        ({"torn": 0.2, "noise:normal": 0.3}, {"torn": 15, "noise:normal": 25}),
        ({"./torn/": 0.5}, {"torn": 40}),  # as earlier versions saved it
    ],
)
def test_unknown_inputs_that_the_guarantee_covers(
    evaluation: Evaluation, guaranteed: dict[str, float], unknown: dict[str, int]
) -> None:
    check = GuaranteeCheck(evaluation.guarantee_checks[WRONG].guarantee, 50, 25, 100, unknown, guaranteed)
    assert check.is_covered
    assert guarantee_checked("unknown", check).endswith("above the guaranteed 8 %.")
    assert guarantee_checked("unknown", replace(check, errors=1)).endswith("within the guaranteed 8 %.")
    other = replace(check, unknown={**unknown, "noise:other:3": 1})
    assert other.other_kinds == ("noise:other:3",)
    assert not other.is_covered
    known = replace(check, unknown={}, guaranteed=None)
    assert guarantee_checked(WRONG, known).endswith("above the guaranteed 8 %.")


@pytest.mark.parametrize(
    ("guaranteed", "named"),
    [
        ({"noise:uniform:200": 0.25}, "at most 25 % of unknown inputs such as noise:uniform:200."),
        ({"a": 0.25, "b": 0.01}, "25 % of unknown inputs such as a, 1 % of unknown inputs such as b (of each kind and"),
        ({}, "no unknown inputs"),
        (None, "does not say"),
    ],
)
def test_the_answer_says_what_the_guarantee_covers(
    evaluation: Evaluation, guaranteed: dict[str, float] | None, named: str
) -> None:
    guarantee = replace(evaluation.guarantee_checks[WRONG].guarantee, score="p_known")
    sentence = guarantee_scope(GuaranteeCheck(guarantee, 50, 25, 100, {"noise": 40}, guaranteed))
    assert named in sentence
    assert f"P(known) is at least {guarantee.threshold:.6g}" in sentence


def test_numbers_of_the_answer_are_not_rounded_to_certainty(evaluation: Evaluation) -> None:
    guarantee = replace(evaluation.guarantee_checks[WRONG].guarantee, threshold=1 - 1e-9, confidence=0.9999999)
    almost_all = GuaranteeCheck(guarantee, 99_999, 1, 100_000, {}, {})
    sentence = guarantee_checked(WRONG, almost_all)
    assert " 99.999 % " in sentence
    assert " 0.001 % " in sentence
    assert "(1 of 99,999)" in sentence
    text = guaranteed(guarantee, 0.0, None)
    assert "99.99999 %" in text
    assert " 0.999999999:" in text
    assert "none of 100,000" in guarantee_checked(WRONG, replace(almost_all, accepted=0, errors=0))


def test_the_accepted_inputs_are_counted_beside_their_share(evaluation: Evaluation) -> None:
    """Unknown inputs are among them, so they are not a share of the known ones."""
    guarantee = replace(evaluation.guarantee_checks[WRONG].guarantee, coverage=0.6, accepted=960, errors=74)
    sentence = guaranteed(guarantee, 0.25, 0.77)
    assert "accepts 60.0 % of the held-out inputs (960 inputs, 74 of them wrong), 77.0 % of the known ones." in sentence


def test_differences_have_no_negative_zero() -> None:
    keys = [("auroc", WRONG, "softmax")]
    comparison = Comparison(
        dict.fromkeys(keys, Interval(0.5, 0.4, 0.6)), dict.fromkeys(keys, Interval(-1e-6, -2e-6, -1e-9)), 0.95
    )
    assert ": +0.00 to +0.00)" in compared(comparison, [WRONG])[0]


def test_a_difference_of_few_inputs_is_not_called_clear() -> None:
    keys = [("auroc", WRONG, "softmax")]
    comparison = Comparison(
        dict.fromkeys(keys, Interval(0.5, 0.4, 0.6)), dict.fromkeys(keys, Interval(0.2, 0.1, 0.3)), 0.95, {WRONG: 3}
    )
    (sentence,) = compared(comparison, [WRONG])
    assert "does not clearly differ from that of softmax: 70.00 % against 50.00 %" in sentence
    assert sentence.endswith("(this rests on 3 different inputs, and 10 are needed to show a difference).")


def test_the_answer_says_where_it_is_not_better(evaluation: Evaluation) -> None:
    lines = [line for line in answer(evaluation) if "AUROC" in line]
    for column, line in zip((WRONG, "torn", "noise:uniform", ALL), lines, strict=True):
        verdict = evaluation.comparison.verdict("auroc", column, "softmax")
        words = {"better": "is higher than", "worse": "is lower than", "no different": "does not clearly differ from"}
        assert f"P(correct) {words[verdict]} that of softmax" in line


def test_extremes_are_the_ends_of_the_order(evaluation: Evaluation, at_place: Path) -> None:
    known, torn, noise = extremes(evaluation, 4)
    rows = evaluation.rows.to_pandas()
    p = rows[rows["concept"] == "test"]["p_correct"].sort_values().to_numpy()
    np.testing.assert_array_equal([example.scores["p_correct"] for example in known.least], p[:4])
    np.testing.assert_array_equal([example.scores["p_correct"] for example in known.most], p[::-1][:4])
    assert known.least[0].label in "0123456789"
    assert torn.least[0].label is None
    assert noise.most[0].content.size == (8, 8)


def test_layers_are_those_of_the_network(evaluation: Evaluation) -> None:
    assert {layer.layer for layer in evaluation.importance} == {
        *("entropy", "log_scale", "energy", "logits", "embedding", "score:mirror", "score:mirror_logit"),
        *("0 (output)", "4 (output)", "6 (output)"),
        *(("0", "4", "6") if evaluation.reads == "gradients" else ()),
    }
    losses = [layer.loss for layer in evaluation.importance]
    assert losses == sorted(losses, reverse=True)


def test_nothing_of_others_is_overwritten(at_place: Path, fitted: Fitted, tmp_path: Path) -> None:
    trust, classifier = open_trust(Path("trust"), model=MODEL)
    (tmp_path / "mine").write_text("mine")
    for out in (tmp_path, tmp_path / "mine"):
        with pytest.raises(OutputError, match=re.escape(str(out))):
            evaluate(trust, classifier, "test", [], out)


@pytest.mark.parametrize("content", ['{"accuracy": 0.9, "sets": []}', '{"sets": ["train"]}', "[]", "no JSON"])
def test_results_of_others_are_not_overwritten(content: str, at_place: Path, fitted: Fitted, tmp_path: Path) -> None:
    trust, classifier = open_trust(Path("trust"), model=MODEL)
    for name in ("results.json", "report.html"):
        (tmp_path / name).write_text(content)
    with pytest.raises(OutputError, match=r"results\.json"):
        evaluate(trust, classifier, "test", [], tmp_path, repetitions=100)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == dict.fromkeys(
        ("results.json", "report.html"), content
    )


def test_an_evaluation_of_other_data_says_what_it_replaces(
    at_place: Path, fitted: Fitted, tmp_path: Path, unpainted: None
) -> None:
    trust, classifier = open_trust(Path("trust"), model=MODEL)
    replaced: list[list[str]] = []
    for unknown in ([], ["torn"], ["torn"]):
        notes: list[str] = []
        result = evaluate(
            trust, classifier, "test", unknown, tmp_path, repetitions=100, work=Work(on_note=notes.append)
        )
        replaced.append([note for note in notes if str(tmp_path) in note])
        if len(replaced) < 3:
            write_evaluation(result, tmp_path, command="")
    assert [len(notes) for notes in replaced] == [0, 1, 0]
    assert "test" in replaced[1][0]


def test_other_data_of_the_same_name_have_readings_of_their_own(
    place: Path, at_place: Path, fitted: Fitted, tmp_path: Path, unpainted: None
) -> None:
    trust, classifier = open_trust(Path("trust"), model=MODEL)
    (tmp_path / "other").mkdir()
    (tmp_path / "other/test").symlink_to(place / "validation")
    out, notes, errors = tmp_path / "out", list[str](), list[float]()
    for known in ("test", str(tmp_path / "other/test"), "test"):
        result = evaluate(trust, classifier, known, [], out, repetitions=100, work=Work(on_note=notes.append))
        write_evaluation(result, out, command="")
        errors.append(result.test_error)
    assert errors[0] == errors[2] != errors[1]
    assert [note.endswith("samples were done before") for note in notes] == [False, False, True], notes


def test_one_that_was_stopped_while_it_wrote_its_report_goes_on(at_place: Path, fitted: Fitted, tmp_path: Path) -> None:
    trust, classifier = open_trust(Path("trust"), model=MODEL)
    evaluate(trust, classifier, "test", [], tmp_path, repetitions=100)
    (tmp_path / "estimates.csv").write_text("")
    (tmp_path / ".report.html.1-0123abcd.partial").write_text("")
    (tmp_path / ".DS_Store").write_text("")  # macOS puts it into every folder that is opened
    evaluate(trust, classifier, "test", [], tmp_path, repetitions=100)
    (tmp_path / "readings").rename(tmp_path / "mine")
    with pytest.raises(OutputError):
        evaluate(trust, classifier, "test", [], tmp_path)


def test_one_that_cannot_be_written_leaves_no_report_on_other_data(
    evaluation: Evaluation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unpainted: None
) -> None:
    """A disk may be full when half of the files have been replaced."""
    report = write_evaluation(evaluation, tmp_path, command="")
    monkeypatch.undo()
    shutil.rmtree(tmp_path / "figures")
    (tmp_path / "figures").write_text("")
    with pytest.raises((OSError, OutputError)):
        write_evaluation(evaluation, tmp_path, command="")
    assert not report.exists()
    assert not (tmp_path / RESULTS).exists()


def test_no_figure_of_an_earlier_evaluation_is_left(evaluation: Evaluation, tmp_path: Path) -> None:
    """A new one may have fewer: without wrong predictions none on layers, without unknown inputs none on these."""
    folder = tmp_path / "figures"
    folder.mkdir()
    stems = [stem for stem, _ in _figures(evaluation)]
    assert len(stems) > 5
    for name in (*stems, "mine"):
        for end in (".png", ".svg", "-narrow.png", "-narrow.svg"):
            (folder / f"{name}{end}").write_text("earlier")
    start_writing(tmp_path)
    assert {path.name.partition(".")[0].removesuffix("-narrow") for path in folder.iterdir()} == {"mine"}


def test_where_no_prediction_is_right(at_place: Path, fitted: Fitted, tmp_path: Path) -> None:
    trust, classifier = open_trust(Path("trust"), model=MODEL)
    shutil.copytree("test/3", tmp_path / "digits/4")
    (tmp_path / "digits/3").mkdir()
    with pytest.raises(InputError, match=r"\b88\b.*digits.*labels"):
        evaluate(trust, classifier, str(tmp_path / "digits"), ["noise:normal:20"], tmp_path / "evaluation")


def test_all_data_are_looked_at_before_the_first_is_measured(at_place: Path, fitted: Fitted, tmp_path: Path) -> None:
    trust, classifier = open_trust(Path("trust"), model=MODEL)
    with pytest.raises(InputError, match="noise:gaussian"):
        evaluate(trust, classifier, "test", ["torn", "noise:gaussian"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def methods(evaluation: Evaluation) -> set[str]:
    return {method for _, _, method in evaluation.comparison.estimates}


def test_a_score_that_is_the_same_for_every_input_is_left_out(
    evaluation: Evaluation, at_place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unpainted: None
) -> None:
    """The energy of log-probabilities is 0 up to the rounding of float32."""
    monkeypatch.setattr(
        "gradmeter.apps.workflows.evaluate.energy",
        lambda logits: energy(torch.as_tensor(logits).float().log_softmax(1)),
    )
    trust, classifier = open_trust(Path("trust"), model=MODEL)
    result = evaluate(trust, classifier, "test", ["torn"], tmp_path / "out", repetitions=100)
    assert 0 < np.ptp(result.rows["energy"].to_numpy()) < 1e-4
    assert result.constant == ("energy",)
    assert evaluation.constant == ()
    assert methods(result) == methods(evaluation) - {"energy"}
    assert len([line for line in answer(result) if "energy" in line]) == 1
    page = write_evaluation(result, tmp_path / "out", command="gradmeter evaluate").read_text(encoding="utf-8")
    assert '<th scope="col">energy</th>' not in page
    assert "are the same for every input: energy" in page


def test_classes_of_a_network_without_names_have_those_of_fit(place: Path, at_place: Path, tmp_path: Path) -> None:
    """In the order of the folders, a renamed class would be another one, and an absent one would end the command."""
    nameless = replace(recipe(place), classes=None)
    fit(nameless, "validation", [], tmp_path / "trust", meta_classifier="ridge", repetitions=20)
    trust, classifier = open_trust(tmp_path / "trust", model="digits_network:network")
    shutil.copytree("test", tmp_path / "renamed")
    (tmp_path / "renamed/3").rename(tmp_path / "renamed/three")
    measure(classifier, open_source(str(tmp_path / "renamed"), classifier.image), tmp_path / "readings")
    for name, reason in (
        ("renamed", "expected the same names.*for a TrustModel, to gradmeter fit"),
        ("readings", "with other class names"),
    ):
        with pytest.raises(DataError, match=rf"{name} .*{reason}"):
            evaluate(trust, classifier, str(tmp_path / name), [], tmp_path / "out", repetitions=20)
    shutil.copytree("test", tmp_path / "without", ignore=shutil.ignore_patterns("3"))
    notes: list[str] = []
    result = evaluate(
        trust,
        classifier,
        str(tmp_path / "without"),
        [],
        tmp_path / "out",
        repetitions=20,
        work=Work(on_note=notes.append),
    )
    folders = [Path(name).parent.name for name in result.rows["id"].to_pylist()]
    assert result.rows["label"].to_pylist() == [int(folder) for folder in folders]
    assert result.classes == tuple(map(str, range(10)))
    assert not notes
