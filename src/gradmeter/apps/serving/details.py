"""The verdict on a prediction, and its details: the probability of each class, and what each layer shows.

This module does not import `annotations` from `__future__`: FastAPI evaluates annotations in another process.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, Field

if TYPE_CHECKING:  # the gate of the server loads this module, and does not need PyTorch
    from gradmeter.reading.readings import Readings
    from gradmeter.trust.judge import Judge
    from gradmeter.trust.layer_ranges import LayerValues

MOST_CLASSES = 20
"""The most classes in an answer: those with the highest probabilities."""


class Verdict(BaseModel):
    """The verdict on a prediction."""

    prediction: str = Field(description="Name of the predicted class, or its number if the classes have no names.")
    probability: float = Field(ge=0, le=1, description="Probability of that class according to the network.")
    p_known: float | None = Field(
        ge=0,
        le=1,
        description="P(known), the probability that the network has learned this kind of input; null if the meta "
        "classifier does not tell known from unknown inputs.",
    )
    p_correct_if_known: float | None = Field(
        ge=0,
        le=1,
        description="P(correct | known), the probability that the prediction is correct if the input is "
        "known; null likewise.",
    )
    p_correct: float = Field(ge=0, le=1, description="P(correct), the probability that the prediction is correct.")
    accepted: bool | None = Field(
        description="Whether to accept the prediction under the risk guarantee; null without a guarantee."
    )
    reason: str | None = Field(
        description='Why the prediction is not accepted: "doubtful", or "unfamiliar" and the layers in which the input '
        "is farthest from known ones; null if it is accepted, or without a guarantee."
    )


class ClassProbability(BaseModel):
    """The probability of a class."""

    name: str = Field(description="Name of the class, or its number if the classes have no names.")
    probability: float = Field(ge=0, le=1, description="Its probability according to the network.")


class LayerReading(BaseModel):
    """What a layer shows for the input."""

    layer: str = Field(description="Name of the layer.")
    measure: str = Field(
        description='"gradient", log10 of the Euclidean norm of the layer\'s gradient if the prediction were true: how '
        'much it would have to re-learn; or "distance", log10 of the distance of its output from those of known inputs.'
    )
    value: float = Field(description="The value of the measure.")
    quantiles: list[float] | None = Field(
        description="Quantiles of the measure for right predictions on validation data, at the levels of GET /model; "
        "null if the TrustModel does not have them."
    )
    objects: bool | None = Field(
        description="Whether the value is above that of 95 % of the right predictions; null without quantiles."
    )


class DetailedVerdict(Verdict):
    """The verdict on a prediction, and its details."""

    probabilities: list[ClassProbability] = Field(
        description=f"The {MOST_CLASSES} most probable classes, the most probable first."
    )
    layers: list[LayerReading] = Field(
        description="What each layer shows, in the order of the network; empty if the TrustModel reads no layers."
    )
    server: str = Field(
        description="Fingerprint of what GET /model says; another one than there means that the server was restarted "
        "with another network, TrustModel or limits."
    )


@dataclass(frozen=True)
class Details:
    """Returns the details of predictions: the fields that `DetailedVerdict` adds to `Verdict`.

    Attributes:
        judge: the meta classifier.
        classes: names of the classes; None if they have none.
    """

    judge: "Judge"
    classes: tuple[str, ...] | None

    def __call__(self, readings: "Readings") -> list[dict[str, Any]]:
        """Return the details of N predictions."""
        softmax = readings.logits.double().softmax(dim=1).cpu().numpy()
        layers = self.judge.layer_values(readings)
        return [
            {
                "probabilities": self._most_probable(probabilities),
                "layers": [record for values in layers for record in _records(values, row)],
            }
            for row, probabilities in enumerate(softmax)
        ]

    def _most_probable(self, probabilities: Sequence[float]) -> list[dict[str, Any]]:
        order = np.argsort(-np.asarray(probabilities), kind="stable")[:MOST_CLASSES]
        return [
            {
                "name": str(index) if self.classes is None else self.classes[index],
                "probability": min(float(probabilities[index]), 1.0),
            }
            for index in order
        ]


def _records(values: "LayerValues", row: int) -> list[dict[str, Any]]:
    """Return one record for each layer of one prediction."""
    objections = values.objections
    return [
        {
            "layer": layer,
            "measure": values.measure,
            "value": float(values.values[row, column]),
            "quantiles": None if values.quantiles is None else values.quantiles[column].tolist(),
            "objects": None if objections is None else bool(objections[row, column]),
        }
        for column, layer in enumerate(values.layers)
    ]
