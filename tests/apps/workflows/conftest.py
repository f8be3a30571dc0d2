"""Fixtures with digits, a network, and a TrustModel that is fitted on them; made once and read-only."""

from pathlib import Path

import pytest

from apps.cli.commands import leave_blank
from apps.workflows.digits import make, recipe
from gradmeter.apps.workflows.evaluate import Evaluation, evaluate
from gradmeter.apps.workflows.fit import Fitted, fit
from gradmeter.apps.workflows.open_trust import open_trust
from gradmeter.report.figures import saving
from trust.quick import fit_quickly


@pytest.fixture(scope="module", autouse=True)
def small_fits(quick_fits: None) -> None:
    """Make the fits of all tests small."""


@pytest.fixture
def unpainted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave figures blank, for tests that do not look at them: painting those of one report takes seconds."""
    monkeypatch.setattr(saving, "save", leave_blank)


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("place")
    make(folder)
    return folder


@pytest.fixture(scope="session")
def fitted(place: Path) -> Fitted:
    """The TrustModel in place / "trust", with a guaranteed risk of 8 %."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        fit_quickly(patch)  # `small_fits` may be set up later
        return fit(recipe(place), "validation", ["noise:uniform:200"], Path("trust"), risk=0.08, repetitions=100)


@pytest.fixture(scope="session")
def evaluation(fitted: Fitted, place: Path, tmp_path_factory: pytest.TempPathFactory) -> Evaluation:
    """An evaluation of this TrustModel on new digits, torn digits and new noise."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        trust, classifier = open_trust(Path("trust"), model="digits_network:network")
        out = tmp_path_factory.mktemp("evaluation") / "out"
        return evaluate(trust, classifier, "test", ["torn", "noise:uniform:150"], out, repetitions=100)


@pytest.fixture
def at_place(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder `place`, which is the current folder during the test."""
    monkeypatch.chdir(place)
    return place
