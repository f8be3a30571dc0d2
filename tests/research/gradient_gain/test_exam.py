import numpy as np
import pytest

from gradmeter.research.gradient_gain.exam import KNOWN, VALIDATION
from research.gradient_gain.exams import exam


def test_folds_are_disjoint_and_judges_never_learn_from_their_test_inputs() -> None:
    three = exam(3)
    tests = [three.test_rows(100, fold) for fold in range(3)]
    assert sorted(np.concatenate(tests).tolist()) == list(range(100))
    for fold, rows in enumerate(tests):
        assert sorted([*rows, *three.other_rows(100, fold)]) == list(range(100))
        pool, lessons = three.lesson_rows(fold)
        assert pool == KNOWN
        assert not set(lessons) & set(three.test_rows(len(three.known), fold))


def test_with_one_fold_the_judge_learns_from_the_validation_data() -> None:
    one = exam(1)
    pool, rows = one.lesson_rows(0)
    assert pool == VALIDATION
    assert len(rows) == len(one.labels(VALIDATION)) == 300
    assert len(one.other_rows(100, 0)) == 0
    assert len(one.test_rows(100, 0)) == 100


@pytest.mark.parametrize("folds", [1, 3])
def test_pools(folds: int) -> None:
    pools = dict(exam(folds).pools())
    expected = ["known", "synthetic blur", "synthetic uniform noise", "unknown dark", "corrupted noise"]
    assert [*pools] == [*expected[:1], *["validation"] * (folds == 1), *expected[1:], "adversarial FGSM 8/255"]
    assert len(pools["adversarial FGSM 8/255"]()) == 120
