"""Each property is tested with few cases by `pytest`, and with many by `pytest -m exhaustive`."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

_UNHURRIED = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]


def tiers(few: int, many: int, *, is_fast: bool = True) -> pytest.MarkDecorator:
    """Parametrize a test with its `cases`: the few are always the same, the many are others each time.

    Args:
        few: their number.
        many: their number.
        is_fast: whether there is time to look for a smaller case where one of the many fails.
    """
    phases = [Phase.generate, *([Phase.shrink] if is_fast else [])]
    random = settings(_settings(many), derandomize=False, print_blob=True, phases=phases)
    many_cases = pytest.param(random, marks=pytest.mark.exhaustive, id="many")
    return pytest.mark.parametrize("cases", [pytest.param(_settings(few), id="few"), many_cases])


def drive(cases: settings, body: Callable[..., None], **strategies: Any) -> None:
    """Call a test with values of strategies, once for each case."""
    cases(given(**strategies)(body))()


def drive_machine(cases: settings, machine: type[RuleBasedStateMachine], steps: int) -> None:
    """Run a machine so many steps far, once for each case."""
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
