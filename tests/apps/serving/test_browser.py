"""The demo in a real browser: draw digits and letters, drop files, and look at the page in several sizes."""

import json
import math
import shutil
import signal
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytest.importorskip("ray.serve", reason="the extra serve is not installed")
pytest.importorskip("mlxtend", reason="the extra demo is not installed")

from playwright import sync_api

from accessibility import grave_faults
from apps.cli.commands import ENVIRONMENT, brief_demo_main, gradmeter
from apps.serving.small import PORT
from forked import Forked

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [pytest.mark.slow, pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome on the path")]

ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
ADDRESS = f"http://127.0.0.1:{PORT + 40}"
# A valid name of a file.
NAME = "<img src=x onerror=document.title='ran'>.png"
REVERSING = "\u202egnp.exe"

# The page waits for 900 ms whether a drawing goes on; `draw` says when it is complete.
SETTLE_AT_ONCE = """(() => {
    const later = window.setTimeout
    window.setTimeout = (action, ms) => later(action, ms === 900 && window.complete ? 10 : ms)
})()"""

Stroke = list[tuple[float, float]]
SEVEN: list[Stroke] = [[(0.25, 0.22), (0.75, 0.22), (0.45, 0.8)]]
CIRCLE: Stroke = [(0.5 + 0.35 * math.cos(t / 6 * math.pi), 0.5 + 0.35 * math.sin(t / 6 * math.pi)) for t in range(13)]
SMILEY: list[Stroke] = [
    CIRCLE,
    [(0.4, 0.4), (0.4, 0.42)],
    [(0.6, 0.4), (0.6, 0.42)],
    [(0.35, 0.6), (0.5, 0.7), (0.65, 0.6)],
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder in which `gradmeter demo` runs, as after a new installation."""
    folder = tmp_path_factory.mktemp("demo")
    command = ("demo", "--no-browser", "--port", ADDRESS.rpartition(":")[2])
    with Forked(brief_demo_main, command, cwd=folder, env=ENVIRONMENT) as process:
        until = time.monotonic() + 400
        while not process.output():
            assert process.poll() is None, process.output(1)
            assert time.monotonic() < until, process.output(1)
            time.sleep(0.1)
        yield folder
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(120)
    assert process.returncode == 0, err
    assert (ADDRESS in out, out.count("\n")) == (True, 1)
    assert err.splitlines()[-1] == "Starting the server.", "Ray must print nothing"


@pytest.fixture(scope="module")
def browser(folder: Path) -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=BROWSER, args=ARGUMENTS)
        yield running
        running.close()


@pytest.fixture
def visit(browser: Any) -> Iterator[Callable[..., Any]]:
    """Return a function that opens the page in a new window; console messages and foreign requests are errors."""
    contexts = []
    problems: list[str] = []

    def open_page(width: int = 1280, colours: str = "light") -> Any:
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=colours)
        contexts.append(context)
        page = context.new_page()
        page.add_init_script(SETTLE_AT_ONCE)
        page.set_default_timeout(60_000)
        page.on("console", lambda message: problems.append(message.text))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("request", lambda request: request.url.startswith(ADDRESS) or problems.append(request.url))
        page.goto(ADDRESS)
        page.wait_for_selector("#pad:visible")
        return page

    yield open_page
    for context in contexts:
        context.close()
    # The browser itself reports every request that is refused or fails; the page says why.
    reported = ("status of 400", "net::ERR_FAILED")
    assert [problem for problem in problems if not any(part in problem for part in reported)] == []


def draw(page: Any, strokes: list[Stroke], steps: int = 1) -> None:
    """Draw with the mouse, in some steps per line, and wait until the verdict on the whole drawing is in the strip."""
    page.click("#clear")
    # The page adds a finished drawing as its first entry.
    page.evaluate("document.querySelectorAll('#strip li').forEach(item => item.dataset.old = '')")
    page.evaluate("window.complete = false")
    box = page.locator("#pad").bounding_box()

    def place(point: tuple[float, float]) -> tuple[float, float]:
        return box["x"] + point[0] * box["width"], box["y"] + point[1] * box["height"]

    for stroke in strokes:
        page.mouse.move(*place(stroke[0]))
        page.mouse.down()
        for point in stroke[1:]:
            page.mouse.move(*place(point), steps=steps)
        page.mouse.up()
    page.evaluate("window.complete = true")
    page.wait_for_selector("#strip li:not([data-old])")


def test_a_seven_is_accepted_and_a_smiley_is_not(visit: Callable[..., Any]) -> None:
    page = visit()
    draw(page, SEVEN)
    assert page.inner_text("#prediction") == "7"
    assert "Accepted" in page.inner_text("#decision")
    assert page.locator("#measures table").count() == 2
    rows = page.locator("#measures tbody tr").count()
    few = page.locator("#measures .objecting").count()
    draw(page, SMILEY)
    assert "Not accepted" in page.inner_text("#decision")
    assert page.inner_text("#reason")
    objecting = page.locator("#measures .objecting").count()
    assert few < objecting <= rows
    assert page.inner_text("#objections").count("(") == objecting
    page.wait_for_selector("#live:has-text('Not accepted')", state="attached")
    # The seven is still there to compare with.
    page.locator("#strip button").nth(1).click()
    assert page.inner_text("#prediction") == "7"


def test_an_entry_chosen_before_the_drawing_is_finished_stays_chosen(visit: Callable[..., Any]) -> None:
    page = visit()
    draw(page, SEVEN)
    page.click("#clear")
    page.evaluate("document.querySelector('#prediction').textContent = ''")
    box = page.locator("#pad").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.wait_for_function("() => document.querySelector('#prediction').textContent !== ''")
    # The browser may add a move, which is judged, too.
    page.wait_for_timeout(500)
    page.evaluate("document.querySelector('#strip button').click()")
    page.mouse.up()
    page.wait_for_selector("#strip li >> nth=1")
    assert page.inner_text("#prediction") == "7"
    assert page.locator("#strip [aria-current]").count() == 1
    assert page.locator("#strip button").nth(1).get_attribute("aria-current") == "true"


def test_one_request_is_under_way_at_a_time(visit: Callable[..., Any]) -> None:
    page = visit()
    under_way, most, total = 0, 0, 0

    def begin(request: Any) -> None:
        nonlocal under_way, most, total
        if request.url.endswith("/judge/details"):
            under_way, total = under_way + 1, total + 1
            most = max(most, under_way)

    def end(request: Any) -> None:
        nonlocal under_way
        under_way -= request.url.endswith("/judge/details")

    page.on("request", begin)
    page.on("requestfinished", end)
    draw(page, [CIRCLE, *SEVEN, CIRCLE], steps=3)
    assert total > 3
    assert most == 1


LEVELS = """(() => {
    const copy = document.createElement('canvas').getContext('2d', { willReadFrequently: true })
    copy.drawImage(document.querySelector('#seen'), 0, 0)
    return [...copy.getImageData(0, 0, 28, 28).data]
})()"""


def test_a_drawing_is_like_the_digits_that_the_network_learned(visit: Callable[..., Any]) -> None:
    """In a box of 20 pixels, its centre of mass in the middle, wherever and however large it was drawn."""
    page = visit()
    pictures = []
    for scale, left, top in ((1, 0, 0), (0.3, 0.65, 0.1)):
        draw(page, [[(left + scale * x, top + scale * y) for x, y in stroke] for stroke in SMILEY[:1]])
        pictures.append(page.evaluate(LEVELS)[::4])
    for levels in pictures:
        ink = [(index % 28, index // 28, level) for index, level in enumerate(levels) if level]
        total = sum(level for *_, level in ink)
        for axis in (0, 1):
            places = [point[axis] for point in ink]
            assert 19 <= max(places) - min(places) + 1 <= 21
            assert sum(point[axis] * point[2] for point in ink) / total == pytest.approx(14, abs=0.3)
    differences = [abs(one - other) for one, other in zip(*pictures, strict=True)]
    assert sum(differences) / len(differences) < 3


def test_the_keyboard_draws(visit: Callable[..., Any]) -> None:
    page = visit()
    page.focus("#pad")
    for key in (*["ArrowUp"] * 8, "Space", *["ArrowDown"] * 16, "Space"):
        page.keyboard.press(key)
    # The first answers are about the beginning of the stroke.
    page.wait_for_selector("#prediction:text-is('1'):visible")
    page.keyboard.press("Escape")
    page.wait_for_selector("#empty:visible")


def press(page: Any, *points: tuple[float, float]) -> None:
    """Press the mouse at the first point of the pad, and move it to the others."""
    box = page.locator("#pad").bounding_box()
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place, steps=4)


def test_a_tap_leaves_a_dot(visit: Callable[..., Any]) -> None:
    page = visit()
    press(page, (0.5, 0.5))
    page.mouse.up()
    page.wait_for_selector("#answer:visible")
    assert max(page.evaluate(LEVELS)[::4]) > 100


def test_a_stroke_may_be_removed_while_it_is_drawn(visit: Callable[..., Any]) -> None:
    page = visit()
    page.focus("#pad")
    for key in ("Escape", "Backspace"):
        press(page, (0.3, 0.3), (0.5, 0.5))
        page.keyboard.press(key)
        press(page, (0.6, 0.6), (0.7, 0.7))  # an error in the page fails this test
        page.mouse.up()
        page.keyboard.press("Escape")
        assert page.is_visible("#pad-hint")


def hold_requests(page: Any) -> None:
    """Hold back every request of the page until `send_held`."""
    page.evaluate(
        """() => {
            const send = window.fetch
            window.held = []
            window.fetch = (...given) => new Promise(go => window.held.push(() => go(send(...given))))
        }"""
    )


def wait_for_held(page: Any) -> None:
    """Wait until the page has made a request that is held back."""
    until = time.monotonic() + 30
    while not page.evaluate("window.held.length"):  # the page forbids what `wait_for_function` does
        assert time.monotonic() < until
        page.wait_for_timeout(20)


def send_held(page: Any) -> None:
    """Send the requests that are held back, and wait for an answer."""
    with page.expect_response("**/judge/details"):
        page.evaluate("window.held.splice(0).forEach(go => go())")


def test_changes_while_a_request_is_under_way_make_one_request(visit: Callable[..., Any]) -> None:
    page = visit()
    hold_requests(page)
    for x in (0.3, 0.4, 0.5, 0.6):
        press(page, (x, 0.3), (x, 0.7))
        page.mouse.up()
        wait_for_held(page)
        page.wait_for_timeout(100)  # longer than the page collects changes
    for _ in range(2):  # the first stroke, and then all of them
        wait_for_held(page)
        send_held(page)
    page.wait_for_selector("#strip li")
    assert page.evaluate("window.held.length") == 0


def test_a_drawing_that_was_removed_meanwhile_has_no_verdict(visit: Callable[..., Any]) -> None:
    page = visit()
    hold_requests(page)
    press(page, (0.3, 0.3), (0.5, 0.8))
    page.mouse.up()
    wait_for_held(page)
    page.click("#undo")
    send_held(page)
    page.wait_for_timeout(300)
    assert page.is_visible("#empty")
    assert not page.is_visible("#answer")


def test_without_a_server_no_verdict_on_an_earlier_drawing_is_left(visit: Callable[..., Any]) -> None:
    page = visit()
    draw(page, SEVEN)
    page.route("**/judge/details", lambda route: route.abort())
    place = page.locator("#pad").bounding_box()
    press(page, (0.2, 0.2))  # a dot is one change of the drawing, and one request
    page.mouse.up()
    page.wait_for_selector("#problem:visible")
    assert not page.is_visible("#answer")
    assert page.inner_text("#empty") == "There is no verdict yet."
    # Else the stroke that is being drawn would be bent.
    assert page.locator("#pad").bounding_box() == place
    # Of many files, only the first fails: the others are not sent.
    page.set_input_files("#files", [{"name": f"{n}.png", "mimeType": "image/png", "buffer": b"x"} for n in range(5)])
    page.wait_for_selector("#problem >> text=0.png")
    page.wait_for_timeout(300)
    assert page.locator("#problem p").count() == 1


def test_a_server_with_another_network_needs_a_new_page(visit: Callable[..., Any]) -> None:
    """The page shows the threshold of the network that it was opened with."""
    page = visit()

    def another(route: Any) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, json={**answer.json(), "server": "another"})

    page.route("**/judge/details", another)
    page.click("#examples button >> text=noise")
    page.wait_for_selector("#problem:visible")
    assert "Reload" in page.inner_text("#problem")
    assert not page.is_visible("#answer")


def test_a_file_that_was_deleted_meanwhile(visit: Callable[..., Any], tmp_path: Path) -> None:
    page = visit()
    files = [tmp_path / "first.png", tmp_path / "second.png"]
    for file in files:
        file.write_bytes(b"no image")

    def delete(route: Any) -> None:
        files[1].unlink(missing_ok=True)
        route.continue_()

    page.route("**/judge/details", delete)
    page.set_input_files("#files", files)
    page.wait_for_selector("#problem >> text=second.png")
    assert "deleted" in page.inner_text("#problem")


def test_files_are_judged_and_their_names_do_not_run(visit: Callable[..., Any], folder: Path) -> None:
    page = visit()
    seven = (folder / "runs/demo/examples/7/0.png").read_bytes()
    files = [("seven.png", seven), (NAME, seven), (REVERSING, b"no image"), ("torn.png", b"no image")]
    page.set_input_files("#files", [{"name": n, "mimeType": "image/png", "buffer": content} for n, content in files])
    page.wait_for_selector("#problem >> text=torn.png")
    # Each name is isolated, so that the text after it keeps its direction.
    assert page.locator("#problem p bdi").all_inner_texts() == [REVERSING, "torn.png"]
    assert page.locator("#strip li").count() == 2
    assert page.locator("#strip button").first.get_attribute("title") == NAME
    assert page.title() != "ran"


def test_several_files_are_dropped_on_the_page(visit: Callable[..., Any], folder: Path) -> None:
    page = visit()
    digits = [[*(folder / f"runs/demo/examples/{digit}/0.png").read_bytes()] for digit in (3, 7)]
    page.evaluate(
        """digits => {
            const dropped = new DataTransfer()
            digits.forEach(bytes => dropped.items.add(new File([new Uint8Array(bytes)], 'digit.png')))
            document.querySelector('h1').dispatchEvent(new DragEvent('drop', { dataTransfer: dropped, bubbles: true }))
        }""",
        digits,
    )
    page.wait_for_selector("#strip li >> nth=1")
    assert page.inner_text("#prediction") == "7"
    page.locator("#strip button").nth(1).click()
    assert page.inner_text("#prediction") == "3"


def test_a_finger_draws(visit: Callable[..., Any]) -> None:
    page = visit(390)
    page.evaluate("scrollTo(0, 0)")
    box = page.locator("#pad").bounding_box()
    touch = page.context.new_cdp_session(page).send
    points = [{"x": box["x"] + box["width"] / 2, "y": box["y"] + share * box["height"]} for share in (0.2, 0.5, 0.8)]
    touch("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": points[:1]})
    for point in points[1:]:
        touch("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [point]})
    touch("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    page.wait_for_selector("#strip li")
    assert page.inner_text("#prediction") == "1"
    assert page.evaluate("scrollY") == 0


def test_an_answer_takes_less_than_a_tenth_of_a_second(visit: Callable[..., Any]) -> None:
    """The fastest one, because other tests may run at the same time; `pytest -n0 -s` prints the median."""
    page = visit()
    for _ in range(3):
        draw(page, [CIRCLE, *SEVEN])
    times = page.evaluate(
        "performance.getEntriesByType('resource').filter(e => e.name.endsWith('/judge/details')).map(e => e.duration)"
    )
    print(f"\n{len(times)} answers: median {statistics.median(times):.0f} ms, fastest {min(times):.0f} ms")
    assert min(times) < 100


def test_too_large_a_file_is_not_sent(visit: Callable[..., Any]) -> None:
    page = visit()
    page.evaluate(
        """() => {
            const chosen = new DataTransfer()
            chosen.items.add(new File([new Uint8Array(17 * 2 ** 20)], 'big.png'))
            const input = document.querySelector('#files')
            input.files = chosen.files
            input.dispatchEvent(new Event('change'))
        }"""
    )
    page.wait_for_selector("#problem:visible")
    assert "16,777,216" in page.inner_text("#problem")


def test_examples_are_judged(visit: Callable[..., Any]) -> None:
    page = visit()
    page.click("#examples button >> text=noise")
    page.wait_for_selector("#answer:visible")
    assert "Not accepted" in page.inner_text("#decision")


def test_the_bars_of_classes_with_short_and_long_names_are_aligned(visit: Callable[..., Any]) -> None:
    page = visit()
    page.click("#examples button >> nth=0")
    page.wait_for_selector("#answer:visible")
    page.evaluate("document.querySelector('#classes .name').textContent = 'aeroplane'")
    starts = page.locator("#classes .gauge").evaluate_all("bars => bars.map(bar => bar.getBoundingClientRect().left)")
    assert len(starts) == 10
    assert len({*starts}) == 1


@pytest.mark.parametrize(("width", "colours"), [(390, "dark"), (1280, "light")])
def test_it_fits_follows_the_colours_and_has_no_grave_fault_of_accessibility(
    width: int, colours: str, visit: Callable[..., Any], axe: str
) -> None:
    page = visit(width, colours)
    assert grave_faults(page, axe) == []
    for strokes in (SEVEN, SMILEY):
        draw(page, strokes)
        assert grave_faults(page, axe) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    shades = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
    assert (sum(shades[:3]) < 200) == (colours == "dark")
    if width < 500:  # the verdict comes right below the pad
        top = [page.locator(name).bounding_box()["y"] for name in ("#input", "#verdict", "#layers", "#more", "#recent")]
        assert top == sorted(top)


def test_a_verdict_is_printed_in_light_colours_without_controls(visit: Callable[..., Any]) -> None:
    page = visit(colours="dark")
    draw(page, SMILEY)
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.evaluate("getComputedStyle(document.querySelector('#measures')).printColorAdjust") == "exact"
    for control in ("#clear", "#undo", "#files", "#examples", "#program"):
        assert not page.locator(control).is_visible()
    for shown in ("#pad", "#seen", "#prediction", "#measures", "#strip"):
        assert page.locator(shown).is_visible()


@pytest.mark.exhaustive
def test_another_command_serves_the_same_trust_model(folder: Path) -> None:
    """The demo's folder is an ordinary TrustModel."""
    arguments = ["--model", "gradmeter.research.study.network:PaperCNN", "--out", "verdicts.csv", "--json"]
    process = gradmeter("judge", "runs/demo/trust", "runs/demo/examples/7/0.png", *arguments, cwd=folder)
    assert process.returncode == 0, process.stderr
    assert json.loads(process.stdout)
    assert '"7"' in (folder / "verdicts.csv").read_text()
