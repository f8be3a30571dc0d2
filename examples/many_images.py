"""Many small images in Parquet files, and a small network for them: to see what a million cost.

    python examples/many_images.py --images 1000000 --out many

writes many/images, a folder of Parquet files with 50,000 encoded images of noise each, 28 x 28 in grey, of which every
thousandth is damaged, and many/network.py with a network: `gradmeter measure network:make images` in that folder.
"""

import argparse
import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from rich.progress import track

FILE, GROUP, SIDE, DAMAGED = 50_000, 1_000, 28, 1_000
NETWORK = '''"""A small convolutional network with random weights."""

import torch
from torch import nn


def make():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, stride=2), nn.ReLU(), nn.Conv2d(8, 16, 3, stride=2), nn.ReLU(), nn.Flatten(),
        nn.Linear(16 * 6 * 6, 10),
    )
'''


def encoded(number: int, random: np.random.Generator) -> bytes:
    """A PNG file, or what is none."""
    if number % DAMAGED == DAMAGED - 1:
        return b"no image"
    stream = io.BytesIO()
    Image.fromarray(random.integers(0, 256, (SIDE, SIDE), np.uint8)).save(stream, "PNG", compress_level=1)
    return stream.getvalue()


def main() -> None:
    """Read the arguments and write the files."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--out", type=Path, default=Path("many"))
    arguments = parser.parse_args()
    if arguments.images < 1:
        parser.error(f"--images {arguments.images}; expected at least 1")
    if arguments.out.exists():
        parser.error(f"{arguments.out} is there; choose another name for --out")
    (arguments.out / "images").mkdir(parents=True)
    (arguments.out / "network.py").write_text(NETWORK)
    random = np.random.default_rng(0)
    for first in track(range(0, arguments.images, FILE), "images"):
        numbers = range(first, min(first + FILE, arguments.images))
        table = pa.table({"image": [encoded(number, random) for number in numbers]})
        pq.write_table(table, arguments.out / f"images/{first // FILE:05}.parquet", row_group_size=GROUP)


if __name__ == "__main__":
    main()
