"""The worker behind the server: it holds the network and answers batches."""

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
    """Why what was sent cannot be read."""

    reason: str


@dataclass(frozen=True)
class Failed:
    """Why the network has no answer to what could be read."""

    reason: str


Answer = dict[str, Any] | Refused | Failed


class Judging:
    """Answers to encoded samples: the rows of `gradmeter.apps.workflows.judge`, or why one cannot be read.

    Args:
        reader: from samples to rows.
        decoder: from what is sent to what the classifier takes.
        device: where the network runs.
        pixels: of the largest image.
    """

    def __init__(self, reader: Reader, decoder: Callable[[bytes], Any], device: str, pixels: int) -> None:
        reader.move(device)
        self._reader, self._device = reader, device
        self._decoder = decoder if reader.classifier.image is None else isolated(decoder, pixels)

    async def __call__(self, sent: Sequence[bytes]) -> list[Answer]:
        """One for each, in order; the event loop goes on meanwhile."""
        return await asyncio.to_thread(self._answers, sent)

    def _answers(self, sent: Sequence[bytes]) -> list[Answer]:
        found = [decoded(Encoded(str(number), content, None), self._decoder) for number, content in enumerate(sent)]
        try:
            return self._judged(found)
        except Exception:
            # One must not take the others along.
            return [self._judged_alone(one) for one in found]

    def _judged(self, found: Sequence[Sample | Skipped]) -> list[Answer]:
        batch, table = self._reader.rows(batch_of(found, self._reader.classifier.batch), self._device)
        answers: dict[str, Answer] = {one.id: Failed(one.reason) for one in batch.skipped}
        answers |= {one.id: Refused(one.reason) for one in found if isinstance(one, Skipped)}
        answers |= {} if table is None else {row.pop("id"): row for row in table.to_pylist()}
        return [answers[one.id] for one in found]

    def _judged_alone(self, one: Sample | Skipped) -> Answer:
        try:
            return self._judged([one])[0]
        except Exception as error:
            # Options of commands are nothing for who asks over HTTP.
            reason = error.__cause__ or error
            return Failed(f"{type(reason).__name__}: {one_line(reason)}")
