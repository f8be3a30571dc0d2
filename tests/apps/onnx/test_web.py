"""onnxruntime-web, under Node and in a browser, gives the verdicts of onnxruntime; needs npm and its registry."""

import functools
import http.server
import importlib.util
import json
import math
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest

from apps.onnx.exported import exported, images, needs_exporter, opened
from docs.code import blocks

pytestmark = [
    pytest.mark.slow,
    needs_exporter,
    pytest.mark.skipif(not shutil.which("npm") or not shutil.which("node"), reason="npm or node is not installed"),
]

BUILD = Path(__file__).parents[3] / "docs/demo/build.py"
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PROGRAM = """
import { readFile } from 'node:fs/promises'
import * as ort from './ort.wasm.min.mjs'
ort.env.wasm.numThreads = 1
ort.env.wasm.wasmBinary = await readFile(new URL('ort-wasm-simd-threaded.wasm', import.meta.url))
const session = await ort.InferenceSession.create(await readFile('judged.onnx'))
const { shape, values } = JSON.parse(await readFile('inputs.json'))
const verdicts = await session.run({ inputs: new ort.Tensor('float32', Float32Array.from(values), shape) })
const lists = Object.entries(verdicts).map(([name, tensor]) => [name, Array.from(tensor.data, Number)])
console.log(JSON.stringify(Object.fromEntries(lists)))
"""


def builder() -> ModuleType:
    """The script that builds the page of the documentation."""
    specification = importlib.util.spec_from_file_location("build_page", BUILD)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of the documentation, with the small network instead of the paper's."""
    pytest.importorskip("mlxtend", reason="the extra demo is not installed")
    folder = tmp_path_factory.mktemp("page")
    build = builder()
    try:
        build.add_runtime(folder, tmp_path_factory.mktemp("npm"))
    except subprocess.CalledProcessError as error:
        pytest.skip(f"npm pack failed with exit code {error.returncode}: its registry cannot be reached")
    build.add_page(folder)
    shutil.copyfile(exported(), folder / "judged.onnx")
    properties = {entry.key: entry.value for entry in onnx.load(exported()).metadata_props}
    (folder / "judged.json").write_text(json.dumps(properties))
    return folder


@pytest.mark.exhaustive
def test_under_node(page: Path) -> None:
    inputs = images()[::8].numpy()
    (page / "inputs.json").write_text(json.dumps({"shape": inputs.shape, "values": inputs.ravel().tolist()}))
    (page / "run.mjs").write_text(PROGRAM)
    done = subprocess.run(["node", "run.mjs"], capture_output=True, text=True, cwd=page, check=True, timeout=120)
    given = json.loads(done.stdout)
    for name, expected in opened()(inputs).items():
        np.testing.assert_allclose(given[name], expected.ravel(), atol=1e-5, err_msg=name)


def test_the_javascript_of_the_documentation(page: Path) -> None:
    (program,) = [content for language, content in blocks("docs/onnx.md") if language == "js"]
    assert len(program.strip().splitlines()) <= 10
    for written, replaced in (
        ("'onnxruntime-web'", "'./ort.wasm.min.mjs'\nimport { readFileSync } from 'node:fs'"),
        ("create('judged.onnx')", "create(readFileSync('judged.onnx'))"),
        ("numThreads = 1", "numThreads = 1\nort.env.wasm.wasmBinary = readFileSync('ort-wasm-simd-threaded.wasm')"),
        ("28 * 28", "64"),
        ("28, 28", "8, 8"),
    ):
        assert written in program
        program = program.replace(written, replaced)
    (page / "documented.mjs").write_text(program)
    done = subprocess.run(["node", "documented.mjs"], capture_output=True, text=True, cwd=page, check=True, timeout=120)
    expected = opened()(np.zeros((1, 1, 8, 8)))
    prediction, confidence, decision = done.stdout.split()
    assert int(prediction) == expected["prediction"][0]
    assert float(confidence.partition("=")[2]) == pytest.approx(float(expected["p_correct"][0]), abs=1e-5)
    assert decision == ("accept" if expected["accepted"][0] else "abstain")


@pytest.fixture
def address(page: Path) -> Iterator[str]:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments: Any) -> None:
            """Log nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=page)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome on the path")
def test_in_a_browser(address: str) -> None:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    circle = [(0.5 + 0.3 * math.cos(t * math.pi / 10), 0.5 + 0.3 * math.sin(t * math.pi / 10)) for t in range(21)]
    problems: list[str] = []
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 390, "height": 900})
        page.set_default_timeout(90_000)
        page.on("console", lambda message: problems.append(message.text))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("request", lambda request: request.url.startswith(address) or problems.append(request.url))
        page.goto(address)
        page.wait_for_selector("#pad:visible")
        box = page.locator("#pad").bounding_box()
        for number, (x, y) in enumerate(circle):
            page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])
            if not number:
                page.mouse.down()
        page.mouse.up()
        page.wait_for_selector("#answer:visible")
        page.wait_for_selector("#live:not(:empty)", state="attached")
        # The verdict on screen is that of onnxruntime on the levels that the page shows.
        levels = page.evaluate(
            "() => { const { data } = document.getElementById('seen').getContext('2d').getImageData(0, 0, 8, 8);"
            " return Array.from({ length: 64 }, (_, index) => data[4 * index]) }"
        )
        expected = opened()(np.array(levels, np.float32).reshape(1, 1, 8, 8) / 255)
        assert page.text_content("#prediction") == str(expected["prediction"][0])
        assert page.text_content("#sure .number") == f"{100 * expected['p_correct'][0]:.1f} %"
        assert page.text_content("#decision").endswith("ccepted")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        page.click("#clear")
        page.wait_for_selector("#empty:visible")
        browser.close()
    assert problems == []
