"""What an ONNX file says about the network and its judge, beside the graph."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gradmeter.apps.onnx.preprocessing import ImageSteps
from gradmeter.errors import DataError, one_line
from gradmeter.sources.samples import ArrayKind

FORMAT = 2
_PREFIX = "gradmeter."
CHECKSUM = f"{_PREFIX}checksum"
"""The key of the checksum, `gradmeter.apps.onnx.checksum.checksum_of`, as JSON like the others."""


@dataclass(frozen=True)
class Metadata:
    """The metadata of an ONNX file that `gradmeter export` wrote; each attribute is JSON under "gradmeter.NAME".

    Attributes:
        model: name of the network.
        classes: names of the classes; None if they have none.
        preprocessing: how an image becomes an input; None if the file does not say so.
        arrays: the array that is an input as it is; None for images.
        guarantee: the attributes of the risk guarantee; None without one.
        meaning: for which inputs P(correct) is a probability.
        layers: what the numbers of the output "unfamiliar_layers" stand for: layers of the network, or "embedding".
        fingerprint: of the TrustModel.
        versions: of the packages that wrote the file.
    """

    model: str
    classes: tuple[str, ...] | None
    preprocessing: ImageSteps | None
    arrays: ArrayKind | None
    guarantee: Mapping[str, Any] | None
    meaning: str
    layers: tuple[str, ...]
    fingerprint: str
    versions: Mapping[str, str]

    def to_properties(self) -> dict[str, str]:
        """The metadata of an ONNX model."""
        values = {
            "format": FORMAT,
            "model": self.model,
            "classes": self.classes,
            "preprocessing": None if self.preprocessing is None else self.preprocessing.to_json(),
            "arrays": None if self.arrays is None else self.arrays.to_json(),
            "guarantee": self.guarantee,
            "meaning": self.meaning,
            "layers": self.layers,
            "fingerprint": self.fingerprint,
            "versions": dict(self.versions),
        }
        return {_PREFIX + name: json.dumps(value) for name, value in values.items()}

    @classmethod
    def from_properties(cls, name: str, properties: Mapping[str, str]) -> Metadata:
        """Invert `to_properties`.

        Args:
            name: of the file, for messages.
            properties: the metadata of an ONNX model.

        Raises:
            DataError: if they are not from `to_properties`, or from a later version.
        """
        if not is_judged(properties):
            raise DataError(f"{name} holds a network without a judge; expected a file that gradmeter export wrote")
        try:
            values = {
                key.removeprefix(_PREFIX): json.loads(value)
                for key, value in properties.items()
                if key.startswith(_PREFIX) and key != CHECKSUM
            }
            json.dumps(values, ensure_ascii=False).encode()  # no surrogates, which cannot be written
            if values["format"] != FORMAT:
                raise DataError(
                    f"{name} has format {values['format']}; this version reads format {FORMAT}: export again"
                )
            classes, steps, arrays = values["classes"], values["preprocessing"], values["arrays"]
            return cls(
                str(values["model"]),
                None if classes is None else tuple(map(str, classes)),
                None if steps is None else ImageSteps.from_json(steps),
                None if arrays is None else ArrayKind.from_json(arrays),
                None if values["guarantee"] is None else dict(values["guarantee"]),
                str(values["meaning"]),
                tuple(map(str, values["layers"])),
                str(values["fingerprint"]),
                dict(values["versions"]),
            )
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
            if isinstance(error, DataError):
                raise
            raise DataError(f"the metadata of {name} is damaged ({one_line(error)}); export again") from error


def is_judged(properties: Mapping[str, str]) -> bool:
    """Whether the metadata are those of a file that `gradmeter export` wrote, in any version."""
    return _PREFIX + "format" in properties
