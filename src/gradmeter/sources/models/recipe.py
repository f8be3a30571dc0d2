"""The arguments that open a classifier, to save them and open the same classifier again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from gradmeter.errors import DataError, InputError, one_line
from gradmeter.names import decode_name, encode_name
from gradmeter.sources.models.classifier import Classifier
from gradmeter.sources.models.kinds import runs_code
from gradmeter.sources.models.opening import open_model
from gradmeter.sources.models.preprocessing import ImageOptions
from gradmeter.sources.samples import ArrayKind
from gradmeter.stages import stage


@dataclass(frozen=True)
class Recipe:
    """MODEL and its options.

    Attributes:
        model: "timm:NAME", "torchvision:NAME", "hf:NAME_OR_FOLDER" or "package.module:function".
        weights: a file of weights; None for the published weights.
        classes: the class names, encoded by `encode_name`; None for those of the model or of the file of weights.
        options: changes to the model's own preprocessing.
        arrays: the arrays that the network gets as they are; None for images or texts.
    """

    model: str
    weights: Path | None = None
    classes: tuple[str, ...] | None = None
    options: ImageOptions = field(default_factory=ImageOptions)
    arrays: ArrayKind | None = None

    @property
    def runs_code(self) -> bool:
        """Whether opening it calls a function of the user."""
        return runs_code(self.model)

    def open(self, device: str = "cpu") -> Classifier:
        """Open the classifier, try it on two samples and return it on the CPU.

        Args:
            device: the device for the trial.

        Raises:
            Those of `open_model`, and:
            InputError, UnsupportedModelError: if the device does not exist, the network fails in the trial, or the
                number of class names differs from the number of classes.
        """
        with stage(f"opening {self.model}"):
            classifier = open_model(self.model, self.weights, self.options, self.arrays)
            if self.classes is not None:
                classifier = classifier.named(self.classes)
            classifier.move(device)
            classifier.require_names()
            classifier.move("cpu")
        return classifier

    def to_json(self) -> dict[str, Any]:
        """The attributes as JSON values, with absolute paths, encoded by `encode_name`."""
        weights = None if self.weights is None else encode_name(str(self.weights.resolve()))
        kind, _, name = self.model.partition(":")
        model = encode_name(f"hf:{Path(name).resolve()}" if kind == "hf" and Path(name).is_dir() else self.model)
        values = {"model": model, "weights": weights, "classes": self.classes, "options": asdict(self.options)}
        return values if self.arrays is None else {**values, "arrays": self.arrays.to_json()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Recipe:
        """Invert `to_json`.

        Raises:
            DataError: if the values are not from `to_json`.
        """
        try:
            options: dict[str, Any] = {
                name: tuple(value) if isinstance(value, list) else value for name, value in values["options"].items()
            }
            weights, classes, arrays = values["weights"], values["classes"], values.get("arrays")
            return cls(
                decode_name(values["model"]),
                None if weights is None else Path(decode_name(weights)),
                None if classes is None else tuple(classes),
                ImageOptions(**options),
                None if arrays is None else ArrayKind.from_json(arrays),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise DataError(
                f"the saved options of the model are damaged ({one_line(error)}); fit the TrustModel again"
            ) from error
        except InputError as error:  # an earlier version took them
            raise DataError(
                f"the TrustModel was fitted with {error}; fit it again, or judge with the earlier version of gradmeter"
            ) from error
