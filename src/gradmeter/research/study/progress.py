"""The progress of a run, as a share of its expected time."""

from __future__ import annotations

from gradmeter.runs.progress import Step

# Shares of the run time, measured on the paper's data; they only affect the estimate of the remaining time.
_SHARES = {"train": 0.70, "measure": 0.06, "fit": 0.24}


def run_step(run: int, stage: str, done: float, note: str) -> Step:
    """Return the progress of a run.

    Args:
        run: number of the run, from 0.
        stage: "train", "measure" or "fit".
        done: completed share of the stage, from 0 to 1.
        note: message for the progress bar.
    """
    before = sum(_SHARES[earlier] for earlier in list(_SHARES)[: list(_SHARES).index(stage)])
    return Step(f"run {run + 1}", before + _SHARES[stage] * done, note)
