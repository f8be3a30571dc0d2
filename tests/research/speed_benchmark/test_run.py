"""A whole benchmark of a tiny network: what it writes, how it resumes, and what it refuses."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from gradmeter.errors import OutputError
from gradmeter.reading import kernels
from gradmeter.research.speed_benchmark import run as module
from gradmeter.research.speed_benchmark import verdicts
from gradmeter.research.speed_benchmark.models import MODELS
from gradmeter.research.speed_benchmark.options import BenchOptions
from gradmeter.research.speed_benchmark.run import run_benchmark
from research.speed_benchmark.tiny import TINY, in_this_process

pytestmark = pytest.mark.slow

METHODS = ("gradmeter", "loop", "refusing", "dying", "tiring")


@pytest.fixture(autouse=True)
def kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "description", lambda: "test kernel")


@pytest.fixture
def one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure in this process, where the test is not about others."""
    monkeypatch.setattr(module, "run_isolated", in_this_process)


def bench(folder: Path, *, fresh: bool = False, terminal: bool = False, **changes: Any) -> tuple[bool, str]:
    options = BenchOptions(**({"models": ("tiny",), "methods": METHODS, "threads": (1, 2), "repeats": 2} | changes))
    err = io.StringIO()
    console = Console(file=err, force_terminal=terminal, width=120)
    measured = run_benchmark(options, folder, command="gradmeter bench", console=console, fresh=fresh)
    return measured, err.getvalue()


def results(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "results.json").read_text())
    return content


@pytest.mark.usefixtures("forked_measurements")
def test_results_page_and_figures(tmp_path: Path) -> None:
    assert bench(tmp_path / "out") == (True, "")
    names = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file()}
    figures = {f"figures/performance-tiny.{end}" for end in ("svg", "png")}
    assert names == {"results.json", "performance.md", *figures}
    content = results(tmp_path / "out")
    assert content["options"]["methods"] == ["plain", *METHODS]
    assert content["machine"]["kernel"] == "test kernel"
    assert content["versions"].keys() == {"python", "torch"}
    probes = content["probes"]["tiny"]
    assert probes["gradmeter"]["disagreement"] < 1e-5
    assert probes["loop"]["disagreement"] < 1e-5
    assert probes["plain"]["disagreement"] is None
    assert probes["tiring"]["disagreement"] > 0.01, "its norms are 1 for every sample"
    assert probes["refusing"] == {"error": "NotImplementedError: no | such layers"}
    assert "killed" in probes["dying"]["error"]
    for threads in ("1", "2"):
        cell = content["timings"]["tiny"][threads]
        assert cell.keys() == {"plain", "gradmeter", "loop", "tiring"}
        assert len(cell["gradmeter"]["seconds"]) == 2
    assert content["timings"]["tiny"]["1"]["tiring"]["error"] is None
    assert content["timings"]["tiny"]["2"]["tiring"]["error"] == "RuntimeError: tired"
    assert content["stream"] == {}
    page = (tmp_path / "out/performance.md").read_text()
    assert f"dying fails: {probes['dying']['error']}" in page
    assert "tiring fails: RuntimeError: tired" in page


@pytest.mark.usefixtures("one_process", "undrawn")
def test_an_interrupted_benchmark_is_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    take_turns = module.take_turns

    def interrupt(model: Any, methods: Any, rounds: Any, threads: int, on_step: Any) -> Any:
        if threads == 2:
            raise KeyboardInterrupt
        return take_turns(model, methods, rounds, threads, on_step)

    small: dict[str, Any] = {"methods": ("gradmeter",)}
    monkeypatch.setattr(module, "take_turns", interrupt)
    with pytest.raises(KeyboardInterrupt):
        bench(tmp_path, **small)
    before = results(tmp_path)
    assert before["timings"]["tiny"].keys() == {"1"}
    assert "finished" not in before
    assert not (tmp_path / "performance.md").exists()

    monkeypatch.setattr(module, "take_turns", take_turns)
    monkeypatch.setattr(module, "run_isolated", lambda *arguments, **options: pytest.fail("measured memory again"))
    assert bench(tmp_path, **small)[0]
    after = results(tmp_path)
    assert after["timings"]["tiny"]["1"] == before["timings"]["tiny"]["1"]
    assert after["timings"]["tiny"].keys() == {"1", "2"}

    monkeypatch.setattr(module, "take_turns", lambda *arguments: pytest.fail("timed again"))
    assert not bench(tmp_path, **small)[0], "nothing was left to measure"
    assert results(tmp_path) == after


@pytest.mark.usefixtures("one_process", "undrawn")
def test_other_options_are_refused_until_fresh(tmp_path: Path) -> None:
    small: dict[str, Any] = {"methods": ("plain",), "threads": (1,)}
    bench(tmp_path, **small)
    before = results(tmp_path)
    with pytest.raises(OutputError, match="repeats was 2, is 1"):
        bench(tmp_path, **small, repeats=1)
    assert results(tmp_path) == before
    assert bench(tmp_path, **small, repeats=1, fresh=True)[0]
    assert len(results(tmp_path)["timings"]["tiny"]["1"]["plain"]["seconds"]) == 1


def test_a_page_that_no_benchmark_made_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "performance.md").write_text("mine")
    with pytest.raises(OutputError, match=r"holds performance\.md"):
        bench(tmp_path, fresh=True)
    assert (tmp_path / "performance.md").read_text() == "mine"
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputError, match="file is a file"):
        bench(tmp_path / "file")


@pytest.mark.usefixtures("forked_measurements", "undrawn")
def test_a_network_that_is_too_slow_for_all_methods(tmp_path: Path) -> None:
    bench(tmp_path, methods=("loop",), threads=(1,), cap=1e-6)
    content = results(tmp_path)
    assert all("2e-05 s" in probe["error"] for probe in content["probes"]["tiny"].values())
    assert content["timings"]["tiny"] == {"1": {}}
    assert (
        f"batch-1 loop fails: {content['probes']['tiny']['loop']['error']}" in (tmp_path / "performance.md").read_text()
    )


SECONDS = {"plain": 0.1, "gradmeter": 60.0, "loop": 60.0, "vmap": 4.0}


@pytest.mark.usefixtures("undrawn")
def test_rounds_follow_from_the_probed_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rounds_of = {}
    options = BenchOptions(
        ("tiny",), ("plain", "gradmeter", "loop", "vmap", "refusing"), threads=(1,), repeats=4, cap=10
    )
    probes = {name: {"seconds": seconds} for name, seconds in SECONDS.items()}
    monkeypatch.setattr(module, "_probe", lambda *arguments: probes | {"refusing": {"error": "no"}})

    def record(model: Any, methods: Any, rounds: dict[str, int], threads: int, on_step: Any) -> dict[str, Any]:
        rounds_of.update(rounds)
        return {}

    monkeypatch.setattr(module, "take_turns", record)
    run_benchmark(options, tmp_path, command="", console=Console(quiet=True))
    assert rounds_of == {"plain": 4, "gradmeter": 4, "loop": 1, "vmap": 2}


@pytest.mark.usefixtures("one_process")
def test_images_are_streamed_with_the_papers_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MODELS, "paper-cnn", TINY)
    monkeypatch.setattr(module, "QUICK_COUNTS", (5, 12))
    monkeypatch.setattr(verdicts, "BATCHES", {})
    bench(tmp_path, models=("paper-cnn",), methods=("gradmeter",), threads=(1,), quick=True)
    streamed = results(tmp_path)["stream"]
    assert streamed.keys() == {"5", "12"}
    assert all(values["seconds"] > 0 for values in streamed.values())
    assert (tmp_path / "figures/performance-stream.svg").exists()


@pytest.mark.usefixtures("one_process", "undrawn")
def test_progress_on_a_terminal(tmp_path: Path) -> None:
    _, shown = bench(tmp_path, methods=("plain",), threads=(1,), terminal=True)
    assert "2 of 2" in shown
    assert "Two layers" in shown
