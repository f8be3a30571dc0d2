"""Which segmentation network something is made with, and calling it with one image."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np
from PIL import Image
from torch import Tensor

from gradmeter.errors import GradmeterError
from gradmeter.reading.inputs import Inputs
from gradmeter.reading.memory_format import in_memory_format
from gradmeter.reading.network import measuring, unwrapped, weights_hash
from gradmeter.reading.pixels.outputs import NotPixelwise, pixel_logits
from gradmeter.runs.measuring.purpose import OUTPUTS, has_same_outputs
from gradmeter.runs.store import Manifest, differences
from gradmeter.sources.models import Classifier
from gradmeter.sources.models.answering import WrongChannels, explained
from gradmeter.sources.same_outputs import excerpt

Result = TypeVar("Result")

# Side of the image of noise.
_SIDE = 64
# Number of classes and of pixels of the outputs that are kept.
_EXCERPT = 8


def identity(segmenter: Classifier, device: str) -> dict[str, Any]:
    """Say in JSON values which network something is made with, by its weights and its outputs on noise.

    Raises:
        InputError: if it is no segmentation network, or takes images of another number of channels.
    """
    return {
        "model": segmenter.name,
        "weights": weights_hash(segmenter.network),
        "preprocessing": repr(segmenter.batch),
        OUTPUTS: _outputs_on_noise(segmenter, device),
    }


def changes(recorded: Manifest, now: Mapping[str, Any]) -> list[str]:
    """List how an identity, with further settings, differs from an earlier one; outputs may differ by rounding."""
    lines = differences(recorded, {key: value for key, value in now.items() if key != OUTPUTS})
    # There are none if an earlier version wrote it, or if the network fails on noise of this size.
    if not recorded.get(OUTPUTS) or not now[OUTPUTS] or has_same_outputs(recorded, now[OUTPUTS]):
        return lines
    return [*lines, "the network gives other outputs on the same noise"]


def on_image(segmenter: Classifier, image: Image.Image, device: str, measure: Callable[[Inputs], Result]) -> Result:
    """Return what a function of the network's inputs, such as a meter, returns for one image.

    Raises:
        InputError: if the preprocessing or the network fails.
    """
    with explained(segmenter):
        batch = segmenter.batch([image])
    inputs = Inputs.of(batch).map(lambda tensor: tensor.to(device))
    with explained(segmenter, batch):
        return measure(inputs)


def _outputs_on_noise(segmenter: Classifier, device: str) -> list[list[float]]:
    """Logits of some classes at some pixels of an image of noise; empty if the network fails on its size."""
    assert segmenter.image is not None
    shape = (_SIDE, _SIDE) if segmenter.image.mode == "L" else (_SIDE, _SIDE, 3)
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, shape, np.uint8))
    network = unwrapped(segmenter.network)

    def logits_of(inputs: Inputs) -> Tensor:
        with measuring(network, gradients=False):
            return in_memory_format(network, inputs, lambda given: pixel_logits(network, given, None)).detach()

    try:
        logits = on_image(segmenter, noise, device, logits_of)
    except (NotPixelwise, WrongChannels) as error:
        raise type(error)(f"{segmenter.name}: {error}") from error
    except GradmeterError:
        return []
    return excerpt(logits[0, :_EXCERPT].flatten(1), _EXCERPT)
