"""The file of labels, field by field as FiftyOne's format is documented, from verdicts and from readings."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from gradmeter import GradientMeter, TrustModel
from gradmeter.errors import DataError, InputError
from gradmeter.trust.adapters.fiftyone import write_labels
from trust.trained import digits, loader, trained


def table(**columns: Any) -> pa.Table:
    given = {"id": ["a/one.png", "b.c/two.v2.jpg"], "prediction": ["cat", "dog"], "p_correct": [0.9, 0.25]}
    return pa.table({**given, **columns})


def written(path: Path, *arguments: Any) -> dict[str, Any]:
    count = write_labels(path, *arguments)
    content: dict[str, Any] = json.loads(path.read_text())
    assert len(content["labels"]) == count
    return content


def test_verdicts_as_judge_writes_them(tmp_path: Path) -> None:
    verdicts = table(
        probability=[0.95, 0.5],
        p_known=pa.nulls(2, pa.float64()),
        accepted=[True, False],
        reason=[None, "doubtful"],
        further=[1, 2],
    )
    assert written(tmp_path / "labels.json", verdicts) == {
        "labels": {
            "a/one": {"label": "cat", "confidence": 0.9, "attributes": {"probability": 0.95, "accepted": True}},
            "b.c/two.v2": {
                "label": "dog",
                "confidence": 0.25,
                "attributes": {"probability": 0.5, "accepted": False, "reason": "doubtful"},
            },
        }
    }


def test_numbers_of_classes_as_evaluate_writes_them(tmp_path: Path) -> None:
    verdicts = table(prediction=[1, 0], label=[1, None], concept=["test", "noise"], correct=[True, False])
    content = written(tmp_path / "labels.json", verdicts, ["cat", "dog"])
    assert content["classes"] == ["cat", "dog"]
    assert content["labels"]["a/one"] == {
        "label": "dog",
        "confidence": 0.9,
        "attributes": {"concept": "test", "correct": True, "truth": "dog"},
    }
    assert content["labels"]["b.c/two.v2"]["attributes"] == {"concept": "noise", "correct": False}
    assert written(tmp_path / "labels.json", verdicts)["labels"]["a/one"]["label"] == "1"
    with pytest.raises(DataError, match="class 1"):
        write_labels(tmp_path / "labels.json", verdicts, ["cat"])


def test_readings_of_measure(tmp_path: Path) -> None:
    trust = TrustModel(GradientMeter(trained()), "ridge_cv").fit(loader(300, 900))
    readings = trust.meter(digits()[0][900:903]).to_arrow()
    ids = readings.append_column("id", pa.array([f"{number}.png" for number in range(3)]))
    labels = written(tmp_path / "labels.json", trust.verdicts(ids))["labels"]
    expected = trust.predict_proba(readings).tolist()
    assert [labels[str(number)]["confidence"] for number in range(3)] == expected


def test_names_that_are_not_unicode(tmp_path: Path) -> None:
    write_labels(tmp_path / "labels.json", table(id=["a/\\xff.png", "b.png"]))
    assert "a/\udcff" in json.loads((tmp_path / "labels.json").read_text())["labels"]


def test_tables_that_cannot_be_written(tmp_path: Path) -> None:
    path = tmp_path / "labels.json"
    with pytest.raises(DataError, match=r"a/one\.jpg"):
        write_labels(path, table(id=["a/one.png", "a/one.jpg"]))
    with pytest.raises(DataError, match="p_correct"):
        write_labels(path, table().drop_columns(["p_correct"]))
    for classes in ([10, 20], "ab", np.array(["a", "b"]), (name for name in "ab")):
        with pytest.raises(InputError, match="expected a list of names"):
            write_labels(path, table(), classes)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="dict"):
        write_labels(path, {})  # type: ignore[arg-type]
    assert not path.exists()


@pytest.mark.parametrize(
    ("columns", "named"),
    [
        ({"id": ["", "a.png"]}, "''"),
        ({"id": ["/", "a.png"]}, "'/'"),
        ({"id": [None, "a.png"]}, "None"),
        ({"id": [5, 6]}, "5"),
        ({"p_correct": [0.5, float("nan")]}, "nan"),
        ({"p_correct": [0.5, None]}, "None"),
        ({"p_correct": [0.5, 1.5]}, "1.5"),
        ({"p_correct": ["a", "b"]}, "'a'"),
        ({"p_known": [0.5, float("inf")]}, "inf"),
        ({"prediction": [None, "cat"]}, "None"),
        ({"prediction": [0.5, 1.0]}, "0.5"),
        ({"label": [[1], [0]]}, r"\[1\]"),
        ({"concept": [float("nan"), 1.0]}, "nan"),
        ({"reason": [b"x", b"y"]}, "b'x'"),
    ],
)
def test_values_that_are_none_of_a_verdict(columns: dict[str, Any], named: str, tmp_path: Path) -> None:
    """A probability of NaN would be a file that is no JSON."""
    with pytest.raises(DataError, match=named):
        write_labels(tmp_path / "labels.json", table(**columns))
    assert not list(tmp_path.iterdir())


def test_two_columns_of_one_name(tmp_path: Path) -> None:
    repeated = table().append_column("p_correct", pa.array([0.5, 0.5]))
    with pytest.raises(DataError, match="p_correct"):
        write_labels(tmp_path / "labels.json", repeated)
