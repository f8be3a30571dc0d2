import json
import os
import re
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pytest
from PIL import Image

import gradmeter.runs.measuring.filling as filling
import gradmeter.runs.measuring.streaming as streaming
from apps.workflows.digits import recipe
from gradmeter.apps.workflows.fit import Fitted
from gradmeter.apps.workflows.judge import judge, verdicts
from gradmeter.apps.workflows.open_trust import open_trust
from gradmeter.errors import DataError, InputError, OutputError
from gradmeter.runs.engines.processes import WorkerError
from gradmeter.runs.measuring import MeasuredSet, Skipped, Work
from gradmeter.sources.samples import ImageKind, Source, open_source
from runs.measuring.deadly import Deadly
from trust.trained import digits

MODEL = "digits_network:network"


@pytest.fixture
def opened(at_place: Path, fitted: Fitted, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(streaming, "PART", 300)
    monkeypatch.setattr(filling, "BATCH", 70)
    trust, classifier = open_trust(Path("trust"), model=MODEL)
    return trust, classifier, open_source("test", classifier.image)


def test_parquet(opened, fitted: Fitted, tmp_path: Path) -> None:
    judged = judge(*opened, tmp_path / "verdicts.parquet")
    rows = pd.read_parquet(tmp_path / "verdicts.parquet")
    assert list(rows.columns) == [
        *("id", "prediction", "probability", "p_known", "p_correct_if_known", "p_correct", "accepted", "reason")
    ]
    number = rows["id"].str[2:6].astype(int).to_numpy()
    readings = fitted.trust.meter(digits()[0][900:][number.tolist()])
    assert (rows["prediction"].astype(int).to_numpy() == readings.predictions.numpy()).all()
    # Unfamiliar inputs are not accepted at any threshold.
    unfamiliar = rows["reason"].str.startswith("unfamiliar", na=False)
    reached = rows["p_correct"] >= fitted.guarantee.threshold
    assert (rows["accepted"] == (reached & ~unfamiliar)).all()
    assert (rows["reason"].isna() == rows["accepted"]).all()
    assert (judged.rows, judged.accepted, judged.skipped) == (897, rows["accepted"].sum(), ())
    p_correct = fitted.trust.predict_proba(readings).numpy()
    assert abs(rows["p_correct"] - p_correct).mean() < 0.01  # 8 bits round the pixels


def test_csv_is_the_same_and_appears_whole(opened, tmp_path: Path) -> None:
    judge(*opened, tmp_path / "v.parquet")
    judge(*opened, tmp_path / "v.csv")
    expected = pd.read_parquet(tmp_path / "v.parquet")
    rows = pd.read_csv(tmp_path / "v.csv", dtype={"prediction": str})
    pd.testing.assert_frame_equal(rows, expected, check_dtype=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".v.csv.json", "v.csv", "v.parquet"]


def test_a_loading_process_that_is_killed_while_lines_are_printed(opened) -> None:
    trust, classifier, _ = opened
    with pytest.raises(WorkerError, match="the same command again"):
        list(verdicts(trust, classifier, Deadly(3), Work(workers=1)))


def test_a_csv_with_a_long_name(opened, tmp_path: Path) -> None:
    """The name of its note and of temporary files is longer; if it is too long, nothing is measured in vain."""
    name = "v" * 245 + ".csv"
    judged = judge(*opened, tmp_path / name)
    assert len(pd.read_csv(tmp_path / name)) == judged.rows
    steps: list[int] = []
    with pytest.raises(OutputError, match="v" * 246):
        judge(*opened, tmp_path / f"v{name}", Work(on_progress=steps.append))
    assert steps == []
    assert sorted(path.name for path in tmp_path.iterdir()) == [f".{name}.json", name]


@pytest.mark.parametrize("name", ["v.parquet", "v.csv"])
def test_a_finished_run_says_so(opened, name: str, tmp_path: Path) -> None:
    first = judge(*opened, tmp_path / name)
    made = {
        path: path.stat().st_mtime_ns for path in tmp_path.rglob("*v*") if path.is_file() and path.suffix != ".json"
    }
    notes: list[str] = []
    assert judge(*opened, tmp_path / name, Work(on_note=notes.append)) == first
    assert len(notes) == 1
    assert notes[0].startswith("test: 897 of 897 ")
    assert all(path.stat().st_mtime_ns == when for path, when in made.items())


@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize("name", ["v.csv", ".v.csv.json"])
def test_a_file_of_other_origin_is_not_overwritten(opened, name: str, fresh: bool, tmp_path: Path) -> None:
    (tmp_path / name).write_text("{}")
    with pytest.raises(OutputError, match=re.escape(f"{tmp_path / name} ")):
        judge(*opened, tmp_path / "v.csv", Work(fresh=fresh))
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {name: "{}"}


def test_a_csv_of_other_samples_is_overwritten_only_with_fresh(opened, tmp_path: Path) -> None:
    trust, classifier, _ = opened
    out = tmp_path / "v.csv"
    judge(*opened, out)
    made = out.read_text()
    with pytest.raises(OutputError, match=r"data was test, is validation"):
        judge(trust, classifier, open_source("validation", classifier.image), out)
    out.write_text("mine")
    with pytest.raises(OutputError, match=r"v\.csv .*--fresh"):
        judge(*opened, out)
    assert out.read_text() == "mine"
    judge(*opened, out, Work(fresh=True))
    assert out.read_text() == made


# The note of a CSV file holds one hash for all files.
MODIFIED = {
    "v.parquet": r"modified since \(2\.png\)",
    "v.csv": r"v\.csv holds verdicts on samples that were modified since",
}


def old_pictures(test: Source, folder: Path, image: ImageKind) -> Source:
    """Four pictures of a source in a folder, last modified in 1970."""
    folder.mkdir()
    for number in range(4):
        path = folder / f"{number}.png"
        Image.fromarray(np.asarray(test.read(number).content)).save(path)
        os.utime(path, (0, 0))
    return open_source(str(folder), image)


@pytest.mark.parametrize("name", ["v.parquet", "v.csv"])
def test_a_verdict_is_not_given_again_for_another_picture(opened, name: str, tmp_path: Path) -> None:
    trust, classifier, test = opened
    out, source = tmp_path / name, old_pictures(test, tmp_path / "data", classifier.image)
    first = judge(trust, classifier, source, out)
    assert judge(trust, classifier, source, out) == first
    os.utime(tmp_path / "data/2.png", (-2, -2))
    with pytest.raises(OutputError, match=MODIFIED[name]):
        judge(trust, classifier, source, out)
    assert judge(trust, classifier, source, out, Work(fresh=True)) == first


@pytest.mark.parametrize("name", ["v.parquet", "v.csv"])
def test_a_picture_that_is_replaced_while_the_verdicts_are_made_is_noticed(opened, name: str, tmp_path: Path) -> None:
    trust, classifier, test = opened
    source = old_pictures(test, tmp_path / "data", classifier.image)

    def replace_one(steps: int) -> None:
        now = time.time()  # the clock of file systems stands still for milliseconds
        os.utime(tmp_path / "data/2.png", (now, now))

    judge(trust, classifier, source, tmp_path / name, Work(on_progress=replace_one))
    with pytest.raises(OutputError, match=MODIFIED[name]):
        judge(trust, classifier, source, tmp_path / name)


@pytest.mark.parametrize("name", ["v.parquet", "v.csv"])
def test_verdicts_with_the_columns_of_an_earlier_version_are_refused(opened, name: str, tmp_path: Path) -> None:
    """Parts with a column "label" must not be mixed with parts with a column "prediction"."""
    judge(*opened, tmp_path / name)
    (path,) = [path for path in (tmp_path / "v.parquet/_measurement.json", tmp_path / ".v.csv.json") if path.exists()]
    note = json.loads(path.read_text())
    del note.get("purpose", note)["columns"]
    path.write_text(json.dumps(note))
    with pytest.raises(OutputError, match="columns"):
        judge(*opened, tmp_path / name)


def test_what_others_put_beside_a_csv_stays(opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside parts that an interrupted run left: a file in their folder, and one at the place of the verdicts."""

    def interrupted(*arguments: object) -> None:
        raise KeyboardInterrupt

    out, parts = tmp_path / "v.csv", tmp_path / "v.csv.parts"
    with monkeypatch.context() as patch:
        patch.setattr("pyarrow.csv.CSVWriter", interrupted)
        with pytest.raises(KeyboardInterrupt):
            judge(*opened, out)
    (parts / "notes.txt").write_text("mine")
    out.write_text("mine")
    with pytest.raises(OutputError, match=r"v\.csv "):
        judge(*opened, out)
    assert out.read_text() == "mine"
    out.unlink()
    first = judge(*opened, out)
    assert [path.name for path in parts.iterdir()] == ["notes.txt"]
    assert judge(*opened, out) == first


def test_a_csv_that_another_program_writes_meanwhile_stays(
    opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, writer = tmp_path / "v.csv", pyarrow.csv.CSVWriter

    def beside(*arguments: Any) -> Any:
        out.write_text("mine")
        return writer(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr("pyarrow.csv.CSVWriter", beside)
        with pytest.raises(OutputError, match=r"v\.csv .*not written by gradmeter judge"):
            judge(*opened, out)
    assert out.read_text() == "mine"
    out.unlink()
    judge(*opened, out)
    assert len(pd.read_csv(out)) == 897


def test_a_csv_lies_where_a_link_leads(opened, tmp_path: Path) -> None:
    (tmp_path / "v.csv").symlink_to(tmp_path / "elsewhere.csv")
    (tmp_path / "loop.csv").symlink_to("loop.csv")
    judge(*opened, tmp_path / "v.csv")
    assert (tmp_path / "v.csv").is_symlink()
    assert (tmp_path / "elsewhere.csv").is_file()
    with pytest.raises(OutputError, match=r"loop\.csv "):
        judge(*opened, tmp_path / "loop.csv")


def test_a_folder_that_is_called_like_the_parts_of_a_csv_stays(opened, tmp_path: Path) -> None:
    judge(*opened, tmp_path / "v.csv.parts")
    before = {path: path.read_bytes() for path in (tmp_path / "v.csv.parts").iterdir()}
    with pytest.raises(OutputError, match=r"v\.csv\.parts"):
        judge(*opened, tmp_path / "v.csv")
    assert {path: path.read_bytes() for path in (tmp_path / "v.csv.parts").iterdir()} == before


def test_capital_letters_make_a_csv_file_too(opened, tmp_path: Path) -> None:
    judge(*opened, tmp_path / "V.CSV")
    assert len(pd.read_csv(tmp_path / "V.CSV")) == 897
    with pytest.raises(OutputError, match=r"V\.TXT"):
        judge(*opened, tmp_path / "V.TXT")


def test_a_name_of_another_kind_of_file_is_refused(opened, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"v\.txt"):
        judge(*opened, tmp_path / "v.txt")
    assert list(tmp_path.iterdir()) == []


def test_a_new_subfolder_adds_samples(opened, place: Path, tmp_path: Path) -> None:
    trust, classifier, _ = opened
    (tmp_path / "inbox").mkdir()
    each = len([*(place / "test/3").iterdir()])
    for days, day in enumerate(("monday", "tuesday"), start=1):
        shutil.copytree(place / "test/3", tmp_path / "inbox" / day)
        judged = judge(trust, classifier, open_source(str(tmp_path / "inbox"), classifier.image), tmp_path / "out")
        assert judged.rows == days * each


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_an_object_store(opened, bucket: str, tmp_path: Path) -> None:
    found = judge(*opened, bucket.format("v"))
    assert judge(*opened, tmp_path / "v") == found
    rows = pa.concat_tables(MeasuredSet(bucket.format("v")).tables())
    pd.testing.assert_frame_equal(rows.to_pandas(), pd.read_parquet(tmp_path / "v"))
    with pytest.raises(OutputError, match=r"^s3://(?!one)"):
        judge(*opened, bucket.format("v.csv").replace("s3://", "s3://one:two@"))


class Killed(BaseException):
    pass


@pytest.mark.parametrize("name", ["v.parquet", "v.csv"])
def test_a_killed_run_goes_on(opened, name: str, tmp_path: Path) -> None:
    done = 0

    def kill(samples: int) -> None:
        nonlocal done
        done += samples
        if done > 500:
            raise Killed

    with pytest.raises(Killed):
        judge(*opened, tmp_path / name, Work(on_progress=kill))
    assert not (tmp_path / "v.csv").exists()
    steps: list[int] = []
    assert judge(*opened, tmp_path / name, Work(on_progress=steps.append)).rows == 897
    assert steps[0] == 300
    assert sum(steps) == 897


def test_one_after_the_other(opened, fitted: Fitted, tmp_path: Path) -> None:
    judge(*opened, tmp_path / "v.parquet")
    expected = pd.read_parquet(tmp_path / "v.parquet")
    pd.testing.assert_frame_equal(pd.DataFrame(verdicts(*opened)), expected, check_dtype=False, rtol=1e-5)
    trust, classifier, _ = opened
    (tmp_path / "bad.png").write_bytes(b"no image")
    skipped: list[Skipped] = []
    source = open_source(str(tmp_path / "bad.png"), classifier.image)
    with pytest.raises(DataError, match=r"bad\.png"):
        list(verdicts(trust, classifier, source, Work(on_skip=skipped.append)))
    assert [one.id for one in skipped] == ["bad.png"]


def test_another_promise_is_not_mixed_in(opened, tmp_path: Path) -> None:
    judge(*opened, tmp_path / "v.parquet")
    trust, classifier, source = opened
    trust.guarantee = None
    with pytest.raises(OutputError, match="threshold"):
        judge(trust, classifier, source, tmp_path / "v.parquet")
    judge(trust, classifier, source, tmp_path / "w.parquet")
    rows = pd.read_parquet(tmp_path / "w.parquet")
    assert rows[["accepted", "reason"]].isna().all(axis=None)


def test_the_same_threshold_on_another_score_is_not_mixed_in(opened, fitted: Fitted, tmp_path: Path) -> None:
    judge(*opened, tmp_path / "v.parquet")
    trust, classifier, source = opened
    trust.guarantee = replace(fitted.guarantee, score="p_known")
    with pytest.raises(OutputError, match=r"p_correct\b.*\bp_known\b"):
        judge(trust, classifier, source, tmp_path / "v.parquet")


@pytest.mark.parametrize("name", ["v.parquet", "v.csv"])
def test_verdicts_of_another_trust_model_are_not_mixed_in(opened, name: str, tmp_path: Path) -> None:
    judge(*opened, tmp_path / name)
    trust, classifier, source = opened
    trust.judge = replace(trust.judge, held_out=trust.judge.held_out.rows(np.arange(100)))
    with pytest.raises(OutputError, match="TrustModel") as refusal:
        judge(trust, classifier, source, tmp_path / name)
    assert "readings" not in str(refusal.value)


def test_too_few_names(place: Path, at_place: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"\b1\b.*digits_network:network.*\b10\b"):
        replace(recipe(place), classes=("a",)).open()
    classifier = recipe(place).open().named(("a", "b"))
    source = open_source("noise:uniform:3", classifier.image)
    with pytest.raises(InputError, match=r"\b2\b.*digits_network:network.*\b10\b"):
        streaming.measure(classifier, source, tmp_path / "r")


def test_a_function_runs_only_where_it_is_named(opened, fitted: Fitted) -> None:
    with pytest.raises(InputError, match="--model digits_network:network"):
        open_trust(Path("trust"))


def test_a_folder_that_fit_did_not_write(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=re.escape(str(tmp_path))):
        open_trust(tmp_path)
