from typing import Any

import pytest

from gradmeter import InputError
from gradmeter.research.study.options import StudyOptions


def test_defaults_are_the_readings_of_the_paper() -> None:
    assert StudyOptions().to_dict() == {
        "runs": 10,
        "seed": 0,
        "padding": "valid",
        "weight_decay": 1e-3,
        "decayed": "all",
        "first_dropout": "after",
        "patience": 5,
        "max_epochs": 60,
        "weights": "last",
        "loss": "exact",
        "inputs": "standard",
        "noise": "clipped",
        "biases": True,
        "whole_gradient": False,
        "aupr": "step",
        "initialisations": 5,
    }


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"runs": 0}, "runs=0; expected at least 1"),
        ({"max_epochs": -3}, "max_epochs=-3; expected at least 1"),
        ({"initialisations": 0}, "initialisations=0; expected at least 1"),
        ({"seed": -1}, "seed=-1; expected 0 or more"),
        ({"patience": -1}, "patience=-1; expected 0 or more"),
        ({"padding": "foo"}, "padding='foo'; expected valid or same"),
        ({"weight_decay": -1e-3}, "weight_decay=-0.001; expected a number from 0 to less than 1"),
        ({"weight_decay": float("nan")}, "weight_decay=nan; expected a number from 0 to less than 1"),
        ({"decayed": "foo"}, "decayed='foo'; expected all or convolutions or dense"),
        ({"first_dropout": "foo"}, "first_dropout='foo'; expected after or before"),
        ({"weights": "foo"}, "weights='foo'; expected last or best"),
        ({"loss": "foo"}, "loss='foo'; expected exact or clipped"),
        ({"inputs": "foo"}, "inputs='foo'; expected unit or standard"),
        ({"noise": "foo"}, "noise='foo'; expected raw or clipped or 8-bit"),
        ({"aupr": "foo"}, "aupr='foo'; expected step or trapezoid"),
    ],
)
def test_what_makes_no_study_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=f"^{message}$"):
        StudyOptions(**given)


def test_the_least_that_makes_a_study() -> None:
    StudyOptions(runs=1, seed=0, patience=0, max_epochs=1, initialisations=1, padding="same", aupr="trapezoid")
