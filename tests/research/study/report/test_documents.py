import json
import re
from pathlib import Path

import pytest

from gradmeter import DataError
from gradmeter.research.study.report import write_documents


@pytest.fixture
def whole_study(study: Path) -> Path:
    """The made-up study with the manifest entries that `reproduce` writes."""
    path = study / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest |= {"command": "gradmeter reproduce --data real", "known_unknowns": 200}
    manifest["options"] |= {"padding": "valid", "patience": 5}
    manifest["timings"]["total"] = 1935.0
    manifest["hardware"] = {"cores": 2, "processor": "Made-up 9000"}
    path.write_text(json.dumps(manifest))
    return study


def test_every_table_is_written_as_markdown_and_latex(whole_study: Path) -> None:
    write_documents(whole_study)
    for table in (1, 2, 3):
        markdown = (whole_study / f"tables/table{table}.md").read_text()
        latex = (whole_study / f"tables/table{table}.tex").read_text()
        assert markdown.count("|") > 50
        assert r"\begin{tabular}" in latex
        assert r"\end{tabular}" in latex
    assert not (whole_study / "tables/table4.md").exists(), "this study has no fourth table"


def test_the_page_shows_command_time_and_results(whole_study: Path) -> None:
    path = write_documents(whole_study)
    text = path.read_text(encoding="utf-8")
    assert path == whole_study / "results.md"
    assert "`gradmeter reproduce --data real`" in text
    assert "32 min 15 s on 2 cores (Made-up 9000" in text
    # 1.40, 1.42, ... 1.58 in the made-up networks.
    assert "Test error 1.49 (0.02) %" in text
    assert "| 9 | 39 | 0 | 0 | no | 1.50 | 1.58 |" in text
    assert all(size in text for size in ("60,000", "20,000", "56,896"))
    assert "no counterpart in the embedded data" in text
    for table in (1, 2, 3):
        assert (whole_study / f"tables/table{table}.md").read_text().strip() in text


def test_claims_are_listed_with_their_verdicts(whole_study: Path) -> None:
    path = whole_study / "claims.csv"
    path.write_text(path.read_text().replace("97.71 against 97.83", "a | b"))
    text = write_documents(whole_study).read_text(encoding="utf-8")
    assert "1 of 3 hold" in text
    assert r"| C1 | **holds** | Several gradient metrics match entropy and softmax. | a \| b |" in text
    assert re.search(r"\| C9 \| \*\*not testable on this data\*\* \|", text)


def test_a_folder_without_a_study_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"manifest\.json"):
        write_documents(tmp_path)
    assert list(tmp_path.iterdir()) == []
