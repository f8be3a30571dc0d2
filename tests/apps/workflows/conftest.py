"""Fixtures with digits, a network, and a TrustModel that is fitted on them; made once and read-only."""

import os
from pathlib import Path

import pytest

from apps.workflows.digits import make, recipe
from gradmeter.apps.workflows.fit import Fitted, fit


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("place")
    make(folder)
    return folder


@pytest.fixture(scope="session")
def fitted(place: Path) -> Fitted:
    """The TrustModel in place / "trust", with a guaranteed risk of 8 %."""
    before = Path.cwd()
    os.chdir(place)
    try:
        return fit(recipe(place), "validation", ["noise:uniform:200"], Path("trust"), risk=0.08, repetitions=100)
    finally:
        os.chdir(before)


@pytest.fixture
def at_place(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder `place`, which is the current folder during the test."""
    monkeypatch.chdir(place)
    return place
