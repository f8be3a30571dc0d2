"""The benchmark of pixels: what its methods compute, what it writes, and that it resumes."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from torch import Tensor, nn

from gradmeter import InputError, OutputError, PixelMeter
from gradmeter.apps.cli import main
from gradmeter.research.speed_benchmark import pixel_run, pixels
from gradmeter.research.speed_benchmark.models import Model
from gradmeter.research.speed_benchmark.pixel_run import run_pixel_benchmark
from gradmeter.research.speed_benchmark.timing import Timing
from research.speed_benchmark.tiny import in_this_process, tiny_segmenter

TINY = Model("Tiny segmenter", tiny_segmenter, (3, 10, 12), 2)
PIXELS = TINY.batch * 10 * 12


@pytest.fixture(autouse=True)
def tiny_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pixels, "MODEL", TINY)
    monkeypatch.setattr(pixels, "SMALL", TINY)
    # Processes take seconds to start; test_isolation.py tests them.
    monkeypatch.setattr(pixel_run, "run_isolated", in_this_process)


def norms(name: str) -> Tensor:
    network, inputs = TINY.build()
    found = pixels.PIXEL_METHODS[name].prepare(network, inputs).run(inputs)
    assert found is not None
    return found


def test_exact_norms_are_those_of_the_meter() -> None:
    network, inputs = TINY.build()
    expected = pixels.exact_l2(TINY, [*range(PIXELS)])
    readings = PixelMeter(network)(inputs)[pixels.LAYER, "l2"].flatten()
    torch.testing.assert_close(readings, torch.tensor(expected, dtype=torch.float64), rtol=1e-5, atol=0)


@pytest.mark.parametrize("name", ["gradmeter", "closed-form"])
def test_methods_that_are_exact(name: str) -> None:
    expected = torch.tensor(pixels.exact_l2(TINY, [*range(PIXELS)]), dtype=torch.float64)
    torch.testing.assert_close(norms(name).double().flatten(), expected, rtol=1e-5, atol=0)


def test_pgn_by_the_definition() -> None:
    network, inputs = TINY.build()
    kept: dict[str, Tensor] = {}
    network.get_submodule(pixels.LAYER).register_forward_hook(
        lambda module, given, output: kept.update(phi=given[0], z=output)
    )
    with torch.no_grad():
        network(inputs)
    p, phi = kept["z"].softmax(1), kept["phi"]
    expected = torch.zeros(2, 5, 6)
    for image, y, x in torch.cartesian_prod(torch.arange(2), torch.arange(5), torch.arange(6)).tolist():
        others = [p[image, label, y, x] for label in range(4) if label != int(p[image, :, y, x].argmax())]
        outer = torch.stack(others)[:, None] * phi[image, :, y, x]
        expected[image, y, x] = outer.square().sum().sqrt()
    upsampled = nn.functional.interpolate(expected[:, None], size=(10, 12), mode="bilinear")[:, 0]
    torch.testing.assert_close(norms("pgn"), upsampled)


def bench(folder: Path, **options: Any) -> bool:
    return run_pixel_benchmark(
        options.pop("repeats", 1), folder, command="gradmeter bench --pixels", console=Console(quiet=True), **options
    )


@pytest.mark.slow
def test_results_and_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert bench(tmp_path)
    content = json.loads((tmp_path / "results.json").read_text())
    assert content["probes"].keys() == pixels.PIXEL_METHODS.keys() - {"loop"}
    assert content["probes"]["gradmeter"]["disagreement"] < 1e-5 < content["probes"]["pgn"]["disagreement"]
    assert content["timings"]["layers"].keys() == {*pixels.LAYERS}
    assert all(len(timing["seconds"]) == 1 for timing in content["timings"]["methods"].values())
    page = (tmp_path / "pixels.md").read_text()
    assert "2 images of 10 x 12 (240 pixels)" in page
    assert "| **PixelMeter** | 8 statistics |" in page
    assert "fails" not in page

    monkeypatch.setattr(pixel_run, "take_turns", lambda *arguments, **options: pytest.fail("timed again"))
    monkeypatch.setattr(pixel_run, "run_isolated", lambda *arguments, **options: pytest.fail("measured again"))
    assert not bench(tmp_path)
    with pytest.raises(OutputError, match="repeats was 1, is 2"):
        bench(tmp_path, repeats=2)


@pytest.mark.slow
def test_an_interrupted_benchmark_is_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(pixel_run, "take_turns", interrupt)
        with pytest.raises(KeyboardInterrupt):
            bench(tmp_path)
    before = json.loads((tmp_path / "results.json").read_text())
    assert len(before["probes"]) == 5
    monkeypatch.setattr(pixel_run, "run_isolated", lambda *arguments, **options: pytest.fail("measured again"))
    monkeypatch.setattr(
        pixel_run, "take_turns", lambda model, methods, *_, **options: dict.fromkeys(methods, Timing([1]))
    )
    assert bench(tmp_path)
    assert json.loads((tmp_path / "results.json").read_text())["probes"] == before["probes"]


def test_a_method_that_fails_is_named(tmp_path: Path) -> None:
    timing = {"seconds": [0.5, 0.25], "note": "", "error": None}
    methods = dict.fromkeys(pixels.PIXEL_METHODS, timing) | {"pgn": {"seconds": [], "note": "", "error": "no | luck"}}
    content = {
        "machine": {"processor": "P", "cores": 1, "memory": 1.0, "system": "S", "kernel": "K"},
        "versions": {"torch": "9"},
        "command": "gradmeter bench --pixels",
        "finished": "2024-02-29",
        "gradmeter": "1",
        "repeats": 2,
        "probes": {"forward": {"memory": 2**20, "disagreement": None}, "gradmeter": {"error": "stopped"}},
        "timings": {"methods": methods, "layers": {"classifier.4": timing}},
    }
    lines = [*pixel_run._lines(content)]
    assert "| forward pass | - | 0.375 | 1.00 | 1 MiB | 1.00 | - |" in lines
    assert "| **PixelMeter** | 8 statistics | 0.375 | 1.00 | - | - | - |" in lines
    assert "| loop over the pixels, extrapolated | the gradient | 4.5 | 12.00 | - | - | - |" in lines
    assert {"gradmeter fails: stopped", "pgn fails: no | luck"} <= {*lines}


@pytest.mark.parametrize("arguments", [("--models", "resnet18"), ("--quick",), ("--threads", "1"), ("--repeats", "0")])
def test_wrong_options(
    arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["gradmeter", "bench", "--pixels", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    assert arguments[0].removeprefix("--") in capsys.readouterr().err
    assert not [*tmp_path.iterdir()]


def test_the_number_of_rounds(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="repeats=0"):
        bench(tmp_path / "out", repeats=0)
