"""The steps of a run of the study, as shares of the whole run."""

from __future__ import annotations

from gradmeter.runs.progress import Step

# Shares of a run's time, as measured on the paper's data; they only steer the estimate of the time left.
_SHARES = {"train": 0.70, "measure": 0.06, "fit": 0.24}


def run_step(run: int, stage: str, done: float, note: str) -> Step:
    """A step of one run.

    Args:
        run: its number.
        stage: "train", "measure" or "fit".
        done: share of the stage that is done, 1 at its end.
        note: what just happened, for people.
    """
    before = sum(_SHARES[earlier] for earlier in list(_SHARES)[: list(_SHARES).index(stage)])
    return Step(f"run {run + 1}", before + _SHARES[stage] * done, note)
