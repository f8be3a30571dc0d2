"""Property tests with few cases in `pytest` and many cases in `pytest -m exhaustive`."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

_UNHURRIED = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]


def tiers(few: int, many: int, *, is_fast: bool = True) -> pytest.MarkDecorator:
    """Parametrize a test with `cases`: a few fixed cases, or many random ones.

    Args:
        few: the number of fixed cases.
        many: the number of random cases.
        is_fast: whether hypothesis has time to shrink a failing random case.
    """
    phases = [Phase.generate, *([Phase.shrink] if is_fast else [])]
    random = settings(_settings(many), derandomize=False, print_blob=True, phases=phases)
    many_cases = pytest.param(random, marks=pytest.mark.exhaustive, id="many")
    return pytest.mark.parametrize("cases", [pytest.param(_settings(few), id="few"), many_cases])


def drive(cases: settings, body: Callable[..., None], **strategies: Any) -> None:
    """Call a test once for each case, with values drawn from the strategies."""
    cases(given(**strategies)(body))()


def drive_machine(cases: settings, machine: type[RuleBasedStateMachine], steps: int) -> None:
    """Run a state machine once for each case, with this number of steps."""
    run_state_machine_as_test(machine, settings=settings(cases, stateful_step_count=steps))


def _settings(examples: int) -> settings:
    phases = [Phase.generate]
    return settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=_UNHURRIED,
        phases=phases,
    )
