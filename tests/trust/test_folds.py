import numpy as np
import pytest
from sklearn.model_selection import KFold, StratifiedKFold

from gradmeter.trust.folds import Fold, plain_folds, stratified_folds

RANDOM = np.random.default_rng(0)
RIGHT = RANDOM.random(400) < 0.7
COPIES = RANDOM.integers(0, 150, 400).astype(np.uint64)
DIFFERENT = RANDOM.permutation(400).astype(np.uint64)


def folds(kind: str, contents: np.ndarray, right: np.ndarray) -> list[Fold]:
    return plain_folds(contents, right) if kind == "plain" else stratified_folds(contents, right.astype(np.int64))


@pytest.mark.parametrize("kind", ["plain", "stratified"])
@pytest.mark.parametrize("contents", [COPIES, DIFFERENT])
def test_each_row_is_held_out_once_and_its_copies_with_it(kind: str, contents: np.ndarray) -> None:
    splits = folds(kind, contents, RIGHT)
    assert len(splits) == 5
    assert sorted(np.concatenate([test for _, test in splits])) == [*range(400)]
    for train, test in splits:
        assert sorted(np.concatenate([train, test])) == [*range(400)]
        assert not np.isin(contents[test], contents[train]).any()
        assert 50 < len(test) < 110


def test_folds_of_distinct_inputs_are_those_of_scikit_learn() -> None:
    options = {"n_splits": 5, "shuffle": True, "random_state": 0}
    splits = {"plain": KFold(**options), "stratified": StratifiedKFold(**options)}
    for kind, splitter in splits.items():
        for fold, expected in zip(folds(kind, DIFFERENT, RIGHT), splitter.split(DIFFERENT, RIGHT), strict=True):
            assert all(map(np.array_equal, fold, expected))


@pytest.mark.parametrize("kind", ["plain", "stratified"])
def test_copies_of_few_distinct_inputs_are_not_kept_together(kind: str) -> None:
    """Otherwise the training rows of a fold might have no right prediction."""
    splits = folds(kind, np.arange(400).astype(np.uint64) % 3, RIGHT)
    assert [len(test) for _, test in splits] == [80] * 5


@pytest.mark.parametrize("kind", ["plain", "stratified"])
def test_copies_of_which_only_the_first_is_right_are_kept_together(kind: str) -> None:
    contents = np.tile(np.arange(30, dtype=np.uint64), 2)
    for right in (np.arange(60) < 30, np.arange(60) >= 30):
        for train, test in folds(kind, contents, right):
            assert not np.isin(contents[test], contents[train]).any()
