import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import chisquare

from gradmeter import InputError
from gradmeter.research.label_study.planting import KINDS, RATES, plan_errors

CLASSES = 5
LABELS = np.arange(4000) % CLASSES


def probabilities(seed: int, samples: int = len(LABELS)) -> NDArray[np.float64]:
    return np.random.default_rng(seed).dirichlet(np.full(CLASSES, 0.5), size=samples)


@pytest.mark.parametrize("kind", KINDS)
def test_rates_are_exact_and_nested_and_planted_labels_are_wrong(kind: str) -> None:
    plan = plan_errors(kind, LABELS, probabilities(0), probabilities(1), seed=3)
    before: set[int] = set()
    for rate in RATES:
        changed = np.flatnonzero(plan.given(rate) != LABELS)
        assert len(changed) == round(rate * len(LABELS))
        assert set(changed) == set(plan.rows_at(rate))
        assert before <= set(changed)
        before = set(changed)
    assert (plan.given(0) == LABELS).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_seed_gives_one_plan(kind: str) -> None:
    first, again, other = (plan_errors(kind, LABELS, probabilities(0), probabilities(1), seed=s) for s in (3, 3, 4))
    assert (first.rows == again.rows).all()
    assert (first.wrong == again.wrong).all()
    assert (first.rows != other.rows).any()


def test_symmetric_errors_favour_no_class() -> None:
    plan = plan_errors("symmetric", LABELS, probabilities(0), probabilities(1), seed=0)
    steps = (plan.wrong - LABELS[plan.rows]) % CLASSES
    assert chisquare(np.bincount(steps, minlength=CLASSES)[1:]).pvalue > 0.01
    assert chisquare(np.bincount(LABELS[plan.rows], minlength=CLASSES)).pvalue > 0.01


def test_class_dependent_errors_follow_the_confusion_of_the_network() -> None:
    # Class 0 is taken for class 1, class 2 for class 3 half as often; the others are never confused.
    network = np.eye(CLASSES)[LABELS]
    network[LABELS == 0] = [0.6, 0.4, 0, 0, 0]
    network[LABELS == 2] = [0, 0, 0.8, 0.2, 0]
    plan = plan_errors("class-dependent", LABELS, network, probabilities(1), seed=0, most=0.1)
    pairs = list(zip(LABELS[plan.rows].tolist(), plan.wrong.tolist(), strict=True))
    assert set(pairs) == {(0, 1), (2, 3)}
    assert 1.4 < pairs.count((0, 1)) / pairs.count((2, 3)) < 2.8


def test_instance_dependent_errors_are_those_of_the_early_network() -> None:
    early = np.full((len(LABELS), CLASSES), 1e-12)
    early[np.arange(len(LABELS)), LABELS] = 1
    doubtful = np.arange(1000)
    early[doubtful] = 0
    early[doubtful, LABELS[doubtful]] = 0.3
    early[doubtful, (LABELS[doubtful] + 2) % CLASSES] = 0.7
    plan = plan_errors("instance-dependent", LABELS, probabilities(0), early, seed=0)
    assert set(plan.rows) <= set(doubtful)
    assert ((plan.wrong - LABELS[plan.rows]) % CLASSES == 2).mean() > 0.99


def test_wrong_input() -> None:
    good = probabilities(0)
    for arguments, named in (
        (("symmetrical", LABELS, good, good), "symmetrical"),
        (("symmetric", LABELS, good, good[:5]), r"\(5, 5\)"),
        (("symmetric", LABELS + 1, good, good), "5"),
    ):
        with pytest.raises(InputError, match=named):
            plan_errors(*arguments, seed=0)
    plan = plan_errors("symmetric", LABELS, good, good, seed=0, most=0.1)
    with pytest.raises(InputError, match=r"0\.2"):
        plan.given(0.2)
