"""A trained classifier with its preprocessing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from gradmeter.errors import DataError, InputError, UnsupportedModelError
from gradmeter.names import listed, look_alike
from gradmeter.reading.network import NO_VALUES
from gradmeter.sources.models.answering import trial_logits
from gradmeter.sources.models.array_batch import ArrayBatch
from gradmeter.sources.same_outputs import are_close, excerpt
from gradmeter.sources.samples import ArrayKind, ImageKind, Source
from gradmeter.sources.samples.splits import are_splits

# The most class names in an error, and in a note on their numbers.
_LISTED = 12
_SHOWN = 3
# The most classes in an excerpt of the logits of the trial.
_EXCERPT = 16
# `gradmeter evaluate` has no option --classes.
_GIVE = "give --classes (for a TrustModel, to gradmeter fit)"
_RENAME = f"rename the folders or {_GIVE}"


@dataclass(frozen=True)
class Classifier:
    """A network in eval mode and its preprocessing.

    Attributes:
        name: the name given by the user, encoded by `encode_name`.
        network: maps a batch to logits [N, C].
        classes: the names of the C classes, encoded by `encode_name`; None if they are unknown.
        image: the images that it takes; None for a classifier of texts or arrays.
        batch: maps decoded images, texts or arrays to a batch.
        arrays: the arrays that it takes; None for a classifier of images or texts.
    """

    name: str
    network: nn.Module
    classes: tuple[str, ...] | None
    image: ImageKind | None
    batch: Callable[[Sequence[Any]], Tensor | Mapping[str, Tensor]]
    arrays: ArrayKind | None = None

    @property
    def texts(self) -> bool:
        """Whether it takes texts."""
        return self.image is None and self.arrays is None

    @cached_property
    def trial(self) -> Tensor:
        """Logits [2, C] for two images of noise, two short texts, or two random arrays.

        Raises:
            InputError, UnsupportedModelError: if the network fails on them.
        """
        return trial_logits(self).cpu()

    @property
    def outputs(self) -> int:
        """The number of classes C; raises as `trial`."""
        return int(self.trial.shape[1])

    def answers_as(self, trial: Sequence[Sequence[float]]) -> bool:
        """Whether the logits of `trial` are close to saved ones, with a tolerance for other machines and versions."""
        return are_close(self.trial.double().tolist(), trial)

    def trial_excerpt(self) -> list[list[float]]:
        """Logits of `trial` for a few of the classes, to recognise a network whose code has changed."""
        return excerpt(self.trial, _EXCERPT)

    def move(self, device: str) -> None:
        """Move the network to a device.

        Raises:
            InputError: if the device does not exist, or has too little memory or no values.
            UnsupportedModelError: if the network has no values.
        """
        for name, tensor in chain(self.network.named_parameters(), self.network.named_buffers()):
            if tensor.is_meta:
                raise UnsupportedModelError(f"{self.name}: {name!r} {NO_VALUES}")
        try:
            if torch.device(device).type == "meta":
                raise RuntimeError("its tensors have no values")
            self.network.to(device)
        except (RuntimeError, AssertionError, ImportError) as error:  # torch raises any of these for a missing device
            reason = str(error).partition("\n")[0]
            raise InputError(f"--device {device}: {reason}; expected {_devices()}") from error

    def require_names(self) -> None:
        """Check that the network works, and that each class has a name if there are class names.

        Raises:
            InputError: if the number of names differs from the number of classes.
            Those of `outputs`.
        """
        outputs = self.outputs
        if self.classes is not None and len(self.classes) != outputs:
            raise wrong_names(self, outputs)

    def class_numbers(self, source: Source) -> dict[int, int] | None:
        """A mapping from class numbers of a source to class numbers of the network, matched by name.

        Returns:
            The mapping; None if the classes of the source or of the network have no names.

        Raises:
            DataError: if a class of the source is not a class of the network or matches several, if the network's
                classes have no names and the numbers of classes differ, or if the classes of the source are named after
                parts of a data set, such as "train" and "test", and are not the network's.
        """
        if source.classes is None:
            return None
        if are_splits(source.classes) and not {*source.classes} <= {*(self.classes or ())}:
            raise DataError(
                f"{source.name} has the classes {_listed(source.classes)}, which are named after parts of a data set; "
                "expected one folder for each class: give one of the parts, or --classes if these are the classes"
            )
        if self.classes is None:
            if len(source.classes) != self.outputs:
                raise DataError(
                    f"{source.name} has {len(source.classes)} classes {_listed(source.classes)}, but {self.name} has "
                    f"{self.outputs} without names; give --classes, the names in the order of the network's outputs"
                )
            return None
        numbers = {name: number for number, name in enumerate(self.classes)}
        if any(name not in numbers for name in source.classes):
            if (alike := look_alike(source.name, source.classes, self.name, self.classes)) is not None:
                raise DataError(f"{alike}; {_RENAME}")
            raise DataError(
                f"{source.name} has the classes {_listed(source.classes)}, but {self.name} has "
                f"{_listed(self.classes)}; expected the same names: {_RENAME}"
            )
        if source.classes == self.classes:
            return {number: number for number in range(len(self.classes))}
        ambiguous = [name for name in source.classes if self.classes.count(name) > 1]
        if ambiguous:
            raise DataError(
                f"{source.name} has the class {ambiguous[0]}, but {self.name} has "
                f"{self.classes.count(ambiguous[0])} classes of that name; expected one: give --classes with unique "
                "names, and rename the folders"
            )
        if len({*source.classes}) < len(source.classes):
            repeated = next(name for name in source.classes if source.classes.count(name) > 1)
            raise DataError(
                f"{source.name} has {source.classes.count(repeated)} classes named {repeated}; expected unique "
                f"names, or those of {self.name}"
            )
        return {number: numbers[name] for number, name in enumerate(source.classes)}

    def numbering(self, source: Source) -> str | None:
        """A note on which class of the source has which number, if classes are matched by their order only."""
        if source.classes is None or self.classes is not None:
            return None
        pairs = [f"{name} is {number}" for number, name in enumerate(source.classes)]
        rest = ["and so on"] if len(pairs) > _SHOWN else []
        return (
            f"{source.name}: the classes are numbered: {', '.join(pairs[:_SHOWN] + rest)}; "
            f"{_GIVE} to match them by name"
        )

    def resized(self, source: Source) -> str | None:
        """A note on arrays of another size than those that the classifier was opened for, which may look unknown."""
        if self.arrays is None or source.arrays is None:
            return None
        sizes, expected = ([field.shape for field in kind.fields] for kind in (source.arrays, self.arrays))
        if sizes == expected:
            return None
        return (
            f"{source.name}: its arrays are {source.arrays}, those of the first data are {self.arrays}; samples of "
            "another size may look unknown for that reason alone"
        )

    def named(self, classes: Sequence[str]) -> Classifier:
        """A copy of this classifier with other class names.

        Raises:
            InputError: if a name is repeated.
        """
        if len(set(classes)) != len(classes):
            raise InputError(f"classes {_listed(classes)}; expected unique names")
        return replace(self, classes=tuple(classes))

    def for_arrays(self, arrays: ArrayKind) -> Classifier:
        """A copy of this classifier that takes arrays as they are, without the preprocessing."""
        return replace(self, image=None, batch=ArrayBatch.of(arrays, self.network), arrays=arrays)


def wrong_names(classifier: Classifier, outputs: int) -> InputError:
    """The error for a number of class names that differs from the number of classes."""
    count = len(classifier.classes or ())
    given = "1 class name" if count == 1 else f"{count} class names"
    return InputError(f"{given}, but {classifier.name} has {outputs} classes; expected a name for each")


def _listed(names: Sequence[str]) -> str:
    return f"({listed(names, _LISTED)})"


def _devices() -> str:
    """The devices of this machine, in words."""
    accelerators = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    devices = ["cpu", *(name for name, available in accelerators.items() if available)]
    return f"{' or '.join(devices)} on this machine"
