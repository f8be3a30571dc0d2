"""Checks before the server starts."""

import os
import resource
from typing import Any

import pytest

from gradmeter.apps.serving import running
from gradmeter.errors import InputError

NICENESS = "RAY_worker_niceness"
FEW, MANY, NO_LIMIT = 64, 4096, resource.RLIM_INFINITY


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ((FEW, MANY), (1024, MANY)),
        ((FEW, NO_LIMIT), (1024, NO_LIMIT)),
        ((MANY, MANY), None),
        ((NO_LIMIT, NO_LIMIT), None),
    ],
)
def test_a_low_limit_of_open_files_is_raised(
    limits: tuple[int, int], expected: tuple[int, int] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With too few open files, Ray hangs without a message."""
    set_to: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda which: limits)
    monkeypatch.setattr(resource, "setrlimit", lambda which, new: set_to.append(new))
    running._require_open_files()
    assert set_to == ([] if expected is None else [expected])


def test_answers_do_not_wait_for_other_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray starts its workers with the niceness in this variable, by default 15."""
    niceness: list[str | None] = []

    def cluster() -> Any:
        niceness.append(os.environ.get(NICENESS))
        raise InputError("no cluster in this test")

    monkeypatch.setattr(running, "cluster", cluster)
    monkeypatch.setattr(os, "environ", {**os.environ})
    with pytest.raises(InputError, match="no cluster"):
        running.serve(None, "127.0.0.1", 0, print)
    assert niceness == ["0"]


def test_where_it_cannot_be_raised_one_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda which: (FEW, FEW))
    with pytest.raises(InputError, match=r"\b64\b.*1,024"):
        running._require_open_files()
