"""Draw a seven and a smiley in a running `gradmeter demo`, and write docs/images/demo.png and demo-phone.png.

gradmeter demo --no-browser &
python docs/images/demo.py http://127.0.0.1:8000
"""

import argparse
import io
import math
import shutil
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
# Longer than the page waits before it adds a finished drawing to the last inputs, in milliseconds.
SETTLED = 3000
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


def write(page: Page, path: Path, height: int | None = None) -> None:
    """Write a screenshot with 128 colours, which takes a third of the bytes; `height`: only the top of the page."""
    size = page.viewport_size
    assert size is not None
    clip = None if height is None else {"x": 0, "y": 0, "width": size["width"], "height": height}
    content = page.screenshot(full_page=height is None, clip=clip)  # type: ignore[arg-type]
    Image.open(io.BytesIO(content)).convert("RGB").quantize(128).save(path, optimize=True)
    print(f"{path}: {path.stat().st_size:,} bytes")


def main() -> None:
    """Read the address; draw and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("address", help="where the demo runs")
    address = parser.parse_args().address
    folder = Path(__file__).parent
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=browser, args=ARGUMENTS)
        for name, width, colours, height in (("demo", 1280, "light", 1000), ("demo-phone", 390, "dark", 1000)):
            page = running.new_context(viewport={"width": width, "height": 1000}, color_scheme=colours).new_page()  # type: ignore[arg-type]
            page.goto(address)
            page.wait_for_selector("#pad:visible")
            for drawing in (SEVEN, SMILEY):
                draw(page, drawing)
            page.mouse.move(0, 0)
            write(page, folder / f"{name}.png", height)
        running.close()


if __name__ == "__main__":
    main()
