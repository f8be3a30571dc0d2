from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from gradmeter.research.gradient_gain import results as module
from gradmeter.research.gradient_gain.draw import few, reads
from gradmeter.research.gradient_gain.gains import resample_cases, resample_predictions
from gradmeter.research.gradient_gain.groups import ADVERSARIAL, CORRUPTED, FEW, group_of
from gradmeter.research.gradient_gain.judges import CLASSIFIERS
from gradmeter.research.gradient_gain.page import Made, write_page
from gradmeter.research.gradient_gain.reading import Price
from gradmeter.research.gradient_gain.regression import REGRESSORS
from gradmeter.research.gradient_gain.results import SubjectResults
from gradmeter.research.gradient_gain.scored import SOFTMAX, Predicted, Scored, method
from gradmeter.research.gradient_gain.subjects import REAL, SUBJECTS
from gradmeter.research.gradient_gain.table import Table
from gradmeter.research.gradient_gain.variants import FORWARD, GRADIENTS, NOISE


def scored(seed: int, gain: float) -> Scored:
    """Scores to which gradients add the given distance between right and wrong predictions."""
    random = np.random.default_rng(seed)
    outside = np.arange(400) >= 300
    noise = random.normal(size=400)
    scores = {SOFTMAX: 0.5 * outside + random.normal(size=400)}
    for classifier in CLASSIFIERS:
        for variant in reads(classifier):
            scores[method(classifier, variant)] = (1 + gain * (variant == GRADIENTS)) * outside + noise
    return Scored(outside, scores)


def predicted(seed: int) -> Predicted:
    random = np.random.default_rng(seed)
    loss = random.exponential(size=200)
    variants = (FORWARD, GRADIENTS, NOISE, SOFTMAX)
    return Predicted(
        loss, {method(r, v): 0.5 * loss + 0.5 * (v == GRADIENTS) * loss for r in REGRESSORS for v in variants}
    )


@pytest.fixture(scope="module", autouse=True)
def few_resamples() -> Iterator[None]:
    """All gains are far from 0 or exactly 0, so that few resamples give the same verdicts as a thousand."""
    with pytest.MonkeyPatch.context() as patch:
        for resample in (resample_cases, resample_predictions):
            patch.setattr(module, resample.__name__, partial(resample, repetitions=100))
        yield


@pytest.fixture(scope="module")
def results() -> dict[str, SubjectResults]:
    gains = {"wrong": 1.5, "CIFAR-100": -0.8, "blur": 0.0, few(200, "wrong"): 0.0}
    draws = [{name: scored(seed, gain) for name, gain in gains.items()} for seed in range(3)]
    computed = SubjectResults.compute(draws, [predicted(seed) for seed in range(3)], [Price(1.0, 2.0, 8.0)])
    return dict.fromkeys(("resnet20", "texts"), computed)


@pytest.fixture(scope="module")
def page(results: dict[str, SubjectResults], tmp_path_factory: pytest.TempPathFactory) -> str:
    made = Made(("gradmeter gain --data DIR",), ("Made today.",))
    return write_page(results, made, tmp_path_factory.mktemp("page")).read_text(encoding="utf-8")


def test_results_come_back_from_their_file(results: dict[str, SubjectResults], tmp_path: Path) -> None:
    results["texts"].write(tmp_path / "texts.json")
    assert SubjectResults.read(tmp_path / "texts.json") == results["texts"]


def test_a_row_for_each_case_and_its_verdict(page: str) -> None:
    rows = {line.split(" | ")[0]: line for line in page.splitlines() if line.startswith("| ResNet-20: ")}
    assert rows["| ResNet-20: wrong"].endswith("| 3 of 3 | **adds*** |")
    assert "| 900 / 300 |" in rows["| ResNet-20: wrong"]
    assert rows["| ResNet-20: CIFAR-100"].endswith("| 0 of 3 | hurts* |")
    assert rows["| ResNet-20: blur"].endswith("| 0 of 3 | does not |")
    assert "+0.00 [+0.00, +0.00]" in rows["| ResNet-20: blur"]


def test_the_answer_counts_the_verdicts(page: str) -> None:
    answer = page.partition("## The answer")[2].partition("##")[0]
    for classifier in ("gradmeter's meta classifier", "logistic regression"):
        assert f"With {classifier}, gradients add in 2 of 8 cases, in 2 of them beyond" in answer
    assert "both classifiers in 2 cases (ResNet-20: wrong; names in ten languages: wrong)" in answer
    assert "about 0.2 of 8 intervals" in answer
    assert "for all 16 comparisons" in answer
    assert "takes 4.0 times" in answer


def test_a_section_for_each_group_that_has_cases(page: str) -> None:
    for group in (REAL, CORRUPTED, FEW, "Texts"):
        assert f"\n### {group}\n" in page
    assert f"### {ADVERSARIAL}" not in page
    corrupted = page.partition(f"### {CORRUPTED}\n")[2].partition("###")[0]
    assert "gradients add in 0 of 2 cases and hurt in 0;" in corrupted
    assert corrupted.strip().endswith("Nothing here shows that gradients pay.")


def test_the_meta_regression_and_the_price(page: str) -> None:
    assert "gradients raise R² on 2 of 2 networks" in page
    assert "| ResNet-20 | 1.000 | 2.000 | 8.000 | 2.0 | 8.0 |" in page


def test_a_gain_below_another_score_does_not_pay(results: dict[str, SubjectResults]) -> None:
    softmax = scored(0, 1.5)
    better = dict(softmax.scores) | {SOFTMAX: 5.0 * softmax.outside + np.random.default_rng(1).normal(size=400)}
    draws = [{"wrong": Scored(softmax.outside, better)}] * 2
    computed = SubjectResults.compute(draws, [predicted(0)], [Price(1.0, 2.0, 8.0)])
    (row,) = Table({"texts": computed}).rows
    for classifier in CLASSIFIERS:
        assert row.gain(classifier).verdict == "adds"
        assert not row.pays(classifier)


def test_a_gain_that_stays_below_chance_does_not_pay() -> None:
    inverted = scored(0, 1.5)
    below = {name: values - 4.0 * inverted.outside for name, values in inverted.scores.items()}
    computed = SubjectResults.compute(
        [{"wrong": Scored(inverted.outside, below)}], [predicted(0)], [Price(1.0, 2.0, 8.0)]
    )
    (row,) = Table({"texts": computed}).rows
    for classifier in CLASSIFIERS:
        assert row.value(method(classifier, GRADIENTS)) > row.best_forward
        assert row.gain(classifier).verdict == "adds"
        assert not row.pays(classifier)


def test_cases_without_two_wrong_predictions_are_left_out() -> None:
    right = scored(0, 0)
    one = Scored(np.arange(400) == 399, right.scores)
    computed = SubjectResults.compute([{"wrong": right, "letters": one}], [predicted(0)], [Price(1.0, 2.0, 8.0)])
    assert list(computed.cases) == ["wrong"]


@pytest.mark.parametrize(
    ("case", "group"),
    [
        ("wrong", REAL),
        ("PGD 1/255", ADVERSARIAL),
        ("FGSM, learned", ADVERSARIAL),
        ("JPEG", CORRUPTED),
        (few(1000, "wrong"), FEW),
    ],
)
def test_groups(case: str, group: str) -> None:
    assert group_of(SUBJECTS["resnet20"].group, case) == group
