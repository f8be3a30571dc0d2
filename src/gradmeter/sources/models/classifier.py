"""A trained classifier together with what turns samples into its inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from gradmeter.errors import DataError, InputError
from gradmeter.sources.models.answering import trial_logits
from gradmeter.sources.samples import ImageKind, Source

_LISTED = 12
_SHOWN = 3
# How far an answer to the trial may be from an earlier one, relative to the largest logit.
_SAME_ANSWER = 0.1


@dataclass(frozen=True)
class Classifier:
    """A network in eval mode and its preprocessing.

    Attributes:
        name: as the user gave it, encoded by `encode_name`.
        network: maps a batch to logits [N, C].
        classes: names of the C classes, encoded by `encode_name`; None where nobody named them.
        image: what an image is decoded to; None for a classifier of texts.
        batch: from decoded images, or texts, to the network's inputs.
    """

    name: str
    network: nn.Module
    classes: tuple[str, ...] | None
    image: ImageKind | None
    batch: Callable[[Sequence[Any]], Tensor | Mapping[str, Tensor]]

    @cached_property
    def trial(self) -> Tensor:
        """Logits [2, C] with which the network answers to noise, or to two short texts.

        Raises:
            InputError, UnsupportedModelError: if it has no answer.
        """
        return trial_logits(self).cpu()

    @property
    def outputs(self) -> int:
        """The number of classes C; raises as `trial`."""
        return int(self.trial.shape[1])

    def answers_as(self, trial: Sequence[Sequence[float]]) -> bool:
        """Whether it answers the trial as a network did before, but for what other machines and versions make of it."""
        before = torch.tensor(trial, dtype=torch.float64)
        here = self.trial.double()
        return here.shape == before.shape and bool((here - before).abs().max() <= _SAME_ANSWER * before.abs().max())

    def move(self, device: str) -> None:
        """Bring the network to a device.

        Raises:
            InputError: if there is no such device, or it has too little memory.
        """
        try:
            self.network.to(device)
        except (RuntimeError, AssertionError, ImportError) as error:  # torch raises each where there is no such device
            reason = str(error).partition("\n")[0]
            raise InputError(f"--device {device}: {reason}; expected {_devices()}") from error

    def require_names(self) -> None:
        """Check that the network answers, and that there is a name for each class, where there are names.

        Raises:
            InputError: if there are more or fewer.
            Those of `outputs`.
        """
        outputs = self.outputs
        if self.classes is not None and len(self.classes) != outputs:
            raise wrong_names(self, outputs)

    def class_numbers(self, source: Source) -> dict[int, int] | None:
        """From the source's numbers of classes to the network's, by name; None where there is nothing to match.

        Raises:
            DataError: if a class of the source is none of the network's, or several, or the network's have no names and
                the source has more or fewer.
        """
        if source.classes is None:
            return None
        if self.classes is None:
            if len(source.classes) != self.outputs:
                raise DataError(
                    f"{source.name} has {len(source.classes)} classes {_listed(source.classes)}, but {self.name} has "
                    f"{self.outputs}, which nobody named; give --classes, their names in the network's order"
                )
            return None
        numbers = {name: number for number, name in enumerate(self.classes)}
        if any(name not in numbers for name in source.classes):
            raise DataError(
                f"{source.name} has the classes {_listed(source.classes)}, but {self.name} knows "
                f"{_listed(self.classes)}; expected the same names: rename the folders or give --classes"
            )
        if source.classes == self.classes:
            return {number: number for number in range(len(self.classes))}
        ambiguous = [name for name in source.classes if self.classes.count(name) > 1]
        if ambiguous:
            raise DataError(
                f"{source.name} has the class {ambiguous[0]}, and {self.name} has "
                f"{self.classes.count(ambiguous[0])} classes of that name; expected one: give --classes with a name "
                "for each, and rename the folders"
            )
        return {number: numbers[name] for number, name in enumerate(source.classes)}

    def numbering(self, source: Source) -> str | None:
        """Which class of the source is taken for which of the network's, where nothing but their order says so."""
        if source.classes is None or self.classes is not None:
            return None
        pairs = [f"{name} is {number}" for number, name in enumerate(source.classes)]
        rest = ["and so on"] if len(pairs) > _SHOWN else []
        return (
            f"{source.name}: the classes are numbered in the order of their names: {', '.join(pairs[:_SHOWN] + rest)}; "
            "give --classes to name them"
        )

    def named(self, classes: Sequence[str]) -> Classifier:
        """The same classifier with other names of its classes."""
        if len(set(classes)) != len(classes):
            raise InputError(f"classes {_listed(classes)}: expected each name once")
        return Classifier(self.name, self.network, tuple(classes), self.image, self.batch)


def wrong_names(classifier: Classifier, outputs: int) -> InputError:
    """The error for more or fewer names than classes."""
    count = len(classifier.classes or ())
    named = "1 class is named" if count == 1 else f"{count} classes are named"
    return InputError(f"{named}, but {classifier.name} has {outputs}; expected a name for each")


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_LISTED])
    return f"({shown}, ... {len(names)} in all)" if len(names) > _LISTED else f"({shown})"


def _devices() -> str:
    """What `--device` takes on this machine."""
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    found = [name for name, available in there.items() if available]
    return f"{' or '.join(['cpu', *found])}, the devices of this machine" if found else "cpu, there is no other here"
