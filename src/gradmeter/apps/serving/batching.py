"""Dynamic batching: requests that wait are answered together as soon as a worker is free."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

Sent = TypeVar("Sent")


@dataclass(frozen=True, eq=False)
class _Entry(Generic[Sent]):
    question: Sent
    answer: asyncio.Future[Any]
    on_end: Callable[[], None]


class Batches(Generic[Sent]):
    """Collects requests into batches while all workers are busy; a request that finds a free worker does not wait.

    Ray Serve's own `batch` closes a batch before a worker is free: it splits 16 waiting requests into eight batches,
    while one batch of 16 would take a worker little longer than one of two.

    Args:
        answer: returns one answer for each question of a batch.
        largest: largest number of requests in a batch.
        workers: number of batches in progress at the same time.
    """

    def __init__(
        self, answer: Callable[[Sequence[Sent]], Awaitable[Sequence[Any]]], *, largest: int, workers: int
    ) -> None:
        self._answer, self._largest, self._free = answer, largest, workers
        self._waiting = deque[_Entry[Sent]]()
        self._running = set[asyncio.Task[None]]()

    async def __call__(self, question: Sent, on_end: Callable[[], None] = lambda: None) -> Any:
        """Return the answer to one request.

        Args:
            question: what the request asks, with its content.
            on_end: called when the question is no longer held, which may be long after the client has disconnected.

        Raises:
            Any exception that answering its batch raises.
        """
        entry = _Entry(question, asyncio.get_running_loop().create_future(), on_end)
        self._waiting.append(entry)
        self._begin()
        return await entry.answer

    def _begin(self) -> None:
        while self._free and (batch := self._next()):
            self._free -= 1
            # In an empty context: Ray cancels everything in the context of a request when its client disconnects.
            task = asyncio.create_task(self._run(batch), context=Context())
            self._running.add(task)  # keeps a reference, otherwise the task could be garbage-collected
            task.add_done_callback(self._running.discard)

    def _next(self) -> list[_Entry[Sent]]:
        """Return the entries of the next batch without those whose clients have disconnected."""
        batch: list[_Entry[Sent]] = []
        while self._waiting and len(batch) < self._largest:
            entry = self._waiting.popleft()
            if entry.answer.done():
                entry.on_end()
            else:
                batch.append(entry)
        return batch

    async def _run(self, batch: Sequence[_Entry[Sent]]) -> None:
        try:
            answers = await self._answer([entry.question for entry in batch])
            for entry, answer in zip(batch, answers, strict=True):
                if not entry.answer.done():  # done if the client has disconnected
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
