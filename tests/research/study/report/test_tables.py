import pytest

from gradmeter.errors import InputError
from gradmeter.research.study.report.tables import (
    ablation_grid,
    departure_grid,
    difference_grid,
    matched_grid,
    penalty_grid,
    table_grid,
)


def record(measure, row, column, mean, paper="", scanned=None, sem="0.03", n="1000", rate="0.25"):
    return {
        "measure": measure,
        "row": row,
        "column": column,
        "mean": mean,
        "sem": sem,
        "runs": "10",
        "n": n,
        "base_rate": rate,
        "paper": paper,
        "paper_scanned": paper if scanned is None else scanned,
    }


def cells(grid, block):
    return {name: [cell.text for cell in line] for name, line in grid.blocks[block].rows}


def bold(grid, block):
    return [(name, place) for name, line in grid.blocks[block].rows for place, cell in enumerate(line) if cell.bold]


def test_table_1_has_scores_down_concepts_across_in_the_papers_order():
    records = [
        record("aupr_out", "l2", "cifar10", "47.5"),
        record("auroc", "l2", "cifar10", "98.346", "98.34"),
        record("auroc", "softmax", "cifar10", "99.1", "99.13"),
        record("auroc", "l2", "wrong", "97.8149", "97.78", n="200000", rate="0.0135"),
        record("auroc", "softmax", "wrong", "97.8", "97.82", n="200000", rate="0.0135"),
    ]
    grid = table_grid(1, records, {"cifar10": "Photographs"})
    assert grid.columns == ("Wrongly classified", "Photographs")
    assert [block.title for block in grid.blocks] == ["AUROC", "AUPR-Out", "Images compared"]
    assert cells(grid, 0) == {
        "Softmax baseline": ["97.80 (0.03)", "99.10 (0.03)"],
        "Euclidean norm": ["97.81 (0.03)", "98.35 (0.03)"],
    }
    assert [cell.paper for _, line in grid.blocks[0].rows for cell in line] == ["97.82", "99.13", "97.78", "98.34"]
    assert bold(grid, 0) == [("Softmax baseline", 1), ("Euclidean norm", 0)]
    assert cells(grid, 1) == {"Softmax baseline": ["–", "–"], "Euclidean norm": ["–", "47.50 (0.03)"]}  # noqa: RUF001
    assert cells(grid, 2) == {"Images": ["200,000", "1,000"], "Base rate": ["1.35 %", "25.00 %"]}


def test_ties_at_two_decimals_are_all_bold():
    records = [
        record("aupr_in", row, "wrong", mean) for row, mean in [("l1", "99.971"), ("l2", "99.969"), ("max", "99.9")]
    ]
    assert bold(table_grid(1, records), 0) == [("Absolute norm", 0), ("Euclidean norm", 0)]


def test_table_3_has_concepts_down_and_the_best_of_each_row():
    records = [
        record("auroc", "all", "softmax", "95.8", n="97000", rate="0.42"),
        record("auroc", "all", "nn_d", "96.6", n="97000", rate="0.42"),
        record("auroc", "wrong", "softmax", "97.8"),
        record("auroc", "wrong", "nn_d", "96.7"),
    ]
    grid = table_grid(3, records)
    assert grid.columns == ("Images", "Base rate", "Softmax baseline", "NN (d)")
    assert cells(grid, 0) == {
        "Wrongly classified": ["1,000", "25.00 %", "97.80 (0.03)", "96.70 (0.03)"],
        "All unknown": ["97,000", "42.00 %", "95.80 (0.03)", "96.60 (0.03)"],
    }
    assert bold(grid, 0) == [("Wrongly classified", 2), ("All unknown", 3)]


def test_misread_cells_are_marked_and_listed():
    records = [
        record("aupr_out", "entropy", "wrong", "35.4", "35.56", "95.56"),
        record("aupr_out", "l1", "wrong", "35.1", "35.28", "35.28"),
    ]
    grid = table_grid(1, records)
    assert [line[0].mark for _, line in grid.blocks[0].rows] == ["†", ""]
    assert "AUPR-Out, Entropy, Wrongly classified: 95.56." in grid.notes[1]


@pytest.mark.parametrize("sem", ["", "nan", None])
def test_one_run_has_no_standard_deviation(sem):
    grid = table_grid(2, [record("auroc", "glm", "wrong", "94.1", sem=sem)])
    assert cells(grid, 0) == {"GLM": ["94.10"]}


def test_unknown_keys_come_last_under_their_own_names():
    grid = table_grid(2, [record("auroc", key, "wrong", "90") for key in ("forest", "glm")])
    assert list(cells(grid, 0)) == ["GLM", "forest"]


def test_no_records_make_a_table_without_blocks():
    assert table_grid(1, []).blocks == ()


def test_differences_are_bold_where_the_interval_excludes_zero():
    rows = [
        ("l1", "-0.001", "-0.5", "0.4"),
        ("l2", "1.5", "0.25", "2.75"),
        ("max", "2", "", ""),
        ("min", "-1", "-1.5", "-0.5"),
    ]
    records = [
        {"table": "1", "measure": "auroc", "row": row, "column": "wrong", "mean": mean, "low": low, "high": high}
        for row, mean, low, high in rows
    ]
    records.append({**records[0], "table": "2", "row": "glm"})
    grid = difference_grid(1, records)
    assert cells(grid, 0) == {
        "Absolute norm": ["+0.00 [-0.50, +0.40]"],
        "Euclidean norm": ["+1.50 [+0.25, +2.75]"],
        "Minimum": ["-1.00 [-1.50, -0.50]"],
        "Maximum": ["+2.00"],
    }
    assert bold(grid, 0) == [("Euclidean norm", 0), ("Minimum", 0)]


def test_departures_from_the_paper_are_bold_beyond_three_standard_errors():
    records = [
        record("auroc", "softmax", "wrong", "97.80", "97.70"),
        record("auroc", "entropy", "wrong", "97.78", "97.70"),
        record("auroc", "l1", "wrong", "97.80", "97.70", sem=""),
        record("auroc", "kurtosis", "wrong", "52.00"),
    ]
    grid = departure_grid(1, records)
    assert cells(grid, 0) == {"Softmax baseline": ["+0.10"], "Entropy": ["+0.08"], "Absolute norm": ["+0.10"]}
    assert bold(grid, 0) == [("Softmax baseline", 0)]
    assert grid.notes[0].startswith("1 of 3 cells")


def test_matched_base_rates_name_the_rate_of_each_column():
    records = [
        {"row": row, "column": column, "base_rate": rate, "mean": "60", "sem": "1"}
        for row in ("lasso", "softmax")
        for column, rate in (("cifar10", "0.0266"), ("letters", "0.092"))
    ]
    grid = matched_grid(records)
    assert grid.columns == ("Letters at 9.20 %", "CIFAR-10 at 2.66 %")
    assert cells(grid, 0) == {"Softmax baseline": ["60.00 (1.00)"] * 2, "LASSO": ["60.00 (1.00)"] * 2}


def test_penalties_stand_beside_the_paper():
    records = [
        {"penalty": penalty, "column": column, "mean": mean, "sem": "0.1", "paper": "89.34"}
        for penalty, mean in (("1", "83"), ("10", "84"), ("100", "87"))
        for column in ("wrong", "letters")
    ]
    grid = penalty_grid(records)
    assert cells(grid, 0) == {"1": ["83.00 (0.10)"] * 2, "10": ["84.00 (0.10)"] * 2, "100": ["87.00 (0.10)"] * 2}
    assert {cell.paper for _, line in grid.blocks[0].rows for cell in line} == {"89.34"}


def test_ablation_has_a_block_per_classifier_and_keeps_the_order_of_layers():
    records = [
        {"classifier": classifier, "layers": layers, "column": "all", "measure": measure, "mean": mean, "sem": ""}
        for classifier in ("lasso", "nn_a")
        for layers, mean in (("dense", "80"), ("conv3+dense", "81"))
        for measure in ("auroc", "aupr_out")
    ]
    grid = ablation_grid("auroc", records)
    assert [block.title for block in grid.blocks] == ["LASSO", "NN (a)"]
    assert cells(grid, 1) == {"dense": ["80.00"], "conv3+dense": ["81.00"]}


def test_bad_input_is_named():
    with pytest.raises(InputError, match="table=5"):
        table_grid(5, [])
    with pytest.raises(InputError, match=r"'mean'.*'many'"):
        table_grid(1, [record("auroc", "l1", "wrong", "many")])
