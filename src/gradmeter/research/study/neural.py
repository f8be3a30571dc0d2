"""The neural meta classifiers of all runs, trained together in one batched module (R18), and their file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from gradmeter.research.study.classifiers import tasks
from gradmeter.research.study.options import StudyOptions
from gradmeter.research.study.outcome import Outcome
from gradmeter.research.study.tensors import read_tensors, write_tensors
from gradmeter.trust.neural import NetworkBank, train_networks


def train_bank(
    path: Path, readings: Sequence[Path], options: StudyOptions, on_epoch: Callable[[int, int], None]
) -> None:
    """Train runs x tasks x initialisations networks at once and save them.

    Args:
        path: the file they go to, whole or not at all.
        readings: the folder of readings of each run.
        options: of the study.
        on_epoch: called with the epoch and the number of networks that still learn.
    """
    data = []
    for folder in readings:
        outcome = Outcome.load(folder)
        data += [task.meta_data(outcome, whole_gradient=options.whole_gradient) for task in tasks(outcome)]
    bank = train_networks(data, options.initialisations, options.seed, on_epoch=on_epoch)
    per_run = {name: tensor.unflatten(0, (len(readings), -1)) for name, tensor in bank.tensors().items()}
    write_tensors(path, per_run, {"runs": len(readings)})


def read_bank(path: Path, run: int) -> NetworkBank:
    """The networks of one run, in the order of its tasks."""
    return NetworkBank(**{name: tensor[run] for name, tensor in read_tensors(path)[0].items()})
