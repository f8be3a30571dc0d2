"""The worker of the server, which holds the network and judges batches."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence, Set
from typing import Any

import numpy as np
from PIL import Image

from gradmeter.apps.serving.isolation import isolated
from gradmeter.apps.serving.questions import Answer, Failed, Question, Refused
from gradmeter.reading.readings import Readings
from gradmeter.runs.measuring.dataset import Skipped
from gradmeter.runs.measuring.loading import Batch, batch_of, decoded
from gradmeter.runs.measuring.reader import Reader
from gradmeter.sources.models.answering import failure
from gradmeter.sources.samples import Encoded, Sample

_GREY = 128


class Judging:
    """Judges encoded samples; each answer is a row of `gradmeter.apps.workflows.judge`, or why there is none.

    The answer to a detailed question also holds the fields of `details`.

    Args:
        reader: turns samples into rows.
        decoder: turns the content of a request into the input of the classifier's preprocessing.
        device: device of the network.
        pixels: number of pixels of the largest image.
        details: returns the details of each prediction; None if no question is detailed.
    """

    def __init__(
        self,
        reader: Reader,
        decoder: Callable[[bytes], Any],
        device: str,
        pixels: int,
        details: Callable[[Readings], list[dict[str, Any]]] | None = None,
    ) -> None:
        reader.move(device)
        self._reader, self._device, self._details = reader, device, details
        self._decoder = decoder if reader.classifier.image is None else isolated(decoder, pixels)
        self._warm_up()

    def _warm_up(self) -> None:
        """Judge a grey image, because the first batch of a network takes a second longer than the others."""
        if (kind := self._reader.classifier.image) is not None:
            grey = Image.new("L", (kind.side, kind.side), _GREY).convert(kind.mode)
            self._judged_alone(Sample("grey", grey, None), {"grey"})

    async def __call__(self, questions: Sequence[Question]) -> list[Answer]:
        """Return one answer per question, in order, without blocking the event loop."""
        return await asyncio.to_thread(self._answers, questions)

    def _answers(self, questions: Sequence[Question]) -> list[Answer]:
        samples = [
            decoded(Encoded(str(index), question.content, None), self._decoder)
            for index, question in enumerate(questions)
        ]
        detailed = {str(index) for index, question in enumerate(questions) if question.detailed}
        try:
            return self._judged(samples, detailed)
        except Exception:
            # Judge the samples one by one, so that one on which the network fails does not affect the others.
            return [self._judged_alone(sample, detailed) for sample in samples]

    def _judged(self, samples: Sequence[Sample | Skipped], detailed: Set[str]) -> list[Answer]:
        prepared = batch_of(samples, self._reader.classifier.batch)
        batch, readings = self._reader.readings(prepared, self._device)
        answers: dict[str, Answer] = {skipped.id: Failed(skipped.reason) for skipped in batch.skipped}
        answers |= {skipped.id: Refused(skipped.reason) for skipped in prepared.skipped}
        if readings is not None:
            answers |= self._rows(batch, readings, detailed)
        return [answers[sample.id] for sample in samples]

    def _rows(self, batch: Batch, readings: Readings, detailed: Set[str]) -> dict[str, dict[str, Any]]:
        """Return the row of each sample, with its details if they are asked for."""
        rows = {row.pop("id"): row for row in self._reader.tabulate(batch, readings).to_pylist()}
        indices = np.flatnonzero([name in detailed for name in batch.ids])
        if self._details is not None and len(indices):
            for index, details in zip(indices, self._details(readings.rows(indices)), strict=True):
                rows[batch.ids[index]] |= details
        return rows

    def _judged_alone(self, sample: Sample | Skipped, detailed: Set[str]) -> Answer:
        try:
            return self._judged([sample], detailed)[0]
        except Exception as error:
            # Report the cause: the message of the error itself recommends options of the command line.
            return Failed(failure(error.__cause__ or error))
