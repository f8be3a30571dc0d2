from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from gradmeter.research.ood_benchmark.real.results import CHOSEN_ON, POOLED, REPORTED, RealResults
from gradmeter.research.ood_benchmark.real.run import runs_of
from gradmeter.research.ood_benchmark.real.targets import targets
from gradmeter.research.ood_benchmark.run import OURS, WRONG
from gradmeter.research.ood_benchmark.scores import KNOWN, score_path
from research.ood_benchmark.real.made_scores import CHANGED, IF_KNOWN, METHODS, SETS, write


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scores")
    write(folder, METHODS)
    return folder


def test_runs() -> None:
    assert [list(runs_of(depth)) for depth in (20, 56)] == [[0, 1, 2], [9, 10, 11]]


def test_qualities(folder: Path) -> None:
    results = RealResults(folder, range(12))
    assert results.depths == (20, 32, 44, 56)
    assert results.separate == [WRONG, *SETS, *CHANGED]
    assert results.columns == [*results.separate, POOLED]
    scores, wrong = results.scores(OURS)[4].values, results.wrong[4]
    corrupted = results.scores(WRONG)[4].values["corrupted"] > 0
    right = scores[KNOWN][~wrong]
    for column, inside, outside in (
        (WRONG, right, scores[KNOWN][wrong]),
        ("letters", right, scores["letters"]),
        ("adversarial", right, scores["adversarial"]),
        ("corrupted", scores["corrupted"][~corrupted], scores["corrupted"][corrupted]),
        (POOLED, right, np.concatenate([scores[KNOWN][wrong], *(scores[name] for name in SETS)])),
    ):
        quality = results.quality(OURS, column)[4]
        target, both = np.repeat([0, 1], [len(inside), len(outside)]), np.concatenate([inside, outside])
        assert quality.auroc == pytest.approx(roc_auc_score(target, both)), column
        assert quality.aupr_out == pytest.approx(average_precision_score(target, both)), column


def test_some_networks(folder: Path) -> None:
    results = RealResults(folder, range(12))
    reported = results.of(REPORTED)
    assert (reported.depths, list(reported.runs)) == (REPORTED, [*range(6, 12)])
    values = [quality.auroc for quality in results.quality(OURS, "letters")]
    assert reported.mean(OURS, "letters", "auroc").mean == pytest.approx(np.mean(values[6:]))
    assert results.of(CHOSEN_ON).mean(OURS, "letters", "auroc").mean == pytest.approx(np.mean(values[:6]))
    assert [network.depths for network in results.networks] == [(20,), (32,), (44,), (56,)]


def test_runs_that_controls_have_scored(folder: Path, tmp_path: Path) -> None:
    write(tmp_path, METHODS)
    for run in (0, 3):
        source = score_path(tmp_path, "cifar10", run, OURS)
        score_path(tmp_path, "cifar10", run, "control").write_bytes(source.read_bytes())
    results = RealResults(tmp_path, range(12))
    controlled = results.controlled(["control"])
    assert controlled is not None
    assert list(controlled.runs) == [0, 3]
    assert controlled.mean("control", "letters", "auroc") == controlled.mean(OURS, "letters", "auroc")
    assert results.controlled(["nothing"]) is None


def test_calibration(folder: Path) -> None:
    results = RealResults(folder, [7])
    probability, right = -results.scores("MSP")[0].values[KNOWN], ~results.wrong[0]
    calibration = results.calibration("MSP")
    assert calibration.brier == pytest.approx(((probability - right) ** 2).mean())
    bins = np.minimum((15 * probability).astype(int), 14)
    gaps = [abs(probability[bins == b].mean() - right[bins == b].mean()) * (bins == b).mean() for b in set(bins)]
    assert calibration.ece == pytest.approx(sum(gaps))


def test_ranks(folder: Path) -> None:
    ranks = RealResults(folder, range(6, 12)).ranks()
    assert ranks.blocks == 2 * 9
    assert list(ranks.mean) == [OURS, "Energy", "MSP"]


def test_targets(folder: Path, tmp_path: Path) -> None:
    reached = list(targets(RealResults(folder, range(6, 12))))
    assert all(target.met for target in reached if target.expected != ">= 99.8")
    assert not any(target.met for target in reached if target.expected == ">= 99.8")
    gain = reached[0]
    results = RealResults(folder, range(6, 12))
    difference = results.mean(IF_KNOWN, WRONG, "auroc").mean - results.mean("MSP", WRONG, "auroc").mean
    assert float(gain.value) == pytest.approx(100 * difference, abs=0.005)
    assert [target.value for target in reached if target.expected == "6 of 6"] == ["6 of 6"]
    assert "(Energy)" in "".join(target.quantity for target in reached)
    # The other way round, nothing is reached.
    write(tmp_path, {**METHODS, OURS: 0.9, IF_KNOWN: 0.95})
    missed = list(targets(RealResults(tmp_path, range(6, 12))))
    assert not any(target.met for target in missed)
    assert "first: Energy" in missed[-1].value
