"""Requests that wait are answered together as soon as a worker has time."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any


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
        self._waiting = deque[tuple[bytes, asyncio.Future[Any]]]()
        self._running = set[asyncio.Task[None]]()

    async def __call__(self, sent: bytes) -> Any:
        """The answer to this one.

        Raises:
            Whatever answering its batch raised.
        """
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append((sent, answer))
        self._begin()
        return await answer

    def _begin(self) -> None:
        while self._free and self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(self._largest, len(self._waiting)))]
            self._free -= 1
            task = asyncio.create_task(self._run(batch))
            self._running.add(task)  # else nobody would hold it
            task.add_done_callback(self._running.discard)

    async def _run(self, batch: Sequence[tuple[bytes, asyncio.Future[Any]]]) -> None:
        try:
            answers = await self._answer([sent for sent, _ in batch])
            for (_, waiting), answer in zip(batch, answers, strict=True):
                if not waiting.done():  # who asked may have gone
                    waiting.set_result(answer)
        except Exception as error:
            for _, waiting in batch:
                if not waiting.done():
                    waiting.set_exception(error)
        finally:
            self._free += 1
            self._begin()
