from gradmeter.report.answer import answer
from gradmeter.report.results import Results, read_results

NOTHING = Results({}, {table: [] for table in ("table1", "table2", "table3", "claims")}, {})


def rows(**means):
    return [{"measure": "auroc", "row": row, "column": "wrong", "mean": mean} for row, mean in means.items()]


def test_every_table_gives_a_sentence(study):
    sentences = answer(read_results(study))
    assert len(sentences) == 4
    assert sentences[0] == "Of the paper's claims 1 of 3 hold here, 1 do not, 1 cannot be tested on this data."
    assert "EMNIST letters +" in sentences[2]
    assert "Uniform noise +" in sentences[2]


def test_the_best_gradient_metric_is_named_with_its_number():
    results = Results({}, {**NOTHING.rows, "table1": rows(softmax="97.8", l1="97.1", min="97.9", entropy="99")}, {})
    (sentence,) = answer(results)
    assert "(minimum) reaches an AUROC of 97.90" in sentence
    assert "baseline 97.80" in sentence


def test_known_unknowns_look_scores_up_as_columns():
    table = [
        {"measure": "aupr_out", "row": "all", "column": column, "mean": mean}
        for column, mean in (("nn_a", "75.64"), ("nn_b", "89.38"), ("softmax", "88.07"))
    ]
    (sentence,) = answer(Results({}, {**NOTHING.rows, "table3": table}, {}))
    assert "from 75.64 to 89.38" in sentence


def test_without_tables_there_is_no_sentence():
    assert answer(NOTHING) == []
