"""Requests that wait are answered together as soon as a worker has time."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, eq=False)
class _Entry:
    sent: bytes
    answer: asyncio.Future[Any]
    on_end: Callable[[], None]


class Batches:
    """Batches that form while the workers are busy: one request alone waits for nobody, many are answered together.

    Ray Serve's own `batch` closes a batch before a worker is free for it: of 16 requests that wait it makes eight
    batches, where the worker would need little longer for one.

    Args:
        answer: from what was sent to an answer for each.
        largest: requests that are answered together, at most.
        workers: batches that are answered at once.
    """

    def __init__(
        self, answer: Callable[[Sequence[bytes]], Awaitable[Sequence[Any]]], *, largest: int, workers: int
    ) -> None:
        self._answer, self._largest, self._free = answer, largest, workers
        self._waiting = deque[_Entry]()
        self._running = set[asyncio.Task[None]]()

    async def __call__(self, sent: bytes, on_end: Callable[[], None] = lambda: None) -> Any:
        """The answer to this one.

        Args:
            sent: what is to be answered.
            on_end: called when nothing of it is held any more, which may be long after the one who asked has gone.

        Raises:
            Whatever answering its batch raised.
        """
        entry = _Entry(sent, asyncio.get_running_loop().create_future(), on_end)
        self._waiting.append(entry)
        self._begin()
        return await entry.answer

    def _begin(self) -> None:
        while self._free and (batch := self._next()):
            self._free -= 1
            # Not in the context of whoever asked: when that one goes, Ray cancels what is of its request.
            task = asyncio.create_task(self._run(batch), context=Context())
            self._running.add(task)  # else nobody would hold it
            task.add_done_callback(self._running.discard)

    def _next(self) -> list[_Entry]:
        """Entries for one batch, without those whose senders have gone."""
        batch: list[_Entry] = []
        while self._waiting and len(batch) < self._largest:
            entry = self._waiting.popleft()
            if entry.answer.done():
                entry.on_end()
            else:
                batch.append(entry)
        return batch

    async def _run(self, batch: Sequence[_Entry]) -> None:
        try:
            answers = await self._answer([entry.sent for entry in batch])
            for entry, answer in zip(batch, answers, strict=True):
                if not entry.answer.done():  # who asked may have gone
                    entry.answer.set_result(answer)
        except Exception as error:
            for entry in batch:
                if not entry.answer.done():
                    entry.answer.set_exception(error)
        finally:
            for entry in batch:
                entry.on_end()
            self._free += 1
            self._begin()
