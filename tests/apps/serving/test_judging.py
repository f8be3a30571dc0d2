"""The worker of the server, without the server."""

import asyncio
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from apps.serving.small import KIND, Prepare, Rows
from gradmeter import GradientMeter
from gradmeter.apps.serving.judging import Judging
from gradmeter.apps.serving.questions import Failed, Question, Refused
from gradmeter.reading.readings import Readings
from gradmeter.runs.measuring.reader import Reader
from gradmeter.sources.models import Classifier
from gradmeter.sources.samples import decoder_for


class Standardising(nn.Flatten):
    """Divides each image by its standard deviation, which is 0 for images of one shade."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward((x - x.mean((1, 2, 3), keepdim=True)) / x.std((1, 2, 3), keepdim=True))


def encoded(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "png")
    return buffer.getvalue()


def test_one_without_a_finite_answer_does_not_take_others_along(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(Standardising(), nn.Linear(64, 3)).eval()
    reader = Reader(GradientMeter(network), Classifier("small", network, None, KIND, Prepare()), Rows())
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 8), np.uint8)
    images[1] = 200
    decoder = decoder_for(KIND)
    monkeypatch.setattr("gradmeter.apps.serving.judging.isolated", lambda decoder, pixels: decoder)
    judging = Judging(reader, decoder, "cpu", 10**6)
    contents = [*map(encoded, images[:2]), b"no image", encoded(images[2])]
    first, plain, damaged, last = asyncio.run(judging([*map(Question, contents)]))
    assert isinstance(plain, Failed)
    assert isinstance(damaged, Refused)
    assert isinstance(first, dict)
    assert isinstance(last, dict)
    shades = [images[row].mean() / 255 for row in (0, 2)]
    np.testing.assert_allclose([first["p_correct"], last["p_correct"]], shades, rtol=1e-5)


class OfSomeShade(Prepare):
    """Refuses black images, as tokenizers may refuse texts without tokens."""

    def __call__(self, images: Sequence[Any]) -> Tensor:
        if not all(image.getbbox() for image in images):
            raise ValueError("black")
        return super().__call__(images)


def test_one_that_cannot_be_prepared_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 3)).eval()
    reader = Reader(GradientMeter(network), Classifier("small", network, None, KIND, OfSomeShade()), Rows())
    monkeypatch.setattr("gradmeter.apps.serving.judging.isolated", lambda decoder, pixels: decoder)
    images = np.zeros((2, 8, 8), np.uint8)
    images[1] = 200
    black, grey = asyncio.run(Judging(reader, decoder_for(KIND), "cpu", 10**6)([*map(Question, map(encoded, images))]))
    assert black == Refused("cannot be prepared for the network (ValueError: black)")
    assert isinstance(grey, dict)


def test_details_only_where_they_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 3)).eval()
    reader = Reader(GradientMeter(network), Classifier("small", network, None, KIND, Prepare()), Rows())
    monkeypatch.setattr("gradmeter.apps.serving.judging.isolated", lambda decoder, pixels: decoder)
    images = np.random.default_rng(0).integers(0, 256, (4, 8, 8), np.uint8)

    def details(readings: Readings) -> list[dict[str, Any]]:
        return [{"largest": float(row.max())} for row in readings.logits]

    judging = Judging(reader, decoder_for(KIND), "cpu", 10**6, details)
    detailed = (False, True, False, True)
    questions = [Question(encoded(image), asked) for image, asked in zip(images, detailed, strict=True)]
    answers = asyncio.run(judging([questions[0], Question(b"no image", True), *questions[1:]]))
    assert isinstance(answers.pop(1), Refused)
    with torch.no_grad():
        largest = network(Prepare()([Image.fromarray(image) for image in images])).amax(1)
    for answer, asked, expected in zip(answers, detailed, largest, strict=True):
        assert isinstance(answer, dict)
        assert ("largest" in answer) == asked
        if asked:
            assert answer["largest"] == pytest.approx(float(expected), rel=1e-5)
