"""Batches form while workers are busy, and every request gets its own answer."""

import asyncio
from collections.abc import Sequence
from contextvars import ContextVar

import pytest

from gradmeter.apps.serving.batching import Batches


class Worker:
    def __init__(self) -> None:
        self.batches: list[Sequence[bytes]] = []
        self.at_once = self.most = 0

    async def __call__(self, sent: Sequence[bytes]) -> list[bytes]:
        self.batches.append(sent)
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        await asyncio.sleep(0.01)
        self.at_once -= 1
        if b"bad" in sent:
            raise ValueError("not this one")
        return [one.upper() for one in sent]


def test_one_alone_does_not_wait_and_the_others_go_together() -> None:
    worker = Worker()

    async def ask() -> list[bytes]:
        batches = Batches(worker, largest=8, workers=1)
        return await asyncio.gather(*(batches(b"a%d" % number) for number in range(20)))

    assert asyncio.run(ask()) == [b"A%d" % number for number in range(20)]
    assert [len(batch) for batch in worker.batches] == [1, 8, 8, 3]


def test_as_many_at_once_as_there_are_workers() -> None:
    worker = Worker()

    async def ask() -> None:
        batches = Batches(worker, largest=2, workers=3)
        await asyncio.gather(*(batches(b"a") for _ in range(20)))

    asyncio.run(ask())
    assert worker.most == 3


def test_an_error_is_of_its_batch_and_work_goes_on() -> None:
    worker = Worker()

    async def ask() -> list[object]:
        batches = Batches(worker, largest=2, workers=1)
        sent = (b"a", b"bad", b"c", b"d")
        return await asyncio.gather(*(batches(one) for one in sent), return_exceptions=True)

    first, *failed, last = asyncio.run(ask())
    assert (first, last) == (b"A", b"D")
    assert [str(one) for one in failed] == ["not this one"] * 2


def test_who_goes_away_does_not_stop_the_others() -> None:
    worker = Worker()

    async def ask() -> bytes:
        batches = Batches(worker, largest=8, workers=1)
        gone = asyncio.create_task(batches(b"gone"))
        asked = asyncio.create_task(batches(b"a"))
        await asyncio.sleep(0.001)
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        answer: bytes = await asked
        return answer

    assert asyncio.run(ask()) == b"A"


def test_a_batch_is_nobodys_request() -> None:
    """Ray cancels everything in the context of a request when its client disconnects."""
    request = ContextVar("request", default="none")
    of: list[str] = []

    async def answer(sent: Sequence[bytes]) -> Sequence[bytes]:
        of.append(request.get())
        await asyncio.sleep(0.001)
        return sent

    async def ask(batches: Batches, number: int) -> None:
        request.set(str(number))
        await batches(b"a")

    async def ask_all() -> None:
        batches = Batches(answer, largest=2, workers=1)
        await asyncio.gather(*(ask(batches, number) for number in range(5)))

    asyncio.run(ask_all())
    assert of == ["none"] * 3


def test_what_is_held_is_given_back_once_and_not_before_its_batch_ends() -> None:
    """Also if the client disconnects, whether its request waits or is being answered."""
    worker, ended = Worker(), list[bytes]()

    async def ask() -> None:
        batches = Batches(worker, largest=1, workers=1)
        names = (b"a", b"b", b"bad")
        asked = [asyncio.create_task(batches(name, lambda name=name: ended.append(name))) for name in names]
        await asyncio.sleep(0.001)
        asked[0].cancel()  # is being answered
        asked[1].cancel()  # waits
        await asyncio.sleep(0.001)
        assert ended == []
        await asyncio.gather(*asked, return_exceptions=True)
        await asyncio.sleep(0.05)

    asyncio.run(ask())
    assert sorted(ended) == [b"a", b"b", b"bad"]
    assert worker.batches == [[b"a"], [b"bad"]]
