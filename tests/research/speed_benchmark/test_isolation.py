import os
import time

import pytest

from gradmeter.research.speed_benchmark.isolation import MeasurementError, one_line, run_isolated
from research.speed_benchmark.tiny import double, fail, process_id, sleep, vanish

pytestmark = pytest.mark.slow


def test_the_result_comes_from_another_process() -> None:
    assert run_isolated(double, 21, seconds=60) == 42
    assert run_isolated(process_id, seconds=60) != os.getpid()


def test_an_error_is_reported_in_one_line() -> None:
    with pytest.raises(MeasurementError, match=r"^ValueError: first second$"):
        run_isolated(fail, "first\n   second", seconds=60)


@pytest.mark.exhaustive
def test_a_killed_process_is_an_error() -> None:
    with pytest.raises(MeasurementError, match="killed"):
        run_isolated(vanish, seconds=60)


def test_a_slow_process_is_stopped() -> None:
    start = time.monotonic()
    with pytest.raises(MeasurementError, match=r"0\.1 s"):
        run_isolated(sleep, seconds=0.1)
    assert time.monotonic() - start < 30


def test_long_messages_are_cut() -> None:
    line = one_line(ValueError("x" * 1000))
    assert len(line) == 140
    assert line.startswith("ValueError: xxx")
    assert line.endswith("…")
