"""The HTTP interface of the server.

This module does not import `annotations` from `__future__`: FastAPI evaluates annotations in another process, which has
the class but not the module.
"""

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fastapi import HTTPException, Request
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse, PlainTextResponse, RedirectResponse
from fastapi_offline import FastAPIOffline
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from pydantic import BaseModel
from ray import serve
from ray.exceptions import RayError

from gradmeter.apps.serving.batching import Batches
from gradmeter.apps.serving.details import DetailedVerdict, Verdict
from gradmeter.apps.serving.head import HeadAsGet
from gradmeter.apps.serving.isolation import isolated
from gradmeter.apps.serving.page import Page, described, page_routes
from gradmeter.apps.serving.questions import Failed, Question, Refused
from gradmeter.apps.serving.receiving import Limits, decoded_bytes, received
from gradmeter.apps.serving.room import NoRoom, Room, Share
from gradmeter.sources.samples.headers import pixels_in_time
from gradmeter.version import __version__

if TYPE_CHECKING:
    from gradmeter.runs.measuring.reader import Reader

_ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"description": "The body is empty, or cannot be read or prepared for the network."},
    408: {"description": "The body did not arrive in time."},
    413: {"description": "The body has too many bytes, or the image too many pixels, or the text too many characters."},
    415: {
        "description": "The body is a form, JSON, compressed, or of no type or charset of texts, not a file's content."
    },
    500: {"description": "There is no verdict on this input, because the network fails on it, for example."},
    503: {"description": "The server is overloaded, or a worker is being restarted; try again."},
}
# The gate limits the number of requests. Ray's own queue must never fill, because /health would wait in it, too.
_NO_LIMIT = 2**16
# Seconds between two checks for requests in progress (by default Ray waits for two seconds before the first one), and
# seconds for the last responses to leave the proxy.
_POLL_INTERVAL, _LAST_RESPONSES = 0.05, 0.5


class Problem(BaseModel):
    """The reason why there is no verdict."""

    detail: str


def application(
    reader: "Reader",
    decoder: Callable[[bytes], Any],
    *,
    device: str = "cpu",
    workers: int = 1,
    limits: Limits | None = None,
    page: Page | None = None,
) -> Any:
    """Build an application for `ray.serve.run`.

    `POST /judge` takes the content of an image file (or UTF-8 for a classifier of texts) and answers with JSON:
    "prediction", its "probability", "p_known", "p_correct_if_known", "p_correct", "accepted" and "reason".
    `GET /health` says whether the server takes requests, `GET /metrics` is for Prometheus, and `GET /openapi.json`
    describes the server. With `page`, `GET /` is a page to try the server on, and `POST /judge/details` answers as
    `POST /judge` does, and also with the probability of each class and what each layer shows; otherwise `GET /` leads
    to `GET /docs`.

    Args:
        reader: turns samples into rows of `gradmeter.apps.workflows.judge`.
        decoder: turns the content of a request into the input of the classifier's preprocessing.
        device: device of the network.
        workers: number of processes that hold the network.
        limits: limits of size, number and time.
        page: what the page shows; None for no page.
    """
    # Not above: the gate loads this module, and does not need PyTorch, which takes seconds and much memory.
    from gradmeter.apps.serving.judging import Judging

    bounds = limits or Limits()
    texts = reader.classifier.image is None
    kinds = ("text/plain",) if texts else ("image/png", "image/jpeg", "application/octet-stream")
    binary = {"schema": {"type": "string", "format": "binary"}}
    body = {"requestBody": {"required": True, "content": dict.fromkeys(kinds, binary)}}
    responses = {code: {"model": Problem, **error} for code, error in _ERRORS.items()}

    worker: Any = serve.deployment(
        Judging,
        name="judging",
        num_replicas=workers,
        max_ongoing_requests=1,
        graceful_shutdown_wait_loop_s=_POLL_INTERVAL,
        ray_actor_options={"num_cpus": 1, "num_gpus": 1 if device.startswith("cuda") else 0},
    )
    # The documentation page works without internet access, and below the prefix of a proxy: its addresses are relative.
    # Redirects of /judge/ to /judge would be absolute, without the prefix.
    api = FastAPIOffline(
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        title="gradmeter",
        summary="Estimates how likely each prediction of a classifier is correct.",
        version=__version__,
        servers=[{"url": "."}],
    )
    api.add_middleware(HeadAsGet)

    @api.get("/docs", include_in_schema=False)
    async def documentation() -> HTMLResponse:
        return get_swagger_ui_html(
            openapi_url="openapi.json",
            title="gradmeter",
            swagger_js_url="static-offline-docs/swagger-ui-bundle.js",
            swagger_css_url="static-offline-docs/swagger-ui.css",
            swagger_favicon_url="static-offline-docs/favicon.png",
        )

    server = ""
    if page is not None:
        model = described(page, bounds)
        api.include_router(page_routes(page, model))
        server = model.server

    @serve.deployment(
        name="gate",
        max_ongoing_requests=_NO_LIMIT,
        graceful_shutdown_wait_loop_s=_POLL_INTERVAL,
        ray_actor_options={"num_cpus": 0},
    )
    @serve.ingress(api)
    class Gate:
        async def __init__(self, worker: Any) -> None:  # type: ignore[misc]  # Ray awaits it
            self._in_progress, self._queued, self._closed = 0, 0, False
            self._room = Room(bounds.in_hand)
            # In a process of its own, because a long header would block the threads of this one.
            self._pixels = None if texts else isolated(pixels_in_time, bounds.pixels)
            # Batches are collected here because a busy worker is slow to receive requests: it holds the GIL.
            self._batches = Batches[Question](worker.remote, largest=bounds.batch, workers=workers)
            self._registry = CollectorRegistry()
            registry: dict[str, Any] = {"registry": self._registry}
            self._requests = Counter(
                "gradmeter_requests", "Responses to POST /judge and /judge/details", ["code"], **registry
            )
            self._verdicts = Counter("gradmeter_verdicts", "Verdicts", ["accepted"], **registry)
            self._waiting = Gauge("gradmeter_waiting", "Requests that wait or are being judged", **registry)
            self._waiting.set_function(lambda: self._queued)
            self._held = Gauge(
                "gradmeter_in_hand_bytes",
                "Memory of the content of requests in progress, encoded and decoded",
                **registry,
            )
            self._held.set_function(lambda: self._room.size - self._room.free)
            self._seconds = Histogram("gradmeter_request_seconds", "Time from request to verdict", **registry)
            # Wait until a worker has loaded the network: as soon as the gate exists, /health says that it is ready.
            await worker.remote(())

        @api.post(
            "/judge",
            response_model=Verdict,
            summary="Judge an image",
            responses=responses,
            openapi_extra=body,
        )
        async def judge(self, request: Request) -> Any:
            """Judge one file, whose content is the body of the request."""
            return await self._counted(request, detailed=False)

        if page is not None:

            @api.post(
                "/judge/details",
                response_model=DetailedVerdict,
                summary="Judge an image, and return what each class and each layer says",
                responses=responses,
                openapi_extra=body,
            )
            async def judge_in_detail(self, request: Request) -> Any:
                """Judge one file, whose content is the body of the request, and return details of the prediction."""
                return {**await self._counted(request, detailed=True), "server": server}

        async def _counted(self, request: Request, *, detailed: bool) -> dict[str, Any]:
            started = time.perf_counter()
            try:
                verdict = await self._judged(request, detailed=detailed)
            except HTTPException as error:
                self._requests.labels(error.status_code).inc()
                raise
            self._requests.labels(200).inc()
            self._verdicts.labels({None: "none", True: "true", False: "false"}[verdict["accepted"]]).inc()
            self._seconds.observe(time.perf_counter() - started)
            return verdict

        async def _judged(self, request: Request, *, detailed: bool) -> dict[str, Any]:
            if self._closed:
                raise HTTPException(503, "the server is stopping", {"Connection": "close"})
            if self._in_progress - self._queued >= bounds.receiving:
                raise _busy(f"{bounds.receiving} requests are being received")
            self._in_progress += 1
            try:
                answer = await self._answer(request, detailed=detailed)
            except RayError as error:
                raise _busy("the worker is being restarted") from error
            finally:
                self._in_progress -= 1
            if isinstance(answer, Refused | Failed):
                code = 400 if isinstance(answer, Refused) else 500
                raise HTTPException(code, f"there is no verdict on this input: {answer.reason}")
            return {**answer, "prediction": str(answer["prediction"])}

        async def _answer(self, request: Request, *, detailed: bool) -> Any:
            share = Share(self._room)
            try:
                self._require_queue()
                content = await received(request, bounds, share, texts=texts)
                share.take(await asyncio.to_thread(decoded_bytes, content, bounds, self._pixels))
                self._require_queue()
            except NoRoom as error:
                share.release()
                raise _busy(f"the requests in progress use all of the {bounds.in_hand:,} bytes of memory") from error
            except BaseException:
                share.release()
                raise
            self._queued += 1

            def end() -> None:
                share.release()
                self._queued -= 1

            return await self._batches(Question(content, detailed), end)

        def _require_queue(self) -> None:
            if self._queued >= bounds.queue:
                raise _busy(f"{bounds.queue} requests are waiting")

        async def close(self) -> None:
            """Refuse new requests, and wait until those in progress are answered."""
            self._closed = True
            while self._in_progress:
                await asyncio.sleep(_POLL_INTERVAL)
            await asyncio.sleep(_LAST_RESPONSES)

        @api.get(
            "/health",
            summary="Return whether the server accepts requests",
            responses={503: {"model": Problem, "description": "The server is stopping."}},
        )
        async def health(self) -> dict[str, str]:
            if self._closed:
                raise HTTPException(503, "the server is stopping")
            return {"status": "ok"}

        @api.get("/metrics", response_class=PlainTextResponse, summary="Return counters and latencies for Prometheus")
        async def metrics(self) -> Any:
            return PlainTextResponse(generate_latest(self._registry), media_type=CONTENT_TYPE_LATEST)

        if page is None:

            @api.get("/", include_in_schema=False)
            async def index(self) -> RedirectResponse:
                return RedirectResponse("docs")

    gate: Any = Gate
    details = None if page is None else page.details
    return gate.bind(worker.bind(reader, decoder, device, bounds.pixels, details))


def _busy(reason: str) -> HTTPException:
    return HTTPException(503, f"{reason}; try again", {"Retry-After": "1"})
