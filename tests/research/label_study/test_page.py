from pathlib import Path

import pytest

from gradmeter.research.label_study import natural
from gradmeter.research.label_study.natural import DATA, FIRST, doubted
from gradmeter.research.label_study.page import Made, write_page
from gradmeter.research.label_study.planting import KINDS
from gradmeter.research.label_study.results import SetResults
from research.label_study.sheets import sheet


@pytest.fixture(scope="module")
def results() -> dict[str, list[SetResults]]:
    sets = [SetResults.compute(kind, 0.05, [sheet(seed, 0.05) for seed in range(2)]) for kind in KINDS]
    return {"digits": sets, "learned-early": sets, "digits-choosing": sets}


@pytest.fixture
def page(results: dict[str, list[SetResults]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    found = doubted("emnist_digits", sheet(0, 0.0))
    verdicts = {("emnist_digits", number): "wrong" for number in found.ids[:20]}
    monkeypatch.setattr(natural, "_verdicts", lambda: verdicts)
    made = Made(("gradmeter label-study --data DIR",), ("Made today.",))
    return write_page(results, [found], made, tmp_path).read_text(encoding="utf-8")


def test_the_page_has_every_score_of_every_reported_group(page: str) -> None:
    assert "\ngradmeter label-study --data DIR\n" in page
    for title in ("EMNIST digits, the paper's CNN", "digits, learned and stopped early"):
        assert page.count(f"### {title}: ") == 3
    assert "### EMNIST digits, others" not in page
    assert page.count("\n| GraNd, whole | ") == 6
    assert page.count("| EMNIST digits, others: symmetric, 5 % |") == 2


def test_both_cases_are_told_apart(page: str) -> None:
    cases = page.partition("## Two cases")[2].partition("\n## ")[0]
    assert "did not learn these labels** (EMNIST digits, the paper's CNN)" in cases
    assert "learned from the corrupted labels** (digits, learned and stopped early)" in cases
    assert "predict 25.0 to 25.0 % of their errors" in cases


def test_what_gradients_add_is_counted(page: str) -> None:
    assert "- AUROC: gradients add to P(label is right) on 6 of 6 sets and hurt on 0" in page


def test_what_ranks_first_and_what_a_person_sees(page: str) -> None:
    section = page.partition("### EMNIST digits, by the paper's CNN")[2].partition("\n## ")[0]
    assert "Among the first 50 of 400 labels, by own verdict: 20 wrong, 0 ambiguous" in section
    assert "0 right, 30 not looked at" in section
    assert section.count("| wrong |") == 20


def test_own_verdicts_are_about_archives_that_are_shown() -> None:
    verdicts = natural._verdicts()
    assert {archive for archive, _ in verdicts} <= DATA.keys()
    assert set(verdicts.values()) <= set(natural.VERDICTS)


def test_what_ranks_first_has_the_lowest_probability_of_being_right() -> None:
    found = doubted("cifar10_test", sheet(0, 0.1))
    assert len(found.ids) == FIRST
    assert found.p_label == sorted(found.p_label)
    assert set(found.given) <= set(DATA["cifar10_test"].classes)
