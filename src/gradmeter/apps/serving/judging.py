"""The worker of the server, which holds the network and judges batches."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from gradmeter.apps.serving.isolation import isolated
from gradmeter.errors import one_line
from gradmeter.runs.measuring.dataset import Skipped
from gradmeter.runs.measuring.loading import batch_of, decoded
from gradmeter.runs.measuring.reader import Reader
from gradmeter.sources.samples import Encoded, Sample


@dataclass(frozen=True)
class Refused:
    """Why a sample cannot be read."""

    reason: str


@dataclass(frozen=True)
class Failed:
    """Why the network fails on a sample that can be read."""

    reason: str


Answer = dict[str, Any] | Refused | Failed


class Judging:
    """Judges encoded samples; each answer is a row of `gradmeter.apps.workflows.judge`, or why there is none.

    Args:
        reader: turns samples into rows.
        decoder: turns the content of a request into the input of the classifier's preprocessing.
        device: device of the network.
        pixels: number of pixels of the largest image.
    """

    def __init__(self, reader: Reader, decoder: Callable[[bytes], Any], device: str, pixels: int) -> None:
        reader.move(device)
        self._reader, self._device = reader, device
        self._decoder = decoder if reader.classifier.image is None else isolated(decoder, pixels)

    async def __call__(self, contents: Sequence[bytes]) -> list[Answer]:
        """Return one answer per content, in order, without blocking the event loop."""
        return await asyncio.to_thread(self._answers, contents)

    def _answers(self, contents: Sequence[bytes]) -> list[Answer]:
        samples = [decoded(Encoded(str(index), content, None), self._decoder) for index, content in enumerate(contents)]
        try:
            return self._judged(samples)
        except Exception:
            # Judge the samples one by one, so that one on which the network fails does not affect the others.
            return [self._judged_alone(sample) for sample in samples]

    def _judged(self, samples: Sequence[Sample | Skipped]) -> list[Answer]:
        batch, table = self._reader.rows(batch_of(samples, self._reader.classifier.batch), self._device)
        answers: dict[str, Answer] = {skipped.id: Failed(skipped.reason) for skipped in batch.skipped}
        answers |= {sample.id: Refused(sample.reason) for sample in samples if isinstance(sample, Skipped)}
        answers |= {} if table is None else {row.pop("id"): row for row in table.to_pylist()}
        return [answers[sample.id] for sample in samples]

    def _judged_alone(self, sample: Sample | Skipped) -> Answer:
        try:
            return self._judged([sample])[0]
        except Exception as error:
            # Report the cause: the message of the error itself recommends options of the command line.
            reason = error.__cause__ or error
            return Failed(f"{type(reason).__name__}: {one_line(reason)}")
