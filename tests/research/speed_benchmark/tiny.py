"""Small networks, methods and tasks; in a module, since measurements in separate processes import them."""

import multiprocessing
import os
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

from apps.cli.commands import patient_main
from forked import fork_server
from gradmeter.research.speed_benchmark import memory
from gradmeter.research.speed_benchmark.methods import Method, Prepared
from gradmeter.research.speed_benchmark.models import MODELS, Model
from gradmeter.research.threads import torch_threads


def two_layers() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 5), nn.ReLU(inplace=True), nn.Linear(5, 4))


def convolutions() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 36, 3))


class Scaled(nn.Module):
    """A network with a parameter of its own, and with a branch that is switched off at first."""

    def __init__(self) -> None:
        super().__init__()
        self.layer_scale = nn.Parameter(torch.full((6,), 1e-6))
        self.dense = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.dense(x + self.layer_scale * x)
        return logits


class Segmenter(nn.Module):
    """A network whose layers have the names of the benchmark's."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(3, 5, 3, stride=2, padding=1)
        layers = [nn.Identity(), nn.Conv2d(5, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6), nn.ReLU()]
        self.classifier = nn.Sequential(*layers, nn.Conv2d(6, 4, 1))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        logits = self.classifier(self.body(x))
        return {"out": nn.functional.interpolate(logits, size=x.shape[2:], mode="bilinear")}


def tiny_segmenter() -> nn.Module:
    return Segmenter()


FORKING = SimpleNamespace(get_context=lambda method: fork_server(), parent_process=multiprocessing.parent_process)
"""In place of `multiprocessing`: processes are forked, while others take seconds to load PyTorch."""

TINY = Model("Two layers", two_layers, (6,), 5, target=1.0, stretch_target=0.5, best_plain_target=1.2)
IMAGES = Model("Convolutions", convolutions, (1, 8, 8), 12)
SCALED = Model("Scaled", Scaled, (6,), 3)


def refuse(network: nn.Module, inputs: Tensor) -> Prepared:
    raise NotImplementedError("no | such\nlayers")


def die(network: nn.Module, inputs: Tensor) -> Prepared:
    os._exit(9)


def tire(network: nn.Module, inputs: Tensor) -> Prepared:
    """Return a method that runs with one thread and raises with several."""

    def run(batch: Tensor) -> Tensor:
        if torch.get_num_threads() > 1:
            raise RuntimeError("tired")
        return batch.new_ones(len(batch))

    return Prepared(run, "rested")


REFUSING = Method("refusing", "peer", refuse, "nothing")
DYING = Method("dying", "peer", die, "nothing")
TIRING = Method("tiring", "peer", tire, "1 number")


def double(number: int) -> int:
    return 2 * number


def fail(message: str) -> None:
    raise ValueError(message)


def vanish() -> None:
    os._exit(9)


def sleep() -> None:
    time.sleep(60)


def in_this_process(task: Callable[..., Any], *arguments: Any, seconds: float) -> Any:
    """In place of `run_isolated`: no process is started, and the many freed blocks of this one are kept."""
    with torch_threads(torch.get_num_threads()), mock.patch.object(memory, "return_freed_memory"):
        return task(*arguments)


def process_id() -> int:
    return os.getpid()


def main_with_tiny() -> None:
    """The command line, with a tiny network beside those of the benchmark."""
    MODELS["tiny"] = TINY
    patient_main()
