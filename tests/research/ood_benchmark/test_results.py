from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from gradmeter.research.ood_benchmark.ceiling import CEILING
from gradmeter.research.ood_benchmark.letters import letter_table
from gradmeter.research.ood_benchmark.results import ALL, UNSEEN, TaskResults, found_results
from gradmeter.research.ood_benchmark.run import OURS, WHICH_LETTER, WRONG
from gradmeter.research.ood_benchmark.scores import KNOWN, Scores, score_path
from gradmeter.research.ood_benchmark.tasks import LETTERS, TASKS

RUNS = (0, 1, 2)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for run in RUNS:
        random = np.random.default_rng(run)
        wrong = random.random(200) < 0.2
        Scores({WRONG: wrong.astype(float)}, 0, 0).write(score_path(tmp_path, "digits", run, WRONG))
        for shift, method in enumerate(("MSP", OURS)):
            values = {
                KNOWN: random.normal(size=200) + (0.5 + shift) * wrong,
                "letters": random.normal(1 + shift, size=50),
                "omniglot": random.normal(2, size=40),
                "uniform": random.normal(3, size=70),
            }
            Scores(values, 2.0, 1.0 + shift).write(score_path(tmp_path, "digits", run, method))
    return tmp_path


def test_qualities(folder: Path) -> None:
    results = TaskResults(folder, TASKS["digits"], RUNS)
    assert results.columns == [WRONG, "letters", "omniglot", "uniform", ALL, UNSEEN]
    assert results.far == ["omniglot", "uniform"]
    scores, wrong = results.scores(OURS)[1], results.wrong[1]
    known = scores.values[KNOWN]
    right = known[~wrong]
    for column, outside in {
        WRONG: known[wrong],
        "letters": scores.values["letters"],
        ALL: np.concatenate([scores.values["omniglot"], scores.values["uniform"]]),
        UNSEEN: scores.values["omniglot"],
    }.items():
        quality = results.quality(OURS, column)[1]
        target = np.repeat([0, 1], [len(right), len(outside)])
        both = np.concatenate([right, outside])
        assert quality.auroc == pytest.approx(roc_auc_score(target, both))
        assert quality.aupr_out == pytest.approx(average_precision_score(target, both))
        weights = np.where(target == 1, len(right) / len(outside), 1)
        assert quality.matched == pytest.approx(average_precision_score(target, both, sample_weight=weights))
        unknown = np.empty(0) if column == WRONG else outside
        errors = np.concatenate([wrong, np.ones(len(unknown), bool)])[np.concatenate([known, unknown]).argsort()]
        assert quality.aurc == pytest.approx((errors.cumsum() / np.arange(1, len(errors) + 1)).mean())


def test_means_gains_and_times(folder: Path) -> None:
    results = TaskResults(folder, TASKS["digits"], RUNS)
    ours = [quality.auroc for quality in results.quality(OURS, WRONG)]
    softmax = [quality.auroc for quality in results.quality("MSP", WRONG)]
    assert results.mean(OURS, WRONG, "auroc").mean == pytest.approx(np.mean(ours))
    gain = results.gain(OURS, "MSP", WRONG, "auroc")
    assert gain.mean == pytest.approx(np.mean(ours) - np.mean(softmax))
    assert gain.low < gain.mean < gain.high
    assert results.milliseconds(OURS) == 2.0
    assert results.fit_seconds(OURS) == 2.0
    assert results.has("MSP")
    assert not results.has("KNN")


def test_tasks_with_scores(folder: Path) -> None:
    (results,) = found_results(folder)
    assert results.task.name == "digits"
    assert results.runs == list(RUNS)


def test_the_table_of_letters(folder: Path) -> None:
    which = np.arange(50) % 26 + 26 * (np.arange(50) % 3 == 0)
    for run in RUNS:
        Scores({LETTERS: which.astype(float)}, 0, 0).write(score_path(folder, "digits", run, WHICH_LETTER))
        held_out = Scores({KNOWN: np.zeros(200), LETTERS: np.ones(25)}, 0, 0)
        held_out.write(score_path(folder, "digits", run, f"{CEILING} {LETTERS}"))
    results = TaskResults(folder, TASKS["digits"], RUNS)
    head, _, *rows = letter_table(results)
    assert [cell.strip() for cell in head.split("|")[1:-1]] == ["", OURS, "softmax", "supervised"] * 2
    expected = []
    for scores, wrong in zip(results.scores(OURS), results.wrong, strict=True):
        inside, outside = scores.values[KNOWN][~wrong], scores.values["letters"][which == 4]
        expected.append(roc_auc_score(np.repeat([0, 1], [len(inside), len(outside)]), [*inside, *outside]))
    cells = [cell.strip() for cell in rows[4].split("|")[1:-1]]
    # Letter 4 is E, letter 30 is e; the supervised network scored every other image.
    assert which[4] == 4
    assert which[30] == 30
    assert cells[:2] == ["E", f"{100 * np.mean(expected):.1f}"]
    assert cells[4] == "e"
    odd = set(which[1::2])
    assert [row.split("|")[4].strip() for row in rows] == ["100.0" if n in odd else "" for n in range(26)]
