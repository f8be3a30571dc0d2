import re

import pytest

from gradmeter.report.writers import to_markdown
from gradmeter.research.study.report.answer import answer
from gradmeter.research.study.report.results import StudyResults, read_results

NOTHING = StudyResults(
    {}, {table: [] for table in ("table1", "table2", "table3", "table4", "differences", "networks", "claims")}, {}
)


def rows(column="wrong", **means):
    return [{"measure": "auroc", "row": row, "column": column, "mean": mean} for row, mean in means.items()]


def text(results):
    return " ".join(part for _, part in answer(results).parts)


def judged(wrong, unknown, low="", high=""):
    """Make a study in which the softmax reaches 90 and 80, and the judge the given numbers."""
    means = {"wrong": ("90", wrong), "all": ("80", unknown)}
    table = [
        {"measure": "auroc", "row": column, "column": score, "mean": mean}
        for column, pair in means.items()
        for score, mean in zip(("softmax", "gradmeter"), pair, strict=True)
    ]
    differences = [
        {"table": "3", "measure": "auroc", "row": column, "column": "gradmeter", "low": low, "high": high}
        for column in means
    ]
    return StudyResults({}, {**NOTHING.rows, "table3": table, "differences": differences}, {})


def test_a_study_is_summarised(study):
    summary = answer(read_results(study))
    (_, tested), (_, method) = summary.parts
    assert "10 small networks" in tested
    assert "EMNIST digits" in tested
    assert re.search(r"3 claims\D+1\D+1\D+1\D", method)
    assert summary.grid is not None
    assert summary.grid.blocks[0].rows[0][0] == "Softmax"


def test_the_best_gradient_metric_is_named_with_its_number():
    table = rows(softmax="97.8", l1="97.1", min="97.9", entropy="99")
    summary = answer(StudyResults({}, {**NOTHING.rows, "table1": table}, {}))
    assert re.search(r"Minimum\D+97\.90\D+97\.80", summary.parts[0][1])
    assert re.search(r"\(Minimum\) \| \S*97\.90", to_markdown(summary.grid))


def test_scores_of_table_3_are_columns():
    table = [
        {"measure": "auroc", "row": "all", "column": column, "mean": mean}
        for column, mean in (("nn_a", "75.64"), ("nn_b", "89.38"), ("softmax", "88.07"))
    ]
    summary = text(StudyResults({}, {**NOTHING.rows, "table3": table}, {}))
    assert re.search(r"75\.64\D+89\.38\D+88\.07", summary)


@pytest.mark.parametrize(
    ("low", "high", "verdicts"),
    [
        ("-5", "3.4", ["not clearly better or worse"] * 2),
        ("0.1", "3", ["better", "better"]),
        ("", "", ["worse", "better"]),  # one run: the sign decides
    ],
)
def test_the_paper_s_methods_are_compared_by_intervals_too(low, high, verdicts):
    means = {"softmax": "94.8", "nn_a": "94.0", "nn_b": "96.9"}
    table = [{"measure": "auroc", "row": "all", "column": column, "mean": mean} for column, mean in means.items()]
    differences = [
        {"table": "3", "measure": "auroc", "row": "all", "column": column, "low": low, "high": high}
        for column in ("nn_a", "nn_b")
    ]
    summary = text(StudyResults({}, {**NOTHING.rows, "table3": table, "differences": differences}, {}))
    assert re.findall("not clearly better or worse|better|worse|about as good", summary) == verdicts


def test_a_gradient_statistic_is_about_as_good_where_its_difference_is_clear_but_tiny():
    differences = [{"table": "1", "measure": "auroc", "row": "l1", "column": "wrong", "low": "0.03", "high": "0.06"}]
    table = rows(softmax="98.20", l1="98.24")
    assert "about as good" in text(StudyResults({}, {**NOTHING.rows, "table1": table, "differences": differences}, {}))


@pytest.mark.parametrize(
    ("results", "wrong", "unknown"),
    [
        (judged("91", "85"), "better", "better"),  # one run: the sign decides
        (judged("89", "85"), "worse", "better"),
        (judged("91", "85", "0.5", "2"), "better", "better"),
        (judged("91", "85", "-0.5", "2"), "not clearly better or worse", "not clearly better or worse"),
        (judged("89", "79", "-2", "-0.5"), "worse", "worse"),
    ],
)
def test_the_judge_is_compared_with_the_softmax(results, wrong, unknown):
    _, meaning = answer(results).parts[-1]
    verdicts = re.findall("not clearly better or worse|better|worse|about as good", meaning.partition(".")[0])
    assert verdicts == [wrong, unknown]


def test_the_judge_s_difference_to_the_softmax_is_shown():
    summary = text(judged("91", "79.5"))
    assert re.search(r"91\.00\D+\+1\.00\D+79\.50\D+-0\.50", summary)


def test_without_tables_there_is_no_answer():
    summary = answer(NOTHING)
    assert (summary.parts, summary.grid) == ((), None)
