from dataclasses import replace
from typing import Any

import pytest

from gradmeter.errors import InputError
from gradmeter.research.speed_benchmark.methods import METHODS
from gradmeter.research.speed_benchmark.models import MODELS
from gradmeter.research.speed_benchmark.options import BenchOptions
from research.speed_benchmark.tiny import TINY

SMALL: dict[str, Any] = {"models": ("paper-cnn",), "methods": ("gradmeter",)}


def test_names_come_in_the_order_of_the_page_and_t0_is_always_there() -> None:
    options = BenchOptions(("paper-cnn",), ("loop", "gradmeter", "loop"), threads=(2, 1, 2))
    assert options.methods == ("plain", "gradmeter", "loop")
    assert options.threads == (1, 2)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"models": ("alexnet",)}, "no model 'alexnet'; there are paper-cnn, resnet18-32, "),
        ({"models": ()}, "no models; there are paper-cnn"),
        ({"methods": ("magic",)}, "no method 'magic'; there are plain, best-plain, "),
        ({"threads": (0,)}, "threads=0; expected numbers of at least 1"),
        ({"threads": ()}, "expected numbers of at least 1"),
        ({"repeats": 0}, "repeats=0; expected at least 1"),
        ({"cap": 0.0}, "cap=0; expected seconds above 0"),
        ({"cap": float("nan")}, "cap=nan; expected seconds above 0"),
    ],
)
def test_wrong_options(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        BenchOptions(**(SMALL | wrong))
    assert message in str(caught.value)


def test_a_missing_package_is_named_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MODELS, "tiny", replace(TINY, distribution="no-such-package"))
    with pytest.raises(
        InputError, match=r'model tiny needs the package no-such-package.*pip install "gradmeter\[bench'
    ):
        BenchOptions(("tiny",), ("gradmeter",))
    monkeypatch.setitem(METHODS, "magic", replace(METHODS["plain"], distribution="no-such-package"))
    with pytest.raises(InputError, match="method magic needs the package no-such-package"):
        BenchOptions(("paper-cnn",), ("magic",))
