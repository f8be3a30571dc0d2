"""Make the screenshots in README.md and docs: of the demo's page with drawings, and of a report on embedded digits.

gradmeter demo --no-browser &
python docs/images/screenshots.py --demo http://127.0.0.1:8000

After the commands of docs/guide.md, with the digits that come with the package:

gradmeter evaluate trust --known digits/test --unknown noise:normal --out evaluation
python docs/images/screenshots.py --report evaluation/report.html
"""

import argparse
import io
import math
import shutil
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
# Longer than the page waits before it adds a finished drawing to the last inputs, in milliseconds.
SETTLED = 3000
# Steps of the slider below the guaranteed threshold, and pixels around the part of the report.
LOWER, MARGIN = 15, 16
FOLDER = Path(__file__).parent
SEVEN = [[(0.25, 0.22), (0.75, 0.22), (0.45, 0.8)]]
SMILEY = [
    [(0.5 + 0.35 * math.cos(t / 10 * math.pi), 0.5 + 0.35 * math.sin(t / 10 * math.pi)) for t in range(21)],
    [(0.4, 0.4), (0.4, 0.42)],
    [(0.6, 0.4), (0.6, 0.42)],
    [(0.35, 0.6), (0.5, 0.7), (0.65, 0.6)],
]


def draw(page: Page, strokes: list[list[tuple[float, float]]]) -> None:
    """Draw strokes, whose points are shares of the pad, with the mouse."""
    page.click("#clear")
    box = page.locator("#pad").bounding_box()
    assert box is not None
    for stroke in strokes:
        points = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in stroke]
        page.mouse.move(*points[0])
        page.mouse.down()
        for point in points[1:]:
            page.mouse.move(*point, steps=6)
        page.mouse.up()
    page.wait_for_timeout(SETTLED)


def write(content: bytes, name: str) -> None:
    """Write a screenshot with 128 colours, which takes a third of the bytes."""
    path = FOLDER / name
    Image.open(io.BytesIO(content)).convert("RGB").quantize(128).save(path, optimize=True)
    print(f"{path}: {path.stat().st_size:,} bytes")


def shoot_demo(browser: Browser, address: str) -> None:
    """Draw a seven and a smiley in a running demo; write demo.png, and demo-phone.png in dark colours."""
    for name, width, colours in (("demo", 1280, "light"), ("demo-phone", 390, "dark")):
        page = browser.new_context(viewport={"width": width, "height": 1000}, color_scheme=colours).new_page()  # type: ignore[arg-type]
        page.goto(address)
        page.wait_for_selector("#pad:visible")
        for drawing in (SEVEN, SMILEY):
            draw(page, drawing)
        page.mouse.move(0, 0)
        write(page.screenshot(), f"{name}.png")


def shoot_report(browser: Browser, path: Path) -> None:
    """Move the slider below the guaranteed threshold, and write report.png: the slider, the curve and the images."""
    page = browser.new_context(viewport={"width": 1000, "height": 1000}).new_page()
    page.goto(path.resolve().as_uri())
    page.locator("#threshold").focus()
    for _ in range(LOWER):
        page.keyboard.press("ArrowLeft")
    page.locator("#browse-order").select_option("least")
    page.locator("#browse-group").select_option(label="wrong")
    page.locator("#threshold").blur()
    page.evaluate("window.scrollTo(0, 0)")
    top = page.locator("section[aria-labelledby=explore]").bounding_box()
    last = page.locator("#browse-samples li").nth(3).bounding_box()
    assert top is not None
    assert last is not None
    height = last["y"] + last["height"] - top["y"]
    # The window would be too low for the part.
    clip = {"x": 0, "y": top["y"] - MARGIN, "width": 1000, "height": height + MARGIN}
    write(page.screenshot(full_page=True, clip=clip), "report.png")  # type: ignore[arg-type]


def main() -> None:
    """Read what to shoot; shoot it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--demo", metavar="ADDRESS", help="where the demo runs")
    parser.add_argument("--report", metavar="PATH", type=Path, help="a report of gradmeter evaluate")
    arguments = parser.parse_args()
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        if arguments.demo is not None:
            shoot_demo(browser, arguments.demo)
        if arguments.report is not None:
            shoot_report(browser, arguments.report)
        browser.close()


if __name__ == "__main__":
    main()
