"""Times of verdicts on a tiny network: what they cover, that they are measured once, and what the page says of them."""

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from gradmeter.research.speed_benchmark import run, verdicts
from gradmeter.research.speed_benchmark.models import MODELS, resnet56
from gradmeter.research.speed_benchmark.options import BenchOptions
from gradmeter.research.speed_benchmark.page import write_page
from gradmeter.research.speed_benchmark.results import SpeedResults
from gradmeter.research.speed_benchmark.run import run_benchmark
from research.speed_benchmark.tiny import IMAGES, TINY, in_this_process

Made = Callable[..., SpeedResults]


pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.fixture(autouse=True)
def few_inputs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verdicts, "BATCHES", {"tiny": (1, 3)})
    monkeypatch.setattr(verdicts, "KNOWN_INPUTS", 60)
    monkeypatch.setattr(verdicts, "_MOST_CALLS", 3)


JUDGED = functools.cache(verdicts.JudgedNetwork)
"""Judges that are fitted once for all tests."""


def test_predictions_are_spread_over_all_classes_and_a_tenth_is_wrong() -> None:
    judged = verdicts.JudgedNetwork(IMAGES)
    inputs, labels = judged.known
    assert inputs.shape == (60, *IMAGES.shape)
    with torch.no_grad():
        predictions = judged.network(inputs).argmax(1)
    assert len(predictions.unique()) == 3
    assert (predictions != labels).sum() == 6


@pytest.mark.slow
def test_the_verdict_is_made_of_the_steps() -> None:
    judged = JUDGED(TINY)
    inputs = TINY.inputs(3)
    results = {name: step.prepare(judged, inputs)(inputs) for name, step in verdicts.STEPS.items()}
    assert judged.trust.meter.pseudo_labels == ("predicted", "uniform")
    torch.testing.assert_close(results["meter"], results["trust-meter"])
    torch.testing.assert_close(results["heads"], results["verdict"])
    assert results["verdict"].shape == (3,)


@pytest.mark.slow
def test_verdicts_are_measured_once_and_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "run_isolated", in_this_process)
    monkeypatch.setattr(verdicts, "JudgedNetwork", JUDGED)
    options = BenchOptions(("tiny",), ("gradmeter",), threads=(1,), repeats=2)

    def bench() -> dict[str, Any]:
        run_benchmark(options, tmp_path, command="", console=Console(quiet=True))
        times: dict[str, Any] = json.loads((tmp_path / "results.json").read_text())["verdicts"]
        return times

    times = bench()
    assert times.keys() == {"tiny"}
    assert times["tiny"].keys() == {"1", "3"}
    for batch in times["tiny"].values():
        assert list(batch) == list(verdicts.STEPS)
        assert all(timing["error"] is None and len(timing["seconds"]) == 2 for timing in batch.values())
    assert "\n## What a verdict costs\n" in (tmp_path / "performance.md").read_text()

    monkeypatch.setattr(verdicts, "BATCHES", {"tiny": (1, 3, 4)})
    resumed = bench()
    assert resumed["tiny"].keys() == {"1", "3", "4"}
    assert {batch: resumed["tiny"][batch] for batch in ("1", "3")} == times["tiny"]
    monkeypatch.setattr(verdicts, "take_turns", lambda *arguments: pytest.fail("timed again"))
    assert bench() == resumed


def test_no_verdicts_without_gradmeter_or_the_network() -> None:
    assert verdicts.timed_networks(BenchOptions(("tiny",), ("gradmeter",))) == ("tiny",)
    assert verdicts.timed_networks(BenchOptions(("tiny",), ("loop",))) == ()
    assert verdicts.timed_networks(BenchOptions(("paper-cnn",), ("gradmeter",))) == ()


def timing(seconds: list[float], error: str | None = None) -> dict[str, Any]:
    return {"seconds": seconds, "note": "", "error": error}


def test_medians_ratios_and_errors_on_the_page(made: Made, tmp_path: Path) -> None:
    results = made()
    results.content["verdicts"] = {
        "tiny": {
            "1": dict.fromkeys(verdicts.STEPS, timing([0.004] * 3)) | {"forward": timing([0.001, 0.002, 0.004])},
            "3": dict.fromkeys(verdicts.STEPS, timing([1.5])) | {"meter": timing([], "RuntimeError: no | luck")},
        }
    }
    page = write_page(results, tmp_path).read_text(encoding="utf-8")
    assert "| step | batch of 1: ms | / forward | batch of 3: ms | / forward |" in page
    assert f"| {verdicts.STEPS['forward'].title} | 2 | 1.00 | 1,500 | 1.00 |" in page
    assert f"| {verdicts.STEPS['meter'].title} | 4 | 2.00 | fails | - |" in page
    assert f"| {verdicts.STEPS['verdict'].title} | 4 | 2.00 | 1,500 | 1.00 |" in page
    assert "batch of 3, fails: RuntimeError: no \\| luck" in page


def test_targets_on_the_page(made: Made, tmp_path: Path) -> None:
    results = made()
    steps = dict.fromkeys(verdicts.STEPS, timing([0.01])) | {
        "verdict": timing([0.011]),
        "two-backwards": timing([0.01]),
    }
    slow = steps | {"forward-verdict": timing([0.016]), "two-backwards": timing([], "RuntimeError: no luck")}
    results.content["verdicts"] = {"tiny": {"1": steps, "3": slow}}
    reached = [(target.batch, target.largest, target.ratio) for target in verdicts.targets(results)]
    assert reached == [(1, 3.0, 1.0), (1, 1.2, pytest.approx(1.1)), (3, 1.5, 1.6), (3, 1.2, None)]
    page = write_page(results, tmp_path).read_text(encoding="utf-8")
    of_forward, of_gradients = (
        f"| Two layers | {verdicts.STEPS[step].title} / {verdicts.STEPS[reference].title} |"
        for step, reference in (("forward-verdict", "forward"), ("verdict", "two-backwards"))
    )
    assert f"{of_forward} 1 | 3 | 1.00 | met |" in page
    assert f"{of_gradients} 1 | 1.2 | 1.10 | met |" in page
    assert f"{of_forward} 3 | 1.5 | 1.60 | **missed** |" in page
    assert f"{of_gradients} 3 | 1.2 | - | - |" in page


def test_the_page_without_verdicts(made: Made, tmp_path: Path) -> None:
    assert "verdict" not in write_page(made(), tmp_path).read_text(encoding="utf-8")


def test_resnet56_has_the_published_size() -> None:
    network = resnet56()
    assert MODELS["resnet56"].make is resnet56
    assert sum(parameter.numel() for parameter in network.parameters()) == 853_018
    names = {name.partition(".")[0] for name, _ in network.named_children()}
    assert names - {"inputs"} == {"conv1", "bn1", "layer1", "layer2", "layer3", "linear"}
