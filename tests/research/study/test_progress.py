import pytest

from gradmeter.research.study.progress import run_step
from gradmeter.runs.progress import Step


def test_stages_follow_each_other() -> None:
    stages = ("train", "measure", "fit")
    done = [run_step(0, stage, share, "").done for stage in stages for share in (0, 0.5, 1)]
    assert done == sorted(done)
    assert (done[0], done[-1]) == (0, pytest.approx(1))
    assert run_step(3, "train", 1, "epoch 60") == Step("run 4", 0.7, "epoch 60")


def test_an_unknown_stage_is_a_programming_error() -> None:
    with pytest.raises(ValueError, match="not in list"):
        run_step(0, "polish", 1, "")
