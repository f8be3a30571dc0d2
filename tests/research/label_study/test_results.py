from dataclasses import replace
from pathlib import Path

import pytest
from sklearn.metrics import roc_auc_score

from gradmeter import DataError
from gradmeter.research.gradient_gain.gains import AUROC
from gradmeter.research.label_study.names import COMBINED, CONFIDENT, FORWARD
from gradmeter.research.label_study.results import SetResults, read_results, write_results
from gradmeter.research.label_study.subjects import GROUPS
from gradmeter.research.label_study.targets import rate_ratio, targets, true_rate
from research.label_study.sheets import sheet


@pytest.fixture(scope="module")
def results() -> SetResults:
    return SetResults.compute("symmetric", 0.05, [sheet(seed, 0.05) for seed in range(3)])


def test_values_and_leads(results: SetResults) -> None:
    sheets = [sheet(seed, 0.05) for seed in range(3)]
    expected = sum(roc_auc_score(one.planted, one.scores[COMBINED]) for one in sheets) / 3
    assert results.values[AUROC][COMBINED].value == pytest.approx(expected)
    best = results.best_single(AUROC)
    assert best not in (COMBINED, FORWARD)
    lead = results.leads[AUROC][best]
    assert lead.value == pytest.approx(expected - results.values[AUROC][best].value)
    assert 0 < lead.low < lead.value < lead.high
    assert results.leads[AUROC][FORWARD].verdict == "adds"
    assert results.learned == 0.25


def test_results_come_back_from_their_file(results: SetResults, tmp_path: Path) -> None:
    write_results(tmp_path / "digits.json", [results])
    assert read_results(tmp_path / "digits.json") == [results]
    (tmp_path / "digits.json").write_text('{"sets": [{}]}')
    with pytest.raises(DataError, match=r"digits\.json"):
        read_results(tmp_path / "digits.json")


def test_the_true_rate_counts_the_errors_that_were_there_before(results: SetResults) -> None:
    assert true_rate(results, GROUPS["digits"]) == 0.05
    assert true_rate(results, GROUPS["resnet-44-56"]) == pytest.approx(0.05 + 0.95 * 0.0054)
    assert rate_ratio(results, GROUPS["digits"]) == pytest.approx(1)
    assert rate_ratio(results, GROUPS["digits"], CONFIDENT) == pytest.approx(1)


def test_targets(results: SetResults) -> None:
    by_aim = {target.aim.partition(": ")[2]: target for target in targets({"digits": [results]})}
    lead = by_aim["AUROC minus the best single score's, worst set"]
    assert lead.met
    assert "symmetric, 5 %" in lead.result
    precision = by_aim["precision among the first 100 at 5 %, worst kind"]
    assert not precision.met  # 20 planted errors are at most a fifth of the first 100
    rate = by_aim["estimated rate within a fifth of the truth, sets"]
    assert rate.met
    assert rate.result.startswith("1 of 1")


def test_targets_that_are_missed() -> None:
    bad = SetResults.compute("symmetric", 0.05, [sheet(seed, 0.05, combined=0.0, estimate=0.07) for seed in range(3)])
    met = {target.aim.partition(": ")[2]: target.met for target in targets({"texts": [bad]})}
    assert met == {
        "AUROC minus the best single score's, worst set": False,
        "estimated rate within a fifth of the truth, sets": False,
    }
    close = replace(bad, rates={name: [replace(rate, value=0.0595)] for name, (rate, *_) in bad.rates.items()})
    assert next(t for t in targets({"texts": [close]}) if "rate" in t.aim).met


def test_only_reported_groups_have_targets(results: SetResults) -> None:
    assert not list(targets({"digits-choosing": [results]}))
