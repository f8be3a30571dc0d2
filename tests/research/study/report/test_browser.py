"""The reports in a real browser, offline."""

import base64
import shutil
from contextlib import contextmanager
from pathlib import Path

import pytest

from accessibility import grave_faults
from apps.workflows.digits import make, recipe
from gradmeter.apps.workflows.evaluate import evaluate
from gradmeter.apps.workflows.evaluation_report import write_evaluation
from gradmeter.apps.workflows.fit import fit
from gradmeter.research.study.report import write_report
from trust.quick import fit_quickly

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [pytest.mark.slow, pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome on the path")]

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
NAME = "<script>document.title='ran'</script>"
# A valid name of a folder of images.
FOLDER = "<img src=x onerror=document.title='ran'>"


@pytest.fixture(scope="module", params=["study", "evaluation"])
def report(request):
    """The kind of report."""
    return request.param


@pytest.fixture(scope="module")
def address(report, tmp_path_factory, make_study):
    folder = tmp_path_factory.mktemp(report)
    if report == "study":
        return write_report(make_study(folder / "demo", name=NAME, figures=True, explored=True)).as_uri()
    return evaluated(folder).as_uri()


def evaluated(folder: Path) -> Path:
    make(folder)
    (folder / "torn").rename(folder / FOLDER)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        fit_quickly(patch)
        trust = fit(recipe(folder), "validation", [], Path("trust"), repetitions=100).trust
        evaluation = evaluate(trust, recipe(folder).open(), "test", [FOLDER], Path("out"), repetitions=100)
        return write_evaluation(evaluation, folder / "out", command="gradmeter evaluate")


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=BROWSER, args=ARGUMENTS)
        yield running
        running.close()


@contextmanager
def opened(browser):
    """Yield a function that opens a page in a new window and records console messages and requests."""
    contexts = []

    def open_page(address, width=1280, colours="light"):
        contexts.append(
            browser.new_context(viewport={"width": width, "height": 900}, color_scheme=colours, offline=True)
        )
        page = contexts[-1].new_page()
        page.set_default_timeout(120_000)  # two browsers on two busy cores have needed more than half a minute
        page.messages, page.requests = [], []
        page.on("console", lambda message: page.messages.append(message.text))
        page.on("pageerror", lambda error: page.messages.append(str(error)))
        page.on("request", lambda request: page.requests.append(request.url))
        page.goto(address)
        page.wait_for_load_state("load")
        return page

    yield open_page
    for context in contexts:
        context.close()


@pytest.fixture
def visit(browser, address):
    """Return a function that opens the report, or another page, in a new window."""
    with opened(browser) as open_page:
        yield lambda width=1280, colours="light", address=address: open_page(address, width, colours)


@pytest.fixture(scope="module")
def page(browser, address):
    """The report in a wide window, for tests that only look at it."""
    with opened(browser) as open_page:
        yield open_page(address)


def test_it_opens_offline_without_console_messages_or_external_requests(page, address):
    assert page.messages == []
    assert address in page.requests
    assert [url for url in page.requests if url != address and not url.startswith("data:")] == []


WIDE = "[...document.querySelectorAll('.scroll')].some(box => box.scrollWidth > box.clientWidth)"


@pytest.mark.parametrize("width", [375, 1280])
def test_the_page_itself_never_scrolls_sideways(visit, width):
    page = visit(width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    if width < 1000:
        assert page.evaluate(WIDE), "a table wider than the page should scroll in its own box"


def test_a_table_wider_than_the_page_shows_that_it_scrolls(visit):
    page = visit(390)
    boxes = page.evaluate(
        """[...document.querySelectorAll('.scroll')].filter(box => box.scrollWidth > box.clientWidth).map(box => {
            const [head, cell] = box.querySelectorAll('tbody tr:not(.block) > *')
            box.scrollLeft = 60
            return [getComputedStyle(box).backgroundImage, getComputedStyle(box).backgroundAttachment,
                    head.getBoundingClientRect().left - box.getBoundingClientRect().left, head.offsetWidth]
        })"""
    )
    assert boxes
    for image, attachment, left, width in boxes:
        assert image.count("linear-gradient") == 2, "a shadow, and the cover that hides it at the end"
        assert attachment.split(", ")[:2] == ["local", "scroll"]
        assert left < 2, "row names stay visible"
        assert 80 < width < 160


# Minimum text height in figures, in displayed pixels, by window width.
LEGIBLE = {390: 9, 768: 7.5, 1280: 8.5}


@pytest.mark.parametrize("width", [390, pytest.param(768, marks=pytest.mark.exhaustive), 1280])
def test_figures_are_whole_and_legible(visit, width):
    """Neither the card nor the edge of a figure cuts anything off, and text is large enough to read."""
    page = visit(width)
    cards = page.evaluate(
        """[...document.querySelectorAll('.card')].map(card => {
            const image = card.querySelector('img')
            return [card.getAttribute('aria-label'), card.scrollWidth - card.clientWidth, image.currentSrc,
                    image.getBoundingClientRect().width]
        })"""
    )
    assert cards
    drawing = visit(1280, address="about:blank")
    for name, cut, source, shown in cards:
        assert cut <= 0, f"{name} is wider than its card"
        svg = base64.b64decode(source.partition(",")[2]).decode()
        drawing.set_content(f"<body style='margin:0'><div style='width:{shown}px'>{svg}</div></body>")
        drawing.add_style_tag(content="svg { width: 100%; height: auto; display: block }")
        texts = drawing.evaluate(
            """(() => {
                const svg = document.querySelector('svg'), box = svg.getBoundingClientRect()
                const scale = box.width / svg.viewBox.baseVal.width
                return [...svg.querySelectorAll('text')].filter(text => text.textContent.trim()).map(text => {
                    const own = text.getBoundingClientRect()
                    const beyond = Math.max(box.left - own.left, own.right - box.right, box.top - own.top,
                                            own.bottom - box.bottom)
                    return [text.textContent, parseFloat(getComputedStyle(text).fontSize) * scale, beyond]
                })
            })()"""
        )
        assert texts, name
        for text, size, beyond in texts:
            assert size >= LEGIBLE[width], f"{name}: {text!r} is {size:.1f} pixels high"
            assert beyond < 1, f"{name}: {text!r} is cut off"
        legends = drawing.locator("g[id^=legend] text").count()
        assert legends or "curves" not in name


def test_narrow_figures_are_not_printed(visit):
    page = visit(390)
    first = "document.querySelector('.card img').currentSrc"
    narrow = page.evaluate(first)
    page.emulate_media(media="print")
    page.wait_for_function(f"narrow => {first} !== narrow", arg=narrow)


def test_all_columns_of_an_evaluation_are_seen_on_a_laptop(visit, report):
    if report == "evaluation":
        assert not visit(1200).evaluate(WIDE)


def test_all_drawings_are_loaded_and_described(page, report):
    drawings = page.evaluate("[...document.images].map(i => [i.complete && i.naturalWidth > 0, i.alt])")
    # Figures, ten images from either end of each of two sets, and those that the browser of samples shows first.
    assert len(drawings) == {"study": 6 + 24, "evaluation": 7 + 2 * 20 + 24}[report]
    assert all(loaded and alt for loaded, alt in drawings)


def test_dark_and_light_differ_and_print_is_light(visit):
    sum_of = "getComputedStyle(document.body).{}.match(/\\d+/g).slice(0, 3).reduce((a, b) => a + +b, 0)"
    shade, ink = sum_of.format("backgroundColor"), sum_of.format("color")
    page = visit(colours="dark")
    assert page.evaluate(shade) < 200
    page.emulate_media(media="print")
    assert page.evaluate(shade) == 3 * 255
    assert page.evaluate(ink) < 200
    assert visit(colours="light").evaluate(shade) > 600


@pytest.mark.parametrize(("width", "colours"), [(375, "dark"), (1280, "light")])
def test_no_grave_fault_of_accessibility(visit, axe, width, colours):
    assert grave_faults(visit(width, colours), axe) == []


def test_headings_and_contents_lead_through_the_page(page, report):
    assert page.locator("h1").count() == 1
    headings = page.locator("main h2").all_inner_texts()
    assert len(headings) == page.locator("nav a").count()
    own = {"study": "Paired differences to the softmax baseline", "evaluation": "Importance of layers"}
    assert {"The answer", own[report], "How it was made"} <= set(headings)


def test_a_hostile_name_is_shown_and_does_not_run(page, report):
    assert page.title() != "ran"
    assert (NAME if report == "study" else FOLDER) in page.locator("body").inner_text()
