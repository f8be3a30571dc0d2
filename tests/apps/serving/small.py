"""A server with a small network on this machine, and its clients."""

import io
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pyarrow as pa
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from gradmeter import GradientMeter
from gradmeter.apps.cli.command import end_without_ray
from gradmeter.reading.readings import Readings
from gradmeter.runs.measuring.loading import Batch
from gradmeter.runs.measuring.reader import Reader
from gradmeter.sources.models import Classifier
from gradmeter.sources.samples import ImageKind, decoder_for

KIND = ImageKind("L", 8)
FAILING_SHADE = 201
# Ray's proxies can share a port, so test processes that run at the same time need different ones.
PORT = 8437 + int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])
ADDRESS = f"http://127.0.0.1:{PORT}"


class Prepare:
    """Turns images into a tensor."""

    def __call__(self, images: Sequence[Any]) -> Tensor:
        resized = [np.asarray(image.resize((8, 8)), np.float32) / 255 for image in images]
        return torch.stack([torch.from_numpy(image).unsqueeze(0) for image in resized])


class Slow(nn.Flatten):
    """Takes 20 ms per batch, so that requests wait for each other, and fails on images of one shade."""

    def forward(self, x: Tensor) -> Tensor:
        if (255 * x.mean((1, 2, 3))).round().eq(FAILING_SHADE).any():
            raise ValueError("not this shade")
        time.sleep(0.02)
        return super().forward(x)


@dataclass(frozen=True)
class Rows:
    """Makes verdicts whose p_correct is the shade of the image, so that tests can tell them apart."""

    def __call__(self, batch: Batch, readings: Readings) -> pa.Table:
        shades = batch.inputs.mean(dim=(1, 2, 3)).double().numpy()
        predictions = pa.array(readings.predictions.numpy())
        accepted = pa.array(shades > 0.5)
        return pa.table(
            {
                "id": batch.ids,
                "prediction": predictions,
                "probability": shades,
                "p_known": shades,
                "p_correct_if_known": shades,
                "p_correct": shades,
                "accepted": accepted,
                "reason": pa.array([None if shade > 0.5 else "doubtful" for shade in shades]),
            }
        )


@dataclass(frozen=True)
class ShadeDetails:
    """Makes details of the network's probabilities, without layers."""

    def __call__(self, readings: Readings) -> list[dict[str, Any]]:
        return [
            {"probabilities": [{"name": str(k), "probability": p} for k, p in enumerate(row)], "layers": []}
            for row in readings.logits.double().softmax(1).tolist()
        ]


@dataclass(frozen=True)
class LateReader(Reader):
    """Takes two seconds to load its network, and then creates a file.

    Attributes:
        loaded: the file.
    """

    loaded: Path = Path()

    def move(self, device: str) -> None:
        time.sleep(2)
        self.loaded.touch()


def small_application(*, page: bool = False, loaded: Path | None = None, **limits: Any) -> Any:
    """Build the application, with or without its page; with `loaded`, its network takes long to load."""
    from ray import cloudpickle

    from gradmeter.apps.serving import Limits, Page, application

    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    torch.manual_seed(0)
    network = nn.Sequential(Slow(), nn.Linear(64, 3)).eval()
    parts = GradientMeter(network), Classifier("small", network, None, KIND, Prepare()), Rows()
    reader = Reader(*parts) if loaded is None else LateReader(*parts, loaded=loaded)
    details: Any = ShadeDetails()
    shown = Page("small", 3, KIND.mode, KIND.side, None, "A probability.", details) if page else None
    return application(reader, decoder_for(KIND), limits=Limits(**limits), page=shown)


@contextmanager
def running(port: int = PORT, *, page: bool = False, **limits: Any) -> Iterator[None]:
    """Run the server on a port of this machine, with or without its page, on the cluster that this process joined."""
    from ray import serve

    try:
        serve.start(http_options={"host": "127.0.0.1", "port": port})
        serve.run(small_application(page=page, **limits), name="gradmeter", route_prefix="/")
        yield
    finally:
        serve.delete("gradmeter")  # Ray's own processes of the server stay for the next one


def serving_main() -> None:
    """Serve at the port in sys.argv on a cluster of its own, as a command does, and print the address."""
    from gradmeter.apps.serving import serve

    def show(address: str) -> None:
        print(address, flush=True)

    serve(small_application(), "127.0.0.1", int(sys.argv[1]), show, end_without_ray)


def png(shade: int, side: int = 8) -> bytes:
    """Return a square image of one shade as a PNG file."""
    stream = io.BytesIO()
    Image.new("L", (side, side), shade).save(stream, "PNG")
    return stream.getvalue()


def post(content: bytes, address: str = ADDRESS) -> httpx.Response:
    """Send a request and return the response."""
    return httpx.post(f"{address}/judge", content=content, timeout=60)


def assert_right(answer: httpx.Response, shade: int) -> None:
    """Check that a response is the verdict on an image of this shade."""
    assert answer.status_code == 200, answer.text
    verdict = answer.json()
    assert verdict["p_correct"] == pytest.approx(shade / 255, abs=1e-6)
    assert verdict["accepted"] == (shade > 127)
    assert verdict["reason"] == (None if shade > 127 else "doubtful")


def processes() -> list[psutil.Process]:
    """Return the processes of the server: the gate, the proxy, the workers and their decoders."""
    return psutil.Process().children(recursive=True)


def workers() -> list[psutil.Process]:
    """Return the processes that hold the network."""
    return [process for process in processes() if "judging" in " ".join(command_line(process))]


def command_line(process: psutil.Process) -> list[str]:
    """Return the words of a process's command; none if it has ended."""
    try:
        return process.cmdline()
    except psutil.Error:
        return []
