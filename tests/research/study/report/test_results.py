import base64

import pytest

from gradmeter.errors import DataError
from gradmeter.research.study.report.results import read_results


def test_everything_written_is_read(study):
    (study / "figures").mkdir()
    (study / "figures" / "roc.svg").write_text("<svg/>")
    results = read_results(study)
    assert [row["claim"] for row in results.rows["claims"]] == ["C1", "C4", "C9"]
    assert len(results.rows["networks"]) == 10
    assert list(results.figures) == ["roc"]
    assert base64.b64decode(results.figures["roc"].partition(",")[2]) == b"<svg/>"
    assert results.names["letters"] == "EMNIST letters"
    assert results.names["notmnist"] == "notMNIST"


def test_a_missing_table_is_an_empty_one(study):
    (study / "tables" / "ablation.csv").unlink()
    assert read_results(study).rows["ablation"] == []


def test_a_folder_without_manifest_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"manifest\.json"):
        read_results(tmp_path)


@pytest.mark.parametrize("text", ["{", "[1]"])
def test_a_damaged_manifest_is_refused(study, text):
    (study / "manifest.json").write_text(text)
    with pytest.raises(DataError, match=r"manifest\.json"):
        read_results(study)


def test_missing_columns_are_named(study):
    (study / "claims.csv").write_text("claim,verdict\nC1,holds\n")
    with pytest.raises(DataError, match=r"claims\.csv.*statement, numbers"):
        read_results(study)
