"""What is received as the body of a request, and from whom."""

import asyncio
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the extra serve is not installed")
pytest.importorskip("ray", reason="the extra serve is not installed")

from fastapi import HTTPException, Request
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


def _received(body: bytes, content_type: str | None, *, texts: bool) -> bytes:
    async def receive() -> Any:
        return {"type": "http.request", "body": body}

    headers = [] if content_type is None else [(b"content-type", content_type.encode())]
    request = Request({"type": "http", "headers": headers}, receive)
    return asyncio.run(received(request, Limits(), Share(Room(100)), texts=texts))


@pytest.mark.parametrize(
    "content_type",
    [None, "text/plain", 'Text/Plain; charset="UTF-8"', "text/plain; charset=us-ascii", "application/octet-stream"],
)
def test_a_text_may_have_the_type_of_a_text_or_of_any_file(content_type: str | None) -> None:
    assert _received(b"a good film", content_type, texts=True) == b"a good film"


@pytest.mark.parametrize("content_type", ["application/x-www-form-urlencoded", "application/xml", "image/png"])
def test_a_classifier_of_texts_does_not_judge_other_types_as_texts(content_type: str) -> None:
    with pytest.raises(HTTPException) as refusal:
        _received(b"text=a+good+film", content_type, texts=True)
    assert refusal.value.status_code == 415
    assert content_type in refusal.value.detail


def test_a_text_in_another_charset_is_not_judged_as_utf_8() -> None:
    with pytest.raises(HTTPException) as refusal:
        _received("a good film".encode("utf-16-le"), "text/plain; charset=UTF-16LE", texts=True)
    assert refusal.value.status_code == 415
    assert "utf-16le" in refusal.value.detail


def test_an_image_may_have_the_type_that_curl_gives_it() -> None:
    assert _received(b"image", "application/x-www-form-urlencoded", texts=False) == b"image"
