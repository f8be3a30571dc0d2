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
    ("given", "named"),
    [
        ({"runs": 0}, "runs=0"),
        ({"max_epochs": -3}, "max_epochs=-3"),
        ({"initialisations": 0}, "initialisations=0"),
        ({"seed": -1}, "seed=-1"),
        ({"patience": -1}, "patience=-1"),
        ({"padding": "foo"}, "padding='foo'"),
        ({"weight_decay": -1e-3}, "weight_decay=-0.001"),
        ({"weight_decay": float("nan")}, "weight_decay=nan"),
        ({"decayed": "foo"}, "decayed='foo'"),
        ({"first_dropout": "foo"}, "first_dropout='foo'"),
        ({"weights": "foo"}, "weights='foo'"),
        ({"loss": "foo"}, "loss='foo'"),
        ({"inputs": "foo"}, "inputs='foo'"),
        ({"noise": "foo"}, "noise='foo'"),
        ({"aupr": "foo"}, "aupr='foo'"),
    ],
)
def test_invalid_options_are_refused(given: dict[str, Any], named: str) -> None:
    with pytest.raises(InputError, match=f"^{named};"):
        StudyOptions(**given)


def test_the_smallest_allowed_options() -> None:
    StudyOptions(runs=1, seed=0, patience=0, max_epochs=1, initialisations=1, padding="same", aupr="trapezoid")
