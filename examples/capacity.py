"""How many cores many images need: a model of the cost, and what it is on this machine.

    python examples/many_images.py --images 50000 --out few
    python examples/many_images.py --images 200000 --out more
    OMP_NUM_THREADS=1 python examples/capacity.py few more

measures both folders by each engine, and prints two tables of Markdown: seconds for a start and for each image, of
which the seconds for any number of images follow; and, by the times of docs/performance.md, how many cores a billion
images need in a day.
"""

import argparse
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq

PERFORMANCE = Path(__file__).parents[1] / "docs/performance.md"
IMAGES, DAY = 10**9, 24 * 60 * 60
OPTIONS = ("--image-size", "28", "--grey", "--mean", "0", "--std", "1", "--device", "cpu", "--no-labels")
ENGINES = {
    "this process": (),
    "Ray, 1 actor": ("--engine", "ray", "--workers", "1"),
    "Ray, 2 actors": ("--engine", "ray", "--workers", "2"),
}


def seconds(folder: Path, engine: tuple[str, ...]) -> float:
    """For the whole command."""
    with tempfile.TemporaryDirectory() as out:
        measure = [sys.executable, "-m", "gradmeter", "measure", "network:make", "images"]
        command = [*measure, *OPTIONS, *engine, "--out", f"{out}/readings"]
        started = time.perf_counter()
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
        return time.perf_counter() - started


def count(folder: Path) -> int:
    """Rows of its Parquet files."""
    return sum(pq.read_metadata(path).num_rows for path in (folder / "images").glob("*.parquet"))


def rates() -> Iterator[tuple[str, float]]:
    """Network, and images per second that one thread measures, from the page on performance."""
    for section in re.split(r"^## ", PERFORMANCE.read_text(), flags=re.MULTILINE)[1:]:
        title, _, text = section.partition("\n")
        batch = re.search(r"\*\*1 thread, batch of ([\d,]+)\*\*", text)
        row = re.search(r"^\| \*\*gradmeter\*\* \|[^|]*\| ([\d.]+) \|", text, re.MULTILINE)
        if batch and row:
            yield title, int(batch[1].replace(",", "")) / float(row[1])


def main() -> None:
    """Read the arguments, measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("few", type=Path)
    parser.add_argument("more", type=Path)
    arguments = parser.parse_args()
    few, more = count(arguments.few), count(arguments.more)
    if not 0 < few < more:
        parser.error(f"{arguments.few} holds {few:,} images and {arguments.more} {more:,}; expected more in the second")
    print("| engine | start | images per second | first folder | second folder |\n|:--|--:|--:|--:|--:|")
    for name, engine in ENGINES.items():
        short, long = seconds(arguments.few, engine), seconds(arguments.more, engine)
        rate = (more - few) / (long - short)
        print(f"| {name} | {short - few / rate:.0f} s | {rate:,.0f} | {short:.0f} s | {long:.0f} s |", flush=True)
    print("\n| network | images per second and core | cores |\n|:--|--:|--:|")
    for name, rate in rates():
        print(f"| {name} | {rate:,.0f} | {IMAGES / DAY / rate:,.0f} |")


if __name__ == "__main__":
    main()
