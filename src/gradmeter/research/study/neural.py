"""The neural meta classifiers of all runs: batched training, and their file."""

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
    """Train the networks of all runs, tasks and initialisations together and save them.

    Args:
        path: output file, written atomically.
        readings: folder of readings of each run.
        options: options of the study.
        on_epoch: called with the epoch and the number of networks still in training.
    """
    data = []
    for folder in readings:
        outcome = Outcome.load(folder)
        data += [task.meta_data(outcome, whole_gradient=options.whole_gradient) for task in tasks(outcome)]
    bank = train_networks(data, options.initialisations, options.seed, on_epoch=on_epoch)
    per_run = {name: tensor.unflatten(0, (len(readings), -1)) for name, tensor in bank.tensors().items()}
    write_tensors(path, per_run, {"runs": len(readings)})


def read_bank(path: Path, run: int) -> NetworkBank:
    """Read the networks of one run, in the order of its tasks."""
    return NetworkBank(**{name: tensor[run] for name, tensor in read_tensors(path)[0].items()})
