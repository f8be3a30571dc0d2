from dataclasses import replace
from typing import Any

import pytest

from gradmeter.errors import InputError
from gradmeter.research.speed_benchmark.methods import METHODS
from gradmeter.research.speed_benchmark.models import MODELS
from gradmeter.research.speed_benchmark.options import BenchOptions
from research.speed_benchmark.tiny import TINY

SMALL: dict[str, Any] = {"models": ("paper-cnn",), "methods": ("gradmeter",)}


def test_names_are_sorted_as_on_the_page_and_t0_is_always_included() -> None:
    options = BenchOptions(("paper-cnn",), ("loop", "gradmeter", "loop"), threads=(2, 1, 2))
    assert options.methods == ("plain", "gradmeter", "loop")
    assert options.threads == (1, 2)


@pytest.mark.parametrize(
    ("wrong", "value"),
    [
        ({"models": ("alexnet",)}, "'alexnet'"),
        ({"models": ()}, "paper-cnn, resnet18-32, "),
        ({"methods": ("magic",)}, "'magic'"),
        ({"threads": (0,)}, "threads=0;"),
        ({"threads": (1, 99999999)}, "threads=1,99999999;"),
        ({"threads": ()}, "threads=;"),
        ({"repeats": 0}, "repeats=0;"),
        ({"cap": 0.0}, "cap=0;"),
        ({"cap": float("nan")}, "cap=nan;"),
    ],
)
def test_wrong_options(wrong: dict[str, Any], value: str) -> None:
    with pytest.raises(InputError) as caught:
        BenchOptions(**(SMALL | wrong))
    assert value in str(caught.value)


def test_a_missing_package_is_named_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MODELS, "tiny", replace(TINY, distribution="no-such-package"))
    with pytest.raises(InputError, match=r'model tiny .* no-such-package.*pip install "gradmeter\[bench'):
        BenchOptions(("tiny",), ("gradmeter",))
    monkeypatch.setitem(METHODS, "magic", replace(METHODS["plain"], distribution="no-such-package"))
    with pytest.raises(InputError, match=r"method magic .* no-such-package"):
        BenchOptions(("paper-cnn",), ("magic",))
