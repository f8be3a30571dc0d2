"""A client that disconnects is not answered, however Ray says that it did."""

import asyncio
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the extra serve is not installed")
pytest.importorskip("ray", reason="the extra serve is not installed")

from fastapi import Request
from ray.exceptions import TaskCancelledError
from starlette.requests import ClientDisconnect

from gradmeter.apps.serving.receiving import Limits, received
from gradmeter.apps.serving.room import Room, Share

pytestmark = pytest.mark.slow


def test_a_cancelled_message_of_the_proxy_is_a_disconnected_client() -> None:
    async def receive() -> Any:
        raise TaskCancelledError

    request = Request({"type": "http", "headers": []}, receive)
    with pytest.raises(ClientDisconnect):
        asyncio.run(received(request, Limits(), Share(Room(100))))
