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
    """A study in which the softmax reaches 90 and 80, and the judge these."""
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


def test_a_study_says_what_was_tried_and_what_came_of_it(study):
    found = answer(read_results(study))
    headings = [heading for heading, _ in found.parts]
    assert headings == ["What was tried", "What the paper's method gives"]
    assert "learned EMNIST digits" in found.parts[0][1]
    assert "Of the paper's 3 claims 1 hold here, 1 do not, 1 cannot be tested on this data." in found.parts[1][1]
    assert found.grid is not None
    assert found.grid.blocks[0].rows[0][0] == "Softmax"


def test_the_best_gradient_metric_is_named_with_its_number():
    table = rows(softmax="97.8", l1="97.1", min="97.9", entropy="99")
    found = answer(StudyResults({}, {**NOTHING.rows, "table1": table}, {}))
    assert "(Minimum) reaches 97.90" in found.parts[0][1]
    assert "the softmax 97.80" in found.parts[0][1]
    assert "Best gradient metric (Minimum)" in to_markdown(found.grid)


def test_known_unknowns_look_scores_up_as_columns():
    table = [
        {"measure": "auroc", "row": "all", "column": column, "mean": mean}
        for column, mean in (("nn_a", "75.64"), ("nn_b", "89.38"), ("softmax", "88.07"))
    ]
    said = text(StudyResults({}, {**NOTHING.rows, "table3": table}, {}))
    assert "reaches 75.64" in said
    assert "89.38" in said
    assert "the softmax reaches 88.07" in said


@pytest.mark.parametrize(
    ("results", "mistakes", "unknown"),
    [
        (judged("91", "85"), "better", "better"),  # one run: the sign decides
        (judged("89", "85"), "worse", "better"),
        (judged("91", "85", "0.5", "2"), "better", "better"),
        (judged("91", "85", "-0.5", "2"), "about as good", "about as good"),
        (judged("89", "79", "-2", "-0.5"), "worse", "worse"),
    ],
)
def test_the_judge_is_compared_with_the_softmax(results, mistakes, unknown):
    parts = dict(answer(results).parts)
    assert f"is {mistakes} at finding the network's own mistakes and {unknown} at finding" in parts["What that means"]
    assert ("use the softmax" in parts["What that means"]) == ("worse" in (mistakes, unknown))


def test_the_judge_s_difference_to_the_softmax_is_told():
    said = dict(answer(judged("91", "79.5")).parts)["What gradmeter's judge gives"]
    assert "91.00" in said
    assert "+1.00 points against the softmax" in said
    assert "-0.50 points against the softmax" in said


def test_without_tables_there_is_no_answer():
    found = answer(NOTHING)
    assert (found.parts, found.grid) == ((), None)
