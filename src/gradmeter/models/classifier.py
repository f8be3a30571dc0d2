"""A trained classifier together with what turns samples into its inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from gradmeter.errors import DataError, InputError
from gradmeter.samples import ImageKind, Source

_LISTED = 12


@dataclass(frozen=True)
class Classifier:
    """A network in eval mode and its preprocessing.

    Attributes:
        name: as the user gave it.
        network: maps a batch to logits [N, C].
        classes: names of the C classes; None where nobody named them.
        image: what an image is decoded to; None for a classifier of texts.
        batch: from decoded images, or texts, to the network's inputs.
    """

    name: str
    network: nn.Module
    classes: tuple[str, ...] | None
    image: ImageKind | None
    batch: Callable[[Sequence[Any]], Tensor | Mapping[str, Tensor]]

    def class_numbers(self, source: Source) -> dict[int, int] | None:
        """From the source's numbers of classes to the network's, by name; None where there is nothing to match.

        Raises:
            DataError: if a class of the source is none of the network's.
        """
        if source.classes is None or self.classes is None:
            return None
        numbers = {name: number for number, name in enumerate(self.classes)}
        if any(name not in numbers for name in source.classes):
            raise DataError(
                f"{source.name} has the classes {_listed(source.classes)}, but {self.name} knows "
                f"{_listed(self.classes)}; expected the same names: rename the folders or give --classes"
            )
        return {number: numbers[name] for number, name in enumerate(source.classes)}

    def named(self, classes: Sequence[str]) -> Classifier:
        """The same classifier with other names of its classes."""
        if len(set(classes)) != len(classes):
            raise InputError(f"classes {_listed(classes)}: expected each name once")
        return Classifier(self.name, self.network, tuple(classes), self.image, self.batch)


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_LISTED])
    return f"({shown}, ... {len(names)} in all)" if len(names) > _LISTED else f"({shown})"
