"""Which pixels of a scene would change the network most? A drawn street, and an object that was never learned.

    python examples/pixels.py --out docs/images

draws streets with cars, trees and houses, trains a small segmentation network on them in about a minute, and measures
scenes with a balloon, which the network has never seen. It writes the figure pixels.png, and prints how well the
gradient's norm and the softmax find wrong pixels (AUROC).
"""

import argparse
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from gradmeter import PixelMeter
from gradmeter.files import atomic_write
from gradmeter.report.figures import heatmap

CLASSES = ("sky", "road", "house", "tree", "car")
BALLOON = len(CLASSES)
WIDTH, HEIGHT = 128, 96
STEPS, BATCH = 250, 8


def scene(random: np.random.Generator, *, balloon: bool = False) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """A drawn street, [H, W, 3], and the class of every pixel, [H, W]."""
    image, mask = Image.new("RGB", (WIDTH, HEIGHT)), Image.new("L", (WIDTH, HEIGHT), 0)
    paint, classes = ImageDraw.Draw(image), ImageDraw.Draw(mask)

    def colour(red: int, green: int, blue: int) -> tuple[int, ...]:
        return tuple(int(value) for value in np.clip(np.array([red, green, blue]) + random.normal(0, 14, 3), 0, 255))

    def fill(shape: str, points: list[int], name: str, shade: tuple[int, ...]) -> None:
        getattr(paint, shape)(points, fill=shade)
        getattr(classes, shape)(points, fill=CLASSES.index(name) if name in CLASSES else BALLOON)

    horizon = int(random.integers(38, 56))
    fill("rectangle", [0, 0, WIDTH, HEIGHT], "sky", colour(150, 190, 230))
    fill("rectangle", [0, horizon, WIDTH, HEIGHT], "road", colour(120, 120, 125))
    for _ in range(random.integers(2, 5)):
        left, tall, wide = random.integers(-10, WIDTH), random.integers(12, 34), random.integers(14, 30)
        fill("rectangle", [left, horizon - tall, left + wide, horizon], "house", colour(170, 110, 90))
        paint.rectangle([left + 4, horizon - tall + 4, left + 8, horizon - tall + 8], fill=colour(220, 220, 170))
    for _ in range(random.integers(1, 4)):
        x, size = random.integers(0, WIDTH), random.integers(7, 14)
        fill("rectangle", [x - 1, horizon - 8, x + 1, horizon], "tree", colour(90, 70, 50))
        fill("ellipse", [x - size, horizon - 8 - 2 * size, x + size, horizon - 6], "tree", colour(60, 130, 60))
    for _ in range(random.integers(1, 4)):
        x, y, wide = random.integers(-8, WIDTH), random.integers(horizon + 4, HEIGHT - 12), random.integers(18, 34)
        shade = colour(*random.choice([(200, 40, 40), (40, 60, 160), (230, 230, 235), (40, 40, 45)]))
        fill("rectangle", [x, y, x + wide, y + wide // 3], "car", shade)
        fill("rectangle", [x + wide // 5, y - wide // 5, x + 4 * wide // 5, y], "car", shade)
        for wheel in (x + wide // 5, x + 4 * wide // 5):
            fill("ellipse", [wheel - 3, y + wide // 3 - 3, wheel + 3, y + wide // 3 + 3], "car", colour(25, 25, 25))
    if balloon:
        x, y, size = random.integers(20, WIDTH - 20), random.integers(14, 44), random.integers(9, 14)
        fill("ellipse", [x - size, y - size, x + size, y + size], "balloon", colour(235, 200, 40))
    noisy = np.asarray(image) + random.normal(0, 6, (HEIGHT, WIDTH, 3))
    return np.clip(noisy, 0, 255).astype(np.uint8), np.asarray(mask).astype(np.int64)


class Network(nn.Module):
    """A small network whose logits are upsampled bilinearly."""

    def __init__(self) -> None:
        super().__init__()

        def block(channels: int, features: int, stride: int) -> nn.Sequential:
            convolution = nn.Conv2d(channels, features, 3, stride, padding=1, bias=False)
            return nn.Sequential(convolution, nn.BatchNorm2d(features), nn.ReLU(inplace=True))

        self.body = nn.Sequential(block(3, 16, 2), block(16, 32, 1), block(32, 48, 2), block(48, 48, 1))
        self.head = nn.Conv2d(48, len(CLASSES), 1)

    def forward(self, images: Tensor) -> Tensor:
        """Logits [N, classes, H, W]."""
        return F.interpolate(self.head(self.body(images)), size=images.shape[2:], mode="bilinear")


def batch(random: np.random.Generator, count: int, *, balloon: bool = False) -> tuple[Tensor, Tensor]:
    """Images [N, 3, H, W] in [0, 1] and classes [N, H, W]."""
    images, masks = zip(*(scene(random, balloon=balloon) for _ in range(count)), strict=True)
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255, torch.from_numpy(np.stack(masks))


def trained(random: np.random.Generator) -> Network:
    """A network trained on scenes without balloons, in eval mode."""
    torch.manual_seed(0)
    network = Network()
    optimizer = torch.optim.AdamW(network.parameters(), 3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=STEPS)
    for _ in range(STEPS):
        images, masks = batch(random, BATCH)
        optimizer.zero_grad()
        F.cross_entropy(network(images), masks).backward()
        optimizer.step()
        schedule.step()
    return network.eval()


def main() -> None:
    """Train, measure, print and draw."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    network = trained(random)
    # The last layer, and the convolution before it.
    meter = PixelMeter(network, ["head", "body.3.0"])
    images, masks = batch(random, 40, balloon=True)
    readings = meter(images)
    wrong = (readings.predictions != masks).flatten().numpy()
    certainty = torch.softmax(readings.logits, dim=1).amax(1).double()
    print(f"{wrong.mean():.1%} of the pixels are wrong, those of the balloon included")
    scores = {"1 - maximum softmax probability": 1 - certainty}
    scores |= {f"l2 of the gradient of {layer}": readings[layer, "l2"] for layer in readings.layers}
    for name, score in scores.items():
        print(f"AUROC of wrong pixels by {name}: {100 * roc_auc_score(wrong, score.flatten().numpy()):.1f}")
    share = [float((mask == BALLOON).float().mean()) for mask in masks]
    shown = int(np.argmax(share))
    maps = {
        "l2 of the gradient, head": readings["head", "l2"][shown].numpy(),
        "1 - maximum softmax probability": (1 - certainty)[shown].numpy(),
    }
    figure = heatmap((255 * images[shown]).byte().permute(1, 2, 0).numpy(), maps)
    with atomic_write(out / "pixels.png") as path:
        figure.savefig(path, format="png", dpi=100, metadata={"Software": None})


if __name__ == "__main__":
    main()
