"""The data of the interactive part of a report."""

import base64
import io
import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from gradmeter.apps.workflows.evaluate import Evaluation
from gradmeter.apps.workflows.evaluation_report import write_evaluation
from gradmeter.apps.workflows.exploration import contents_of, promise_of, verdicts_of
from gradmeter.apps.workflows.groups import group_members, group_summaries, summary_grid
from gradmeter.report import exploration as module
from gradmeter.report.scripts import data_element
from gradmeter.report.thumbnails import Picture, data_uri, thumbnail
from gradmeter.trust.evaluation.comparison import ALL, WRONG, Judged

pytestmark = pytest.mark.slow


def explored(evaluation: Evaluation, **options: int) -> dict[str, Any]:
    contents = partial(contents_of, evaluation)
    return module.exploration(verdicts_of(evaluation), contents, promise_of(evaluation), **options)


def test_counts_at_the_guaranteed_threshold_are_those_of_the_guarantee(
    evaluation: Evaluation, at_place: object
) -> None:
    data = explored(evaluation)
    accepted = {group["name"]: group["accepted"][data["marked"]] for group in data["groups"]}
    known, everything = evaluation.guarantee_checks[WRONG], evaluation.guarantee_checks[ALL]
    assert accepted["right"] + accepted["wrong"] == known.accepted
    assert accepted["wrong"] == known.errors
    assert sum(accepted.values()) == everything.accepted
    assert [group["name"] for group in data["groups"] if not group["known"]] == ["torn", "noise:uniform"]
    assert data["score"] == "P(correct)"
    assert not data["covers_all"]


def test_unfamiliar_inputs_are_accepted_by_no_threshold(evaluation: Evaluation) -> None:
    rows = evaluation.rows.to_pandas()
    familiar = rows["familiar"].to_numpy()
    assert 0 < (~familiar).sum() < len(rows)
    score = verdicts_of(evaluation).on_threshold
    assert (score[~familiar] < 0).all()
    assert (score[familiar] == rows["p_correct"][familiar]).all()
    assert ((score >= evaluation.guarantee.threshold) == rows["accepted"]).all()


def test_every_sample_is_there_with_its_verdict(evaluation: Evaluation, at_place: object) -> None:
    data = json.loads(data_element(explored(evaluation)))
    samples, rows = data["samples"], evaluation.rows.to_pandas()
    assert len(samples["id"]) == samples["of"] == len(rows)
    names = [group["name"] for group in data["groups"]]
    rows["reason"] = rows["reason"].fillna("")
    rows["group"] = np.where(rows["concept"] != "test", rows["concept"], np.where(rows["correct"], "right", "wrong"))
    expected = {(row.id, row.group): row for row in rows.itertuples()}
    assert len(expected) == len(rows)
    for index, name in enumerate(samples["id"]):
        row = expected.pop((name, names[samples["group"][index]]))
        assert samples["classes"][samples["prediction"][index]] == str(row.prediction)
        label = samples["label"][index]
        assert (label is None) == np.isnan(row.label)
        assert label is None or samples["classes"][label] == str(int(row.label))
        for score, column in (("P(known)", "p_known"), ("P(correct)", "p_correct")):
            assert samples["scores"][score][index] == pytest.approx(getattr(row, column), abs=1e-6)
        assert (samples["passed"][index] > data["marked"]) == row.accepted
        reason = samples["reason"][index]
        kind, layers = ("", []) if reason is None else (reason[0], [samples["layers"][layer] for layer in reason[1:]])
        assert (f"{kind}: {', '.join(layers)}" if layers else kind) == row.reason
        image = Image.open(io.BytesIO(base64.b64decode(samples["picture"][index])))
        assert image.size == (8, 8)
    assert not expected
    sizes = {group["name"]: group["samples"] for group in data["groups"]}
    assert sizes == {name: int(members.sum()) for name, members in group_members(evaluation).items()}


def test_of_many_samples_the_most_interesting_ones_are_there(
    evaluation: Evaluation, at_place: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_SAMPLES", 80)
    data, score = explored(evaluation), verdicts_of(evaluation).on_threshold
    samples = data["samples"]
    assert len(samples["id"]) == 80
    assert samples["of"] == len(evaluation.rows)
    rows = evaluation.rows.to_pandas()
    for number, members in enumerate(group_members(evaluation).values()):
        ids = {name for name, group in zip(samples["id"], samples["group"], strict=True) if group == number}
        order = np.flatnonzero(members)[np.argsort(score[members], kind="stable")]
        assert {*rows["id"].iloc[order[:3]], *rows["id"].iloc[order[::-1][:3]]} <= ids
    # The counts of the slider are those of all samples.
    assert sum(group["samples"] for group in data["groups"]) == len(rows)


def test_pictures_are_as_many_as_keep_the_page_small(evaluation: Evaluation, at_place: object) -> None:
    samples = explored(evaluation, characters=30_000)["samples"]
    total = sum(map(len, samples["picture"]))
    assert 20_000 < total <= 30_000
    assert None not in samples["picture"]


def test_a_page_of_ten_thousand_inputs_has_at_most_3_megabytes(
    evaluation: Evaluation, at_place: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pictures have the size of photographs, and names are long."""
    many = 8
    names = [f"{'a-long-folder/' * 3}{number:06}.jpeg" for number in range(many * len(evaluation.rows))]
    rows = pa.concat_tables([evaluation.rows] * many)
    rows = rows.set_column(0, "id", [names])
    repeated = [np.tile(values, many) for values in (evaluation.judged.correct, evaluation.judged.concept)]
    scores = ({name: np.tile(values, many) for name, values in evaluation.judged.uncertainty.items()},)
    scores += ({name: np.tile(values, many) for name, values in evaluation.judged.probability.items()},)
    judged = Judged(*repeated, evaluation.judged.unknowns, *scores)
    monkeypatch.setattr(
        "gradmeter.apps.workflows.evaluation_report.contents_of",
        lambda _, rows: dict.fromkeys(rows.tolist(), Picture("/" * 2000)),
    )
    large = replace(evaluation, rows=rows, judged=judged)
    page = write_evaluation(large, tmp_path / "out", command="gradmeter evaluate")
    assert len(rows) == 9976
    assert page.stat().st_size < 3_000_000


def test_texts_are_shown_as_texts(evaluation: Evaluation) -> None:
    """Even a text that looks like a picture."""
    contents = dict.fromkeys(range(len(evaluation.rows)), "iVBOR")
    data = module.exploration(verdicts_of(evaluation), lambda rows: {row: contents[row] for row in rows.tolist()})
    assert {*data["samples"]["text"]} == {"iVBOR"}
    assert {*data["samples"]["picture"]} == {None}


def test_samples_that_are_not_available_have_no_picture(evaluation: Evaluation) -> None:
    without = replace(evaluation, sets=tuple(replace(data, source=None) for data in evaluation.sets))
    samples = explored(without)["samples"]
    assert samples["picture"] == [None] * len(evaluation.rows)


def test_a_group_is_summarised_by_its_verdicts(evaluation: Evaluation) -> None:
    rows = evaluation.rows.to_pandas()
    torn = rows[rows["concept"] == "torn"]
    summaries = {summary.name: summary for summary in group_summaries(evaluation)}
    assert [*summaries] == ["right", "wrong", "torn", "noise:uniform"]
    summary = summaries["torn"]
    assert summary.samples == 200
    assert summary.accepted == torn["accepted"].sum()
    reasons = torn["reason"].dropna()
    assert summary.reasons["doubtful"] == (reasons == "doubtful").sum()
    assert summary.reasons["unfamiliar"] == reasons.str.startswith("unfamiliar").sum()
    assert summary.accepted + sum(summary.reasons.values()) == 200
    layer, count = next(iter(summary.layers.items()))
    assert count == reasons.str.split(r": |, ").map(lambda parts: layer in parts[1:]).sum()
    assert summary.quantiles["p_known"][0.5] == pytest.approx(np.quantile(torn["p_known"], 0.5))
    json.dumps(summary.to_json(), allow_nan=False)
    assert len(summary_grid([*summaries.values()]).columns) == 8


def test_photographs_are_stored_smaller_than_as_png() -> None:
    random = np.random.default_rng(0)
    smooth = Image.fromarray(random.integers(0, 256, (6, 6, 3), np.uint8)).resize((300, 200), Image.Resampling.BICUBIC)
    picture = thumbnail(smooth, 64)
    image = Image.open(io.BytesIO(base64.b64decode(picture)))
    assert image.size == (64, 43)
    assert image.format == "JPEG"
    assert data_uri(picture).startswith("data:image/jpeg;base64,/9j/")
    digit = thumbnail(Image.fromarray(random.integers(0, 256, (8, 8), np.uint8)), 64)
    assert Image.open(io.BytesIO(base64.b64decode(digit))).size == (8, 8)
    assert data_uri(digit).startswith("data:image/png;")
