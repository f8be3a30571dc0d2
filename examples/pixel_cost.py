"""What the readings of all pixels cost, beside one forward pass: deeplabv3_mobilenet_v3_large of torchvision.

    OMP_NUM_THREADS=1 python examples/pixel_cost.py

times, in turns, a forward pass as a user calls it, the same in the memory format "channels last", and PixelMeter, on 4
images of 240 x 320; then one pixel's backward pass through the last layer alone, for the loop that does without
gradmeter. It prints the best seconds of processor time, and the peak memory of processes that do only one of these.
"""

import argparse
import resource
import subprocess
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torchvision.models.segmentation import deeplabv3_mobilenet_v3_large

from gradmeter import PixelMeter

SHAPE = (4, 3, 240, 320)
ROUNDS = 12
LAYER = "classifier.4"
WAYS = ("forward pass", "forward pass, channels last", "PixelMeter")


def ways(network: nn.Module, images: Tensor) -> dict[str, Callable[[], object]]:
    """The functions to compare, by name."""
    meter = PixelMeter(network)
    channels_last = images.contiguous(memory_format=torch.channels_last)

    def forward(batch: Tensor) -> Callable[[], object]:
        def run() -> object:
            with torch.no_grad():
                return network(batch)["out"]

        return run

    return dict(zip(WAYS, (forward(images), forward(channels_last), lambda: meter(images)), strict=True))


def best(functions: dict[str, Callable[[], object]]) -> dict[str, float]:
    """The least seconds of each function, called in turns."""
    seconds = dict.fromkeys(functions, float("inf"))
    for number in range(ROUNDS + 1):
        for name, function in functions.items():
            started = time.process_time()
            function()
            # The first round is a warm-up.
            seconds[name] = min(seconds[name], time.process_time() - started) if number else seconds[name]
    return seconds


def loop_seconds(network: nn.Module, images: Tensor, pixels: int = 20) -> float:
    """Seconds of the loop over all pixels, extrapolated from a few backward passes through the last layer."""
    weight = dict(network.named_modules())[LAYER].weight
    logits = network(images)["out"]
    losses = logits.logsumexp(1) - logits.amax(1)
    started = time.process_time()
    for column in range(pixels):
        torch.autograd.grad(losses[0, 0, column], weight, retain_graph=True)
    return (time.process_time() - started) / pixels * losses.numel()


def main() -> None:
    """Time all ways, or run one of them for its memory."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", choices=WAYS, help="run only this and print the peak memory in MB")
    only = parser.parse_args().only
    torch.manual_seed(0)
    network = deeplabv3_mobilenet_v3_large(weights=None, weights_backbone=None).eval()
    images = torch.rand(SHAPE)
    functions = ways(network, images)
    if only:
        functions[only]()
        functions[only]()
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
        return
    seconds = best(functions)
    print("| | seconds | of the forward pass | peak memory, MB |\n|:--|--:|--:|--:|")
    for name in WAYS:
        memory = subprocess.run([sys.executable, __file__, "--only", name], capture_output=True, text=True, check=True)
        ratio = seconds[name] / seconds[WAYS[0]]
        print(f"| {name} | {seconds[name]:.3f} | {ratio:.2f} | {memory.stdout.strip()} |")
    print(f"| loop over the pixels | {loop_seconds(network, images):,.0f} | | |")


if __name__ == "__main__":
    main()
