import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gradmeter.errors import DataError, OutputError
from gradmeter.research.speed_benchmark.results import SpeedResults, Spread

Made = Callable[..., SpeedResults]


def test_spread_of_few_and_many() -> None:
    assert Spread.of([3.0]) == Spread(3.0, 3.0, 3.0)
    assert Spread.of([5.0, 1.0, 2.0, 4.0, 3.0]) == Spread(3.0, 2.0, 4.0)


def test_ratios_are_of_the_same_round(made: Made) -> None:
    results = made()
    assert results.ratio("tiny", 1, "gradmeter", "plain") == Spread(0.4, pytest.approx(0.35), pytest.approx(0.45))
    assert results.ratio("tiny", 1, "loop", "plain") == Spread(7.0, 7.0, 7.0), "its only round was the first"
    assert results.ratio("tiny", 1, "refusing", "plain") is None


def test_rows(made: Made) -> None:
    plain, best, ours, loop, refusing = made().rows("tiny", 1)
    assert (plain.seconds, plain.ratio, plain.memory_ratio, plain.rounds) == (2.0, Spread(1.0, 1.0, 1.0), 1.0, 3)
    assert (best.note, best.memory_ratio) == ("tiles of 3", 0.1)
    assert (ours.seconds, ours.memory_ratio, ours.disagreement, ours.error) == (1.0, 0.5, 2.5e-7, None)
    assert loop.rounds == 1
    assert (refusing.seconds, refusing.ratio, refusing.memory) == (None, None, None)
    assert refusing.error == "NotImplementedError: no | such layers"


def test_a_method_that_failed_while_it_took_turns_has_no_time(made: Made) -> None:
    results = made()
    results.timings["tiny"]["1"]["gradmeter"] = {"seconds": [0.1], "note": "", "error": "RuntimeError: tired"}
    row = results.row("tiny", 1, "gradmeter")
    assert row is not None
    assert (row.seconds, row.ratio, row.error) == (None, None, "RuntimeError: tired")
    assert results.row("tiny", 1, "vmap") is None, "not asked for"


def test_what_is_written_is_read_again(made: Made) -> None:
    made().write()
    again = made()
    again.content["probes"] = {}
    again.begin()
    assert again.probes == made().probes


def test_a_new_benchmark_writes_its_file_at_once(made: Made, tmp_path: Path) -> None:
    made().begin()
    assert json.loads((tmp_path / "results.json").read_text())["gradmeter"] == "1.2.3"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"gradmeter": "2.0"}, "gradmeter was 1.2.3, is 2.0"),
        ({"versions": {"torch": "10.0"}}, "versions: torch was 9.9, is 10.0"),
        ({"versions": {"torch": "9.9", "timm": "1"}}, "versions: timm was none, is 1"),
        ({"machine": {"processor": "Q"}}, "machine: processor was P-1, is Q"),
    ],
)
def test_results_made_otherwise_are_refused(changes: dict[str, Any], message: str, made: Made) -> None:
    made().write()
    with pytest.raises(OutputError, match=r"--fresh") as caught:
        made(**changes).begin()
    assert message in str(caught.value)


@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize("text", ["", "{", "[]", json.dumps({"gradmeter": "1", "options": {}})])
def test_files_of_something_else_are_refused(text: str, fresh: bool, made: Made, tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(DataError, match=r"results\.json"):
        made().begin(fresh=fresh)
    assert (tmp_path / "results.json").read_text() == text
