"""The page on which people try the server: static files, a description of the network, and examples.

This module does not import `annotations` from `__future__`: FastAPI evaluates annotations in another process.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, HTTPException, Response
from pydantic import BaseModel, Field

from gradmeter.apps.serving.details import Details
from gradmeter.apps.serving.examples import Example
from gradmeter.apps.serving.receiving import Limits

if TYPE_CHECKING:  # the gate of the server loads this module, and does not need PyTorch
    from gradmeter.sources.models import Classifier
    from gradmeter.trust.model import TrustModel
    from gradmeter.trust.risk import Guarantee

_FOLDER = Path(__file__).parent / "static"
_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
# The page loads nothing from other hosts, runs no script but its own files, and cannot be put into a frame.
_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "object-src 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}


@dataclass(frozen=True)
class Page:
    """What the page shows.

    Attributes:
        model: name of the network.
        classes: number of classes.
        mode: "L" for grey images, "RGB" for coloured ones; None for a classifier of texts.
        side: length in pixels to which the shorter side of an image is resized; None for a classifier of texts.
        guarantee: the risk guarantee; None if there is none.
        meaning: for which inputs P(correct) is a probability.
        details: returns the details of a prediction.
        examples: images to try.
    """

    model: str
    classes: int
    mode: str | None
    side: int | None
    guarantee: "Guarantee | None"
    meaning: str
    details: Details
    examples: tuple[Example, ...] = ()

    @classmethod
    def of(cls, trust: "TrustModel", classifier: "Classifier", examples: tuple[Example, ...] = ()) -> "Page":
        """Describe a fitted TrustModel and its classifier."""
        judge, image = trust.judge, classifier.image
        assert judge is not None
        mode, side = (None, None) if image is None else (image.mode, image.side)
        details = Details(judge, classifier.classes)
        return cls(classifier.name, classifier.outputs, mode, side, trust.guarantee, judge.meaning, details, examples)


class ModelGuarantee(BaseModel):
    """A risk guarantee."""

    risk: float = Field(description="Largest share of wrong predictions among the accepted ones.")
    confidence: float = Field(description="Probability that the guarantee holds, over the draw of its data.")
    threshold: float = Field(description="Smallest score that is accepted.")
    score: str = Field(description="The probability that is compared with the threshold.")


class ModelExample(BaseModel):
    """An image to try."""

    name: str = Field(description="Name of its class, or its id in the data.")
    address: str = Field(description="Address of the image, relative to this server.")
    light: bool = Field(description="Whether its background is light.")


class Model(BaseModel):
    """The network, its TrustModel, and what the server takes."""

    model: str = Field(description="Name of the network.")
    classes: int = Field(description="Number of classes.")
    mode: str | None = Field(
        description='"L" for grey images, "RGB" for coloured ones; null for a classifier of texts.'
    )
    side: int | None = Field(
        description="Length in pixels to which the shorter side of an image is resized; null likewise."
    )
    guarantee: ModelGuarantee | None = Field(description="The risk guarantee; null if there is none.")
    meaning: str = Field(description="For which inputs P(correct) is a probability.")
    levels: list[float] = Field(description="Levels of the quantiles of each layer.")
    examples: list[ModelExample] = Field(description="Images to try.")
    server: str = Field(description="Fingerprint of the other fields; POST /judge/details returns it, too.")
    largest: int = Field(description="Largest request body in bytes.")
    pixels: int = Field(description="Number of pixels of the largest image.")


def page_routes(page: Page, model: Model) -> APIRouter:
    """Return the routes of the page: its files, `GET /model` and the examples.

    Args:
        page: what the page shows.
        model: the answer to `GET /model`, see `described`.
    """
    router = APIRouter()
    files = {path.name: (_TYPES[path.suffix], path.read_bytes()) for path in _FOLDER.iterdir() if path.suffix in _TYPES}
    examples = {str(number): example for number, example in enumerate(page.examples)}

    @router.get("/", include_in_schema=False)
    async def index() -> Response:
        return _file(*files["index.html"])

    @router.get("/page/{name}", include_in_schema=False)
    async def file(name: str) -> Response:
        if name not in files:
            raise HTTPException(404, f"there is no page/{name}")
        return _file(*files[name])

    @router.get("/examples/{number}", include_in_schema=False)
    async def example(number: str) -> Response:
        if number not in examples:
            raise HTTPException(404, f"there is no example {number}; there are {len(examples)}, numbered from 0")
        return _file("image/png", examples[number].content)

    @router.get("/model", response_model=Model, summary="Describe the network and what the server takes")
    async def describe() -> Any:
        return model

    return router


def _file(kind: str, content: bytes) -> Response:
    return Response(content, media_type=kind, headers=_HEADERS)


def described(page: Page, limits: Limits) -> Model:
    """Return the answer to `GET /model`.

    Args:
        page: what the page shows.
        limits: limits of the server.
    """
    from gradmeter.trust.layer_ranges import LEVELS

    model = Model(
        server="",
        model=page.model,
        classes=page.classes,
        mode=page.mode,
        side=page.side,
        guarantee=None if page.guarantee is None else _guarantee(page.guarantee),
        meaning=page.meaning,
        levels=list(LEVELS),
        examples=[
            ModelExample(name=example.name, address=f"examples/{number}", light=example.light)
            for number, example in enumerate(page.examples)
        ],
        largest=limits.largest,
        pixels=limits.pixels,
    )
    examples = b"".join(hashlib.sha256(example.content).digest() for example in page.examples)
    fingerprint = hashlib.sha256(model.model_dump_json().encode() + examples).hexdigest()
    return model.model_copy(update={"server": fingerprint})


def _guarantee(guarantee: "Guarantee") -> ModelGuarantee:
    return ModelGuarantee(
        risk=guarantee.risk,
        confidence=guarantee.confidence,
        threshold=guarantee.threshold,
        score=guarantee.score,
    )
