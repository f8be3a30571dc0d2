"""How a user named a classifier: what it takes to open the same one again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from gradmeter.errors import DataError, one_line
from gradmeter.names import decode_name, encode_name
from gradmeter.sources.models.classifier import Classifier
from gradmeter.sources.models.kinds import runs_code
from gradmeter.sources.models.opening import open_model
from gradmeter.sources.models.preprocessing import ImageOptions
from gradmeter.stages import stage


@dataclass(frozen=True)
class Recipe:
    """MODEL and what was said about it.

    Attributes:
        model: "timm:NAME", "torchvision:NAME", "hf:NAME_OR_FOLDER" or "package.module:function".
        weights: a file; None for the published weights.
        classes: names of the classes, encoded by `encode_name`; None for those that the model or the file of weights
            brings.
        options: what differs from the model's own preprocessing.
    """

    model: str
    weights: Path | None = None
    classes: tuple[str, ...] | None = None
    options: ImageOptions = field(default_factory=ImageOptions)

    @property
    def runs_code(self) -> bool:
        """Whether opening it calls a function of the user's."""
        return runs_code(self.model)

    def open(self, device: str = "cpu") -> Classifier:
        """The classifier, on the CPU, after it has answered once.

        Args:
            device: where it is tried.

        Raises:
            Those of `open_model`, and:
            InputError, UnsupportedModelError: if there is no such device, the network has no answer to noise, or there
                are more or fewer names than classes.
        """
        with stage(f"opening {self.model}"):
            classifier = open_model(self.model, self.weights, self.options)
            if self.classes is not None:
                classifier = classifier.named(self.classes)
            classifier.move(device)
            classifier.require_names()
            classifier.move("cpu")
        return classifier

    def to_json(self) -> dict[str, Any]:
        """JSON values; paths are absolute, and encoded by `encode_name`."""
        weights = None if self.weights is None else encode_name(str(self.weights.resolve()))
        kind, _, name = self.model.partition(":")
        model = encode_name(f"hf:{Path(name).resolve()}" if kind == "hf" and Path(name).is_dir() else self.model)
        return {"model": model, "weights": weights, "classes": self.classes, "options": asdict(self.options)}

    @classmethod
    def from_json(cls, given: Mapping[str, Any]) -> Recipe:
        """What `to_json` made.

        Raises:
            DataError: for anything else.
        """
        try:
            options: dict[str, Any] = {
                name: tuple(value) if isinstance(value, list) else value for name, value in given["options"].items()
            }
            weights, classes = given["weights"], given["classes"]
            return cls(
                decode_name(given["model"]),
                None if weights is None else Path(decode_name(weights)),
                None if classes is None else tuple(classes),
                ImageOptions(**options),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise DataError(f"the note on the model is damaged ({one_line(error)}); fit the TrustModel anew") from error
