"""The server: what is asked, what is answered, and what is refused.

Annotations are objects, not strings: FastAPI reads them in a process that was sent the class and not the module.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Any

from fastapi import HTTPException, Request
from fastapi.responses import PlainTextResponse, RedirectResponse
from fastapi_offline import FastAPIOffline
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from pydantic import BaseModel, Field
from ray import serve
from ray.exceptions import RayError

from gradmeter.apps.serving.batching import Batches
from gradmeter.apps.serving.isolation import isolated
from gradmeter.apps.serving.judging import Failed, Judging, Refused
from gradmeter.apps.serving.receiving import Limits, decoded_bytes, received
from gradmeter.apps.serving.room import NoRoom, Room, Share
from gradmeter.runs.measuring.reader import Reader
from gradmeter.sources.samples.headers import pixels_in_time

_ANSWERS: dict[int | str, dict[str, Any]] = {
    400: {"description": "Nothing was sent, or no image that can be read."},
    408: {"description": "The image did not arrive in time."},
    413: {"description": "The image has too many bytes or pixels, or the text too many characters."},
    415: {"description": "A form or something compressed was sent, not the image itself."},
    500: {"description": "The network has no answer to this image."},
    503: {"description": "Too much is in hand, or a worker is being restarted: try again."},
}
# Ray's own queue, in which /health would wait, too, is never to be used: the gate counts.
_NO_LIMIT = 2**16
# Seconds between two looks at what is left to answer, and that answers take to leave the machine.
_TICK, _LAST_ANSWERS = 0.05, 0.5


class Verdict(BaseModel):
    """How far to trust a prediction."""

    prediction: str = Field(description="Name of the predicted class, or its number if the classes have no names.")
    probability: float = Field(ge=0, le=1, description="Probability of that class according to the network.")
    p_correct: float = Field(ge=0, le=1, description="P(the prediction is correct).")
    accepted: bool | None = Field(description="Whether it keeps the promised risk; null where none was promised.")


class Problem(BaseModel):
    """Why there is no verdict."""

    detail: str


def application(
    reader: Reader,
    decoder: Callable[[bytes], Any],
    *,
    device: str = "cpu",
    workers: int = 1,
    limits: Limits | None = None,
) -> Any:
    """Build an application for `ray.serve.run`.

    `POST /judge` takes the content of an image file (or UTF-8 for a classifier of texts) and answers with JSON:
    "prediction", its "probability", "p_correct" and "accepted". `GET /health` says whether the server takes requests,
    `GET /metrics` is for Prometheus, `GET /openapi.json` describes the server, and `GET /` leads to a page for people.

    Args:
        reader: from samples to rows of `gradmeter.apps.workflows.judge`.
        decoder: from what is sent to what the classifier takes.
        device: where the network runs.
        workers: processes that hold the network.
        limits: of sizes and numbers.
    """
    bounds = limits or Limits()
    texts = reader.classifier.image is None
    kinds = ("text/plain",) if texts else ("image/png", "image/jpeg", "application/octet-stream")
    binary = {"schema": {"type": "string", "format": "binary"}}

    worker: Any = serve.deployment(
        Judging,
        name="judging",
        num_replicas=workers,
        max_ongoing_requests=1,
        ray_actor_options={"num_cpus": 1, "num_gpus": 1 if device.startswith("cuda") else 0},
    )
    # Its page needs nothing from elsewhere.
    api = FastAPIOffline(title="gradmeter", summary="How far to trust each prediction of a classifier.")

    @serve.deployment(name="gate", max_ongoing_requests=_NO_LIMIT, ray_actor_options={"num_cpus": 0})
    @serve.ingress(api)
    class Gate:
        def __init__(self, worker: Any) -> None:
            self._inside, self._waits, self._closed = 0, 0, False
            self._room = Room(bounds.in_hand)
            # In another process: a header may be long, and a thread of this one would keep everybody waiting.
            self._pixels = None if texts else isolated(pixels_in_time, bounds.pixels)
            # Here, and not in the worker: while that reckons, a message to it waits for Python's lock many times.
            self._batches = Batches(worker.remote, largest=bounds.batch, workers=workers)
            self._registry = CollectorRegistry()
            own: dict[str, Any] = {"registry": self._registry}
            self._requests = Counter("gradmeter_requests", "Answers to POST /judge", ["code"], **own)
            self._verdicts = Counter("gradmeter_verdicts", "Verdicts", ["accepted"], **own)
            self._waiting = Gauge("gradmeter_waiting", "Requests that wait or are answered", **own)
            self._waiting.set_function(lambda: self._waits)
            self._held = Gauge("gradmeter_in_hand_bytes", "Bytes that requests take, sent and decoded", **own)
            self._held.set_function(lambda: self._room.size - self._room.free)
            self._seconds = Histogram("gradmeter_request_seconds", "From request to verdict", **own)

        @api.post(
            "/judge",
            response_model=Verdict,
            summary="Judge an image",
            responses={code: {"model": Problem, **answer} for code, answer in _ANSWERS.items()},
            openapi_extra={"requestBody": {"required": True, "content": dict.fromkeys(kinds, binary)}},
        )
        async def judge(self, request: Request) -> Any:
            """Send the content of the file as it is; the answer is for that file alone."""
            started = time.perf_counter()
            try:
                verdict = await self._judged(request)
            except HTTPException as error:
                self._requests.labels(error.status_code).inc()
                raise
            self._requests.labels(200).inc()
            self._verdicts.labels({None: "none", True: "true", False: "false"}[verdict["accepted"]]).inc()
            self._seconds.observe(time.perf_counter() - started)
            return verdict

        async def _judged(self, request: Request) -> dict[str, Any]:
            if self._closed:
                raise HTTPException(503, "the server is stopping; ask another", {"Connection": "close"})
            if self._inside - self._waits >= bounds.on_their_way:
                raise _busy(f"{bounds.on_their_way} requests are on their way")
            self._inside += 1
            try:
                answer = await self._answer(request)
            except RayError as error:
                raise _busy("the worker is being restarted") from error
            finally:
                self._inside -= 1
            if isinstance(answer, Refused):
                raise HTTPException(400, f"it cannot be read: {answer.reason}")
            if isinstance(answer, Failed):
                raise HTTPException(500, f"the network has no answer to it: {answer.reason}")
            return {**answer, "prediction": str(answer["prediction"])}

        async def _answer(self, request: Request) -> Any:
            share = Share(self._room)
            try:
                self._require_place()
                content = await received(request, bounds, share)
                share.take(await asyncio.to_thread(decoded_bytes, content, bounds, self._pixels))
                self._require_place()
            except NoRoom as error:
                share.release()
                raise _busy(f"the requests in hand take all of {bounds.in_hand:,} bytes") from error
            except BaseException:
                share.release()
                raise
            self._waits += 1

            def end() -> None:
                share.release()
                self._waits -= 1

            return await self._batches(content, end)

        def _require_place(self) -> None:
            if self._waits >= bounds.queue:
                raise _busy(f"{bounds.queue} requests are waiting")

        async def close(self) -> None:
            """Take no more requests, and wait until those that were taken are answered."""
            self._closed = True
            while self._inside:
                await asyncio.sleep(_TICK)
            # The last answers are still on their way through the proxy.
            await asyncio.sleep(_LAST_ANSWERS)

        @api.get(
            "/health",
            summary="Whether the server takes requests",
            responses={503: {"model": Problem, "description": "The server is stopping."}},
        )
        async def health(self) -> dict[str, str]:
            if self._closed:
                raise HTTPException(503, "the server is stopping")
            return {"status": "ok"}

        @api.get("/metrics", response_class=PlainTextResponse, summary="Counts and times, for Prometheus")
        async def metrics(self) -> Any:
            return PlainTextResponse(generate_latest(self._registry), media_type=CONTENT_TYPE_LATEST)

        @api.get("/", include_in_schema=False)
        async def index(self) -> RedirectResponse:
            return RedirectResponse("/docs")

    gate: Any = Gate
    return gate.bind(worker.bind(reader, decoder, device, bounds.pixels))


def _busy(reason: str) -> HTTPException:
    return HTTPException(503, f"{reason}; try again", {"Retry-After": "1"})
