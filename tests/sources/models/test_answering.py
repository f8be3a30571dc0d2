"""The error for a network that fails states the input, the size that a layer expects, and the option to try."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gradmeter.errors import InputError, UnsupportedModelError
from gradmeter.reading.inputs import Inputs
from gradmeter.runs.measuring import Work, measure
from gradmeter.sources.models import Classifier, ImageOptions, Recipe
from gradmeter.sources.models.answering import explained, failures_alone
from gradmeter.sources.models.array_batch import ArrayBatch
from gradmeter.sources.samples import open_source
from gradmeter.sources.samples.array_kind import ArrayField, ArrayKind

SIDE = 8


class OwnError(Exception):
    pass


def conv(channels: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(channels, 4, 3), nn.Flatten(), nn.Linear(4 * 36, 2))


class Failing(nn.Module):
    """A linear layer, followed by a given function."""

    def __init__(self, fail: Any) -> None:
        super().__init__()
        self.linear, self.fail = nn.Linear(3 * SIDE * SIDE, 2), fail

    def forward(self, images: Tensor) -> Any:
        return self.fail(self.linear(images.flatten(1)))


def raising(error: BaseException) -> Any:
    def fail(logits: Tensor) -> Any:
        raise error

    return fail


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Open a network as the command line does."""

    def open_network(network: nn.Module, *, grey: bool = False) -> Any:
        (tmp_path / "failing_network.py").write_text("network = None\n")
        monkeypatch.syspath_prepend(str(tmp_path))
        import failing_network  # type: ignore[import-not-found]

        monkeypatch.setattr(failing_network, "network", lambda: network)
        return Recipe("failing_network:network", options=ImageOptions(SIDE, grey=grey)).open()

    return open_network


def message(opened: Any, network: nn.Module, *, grey: bool = False) -> str:
    with pytest.raises(InputError) as caught:
        opened(network, grey=grey)
    assert str(caught.value).isprintable()
    return str(caught.value)


@pytest.mark.parametrize(
    ("network", "grey", "words"),
    [
        (conv(1), False, ("(2, 3, 8, 8)", "float32", "'0' (Conv2d)", "in_channels=1", "give --grey")),
        (conv(3), True, ("(2, 1, 8, 8)", "in_channels=3", "--grey")),
        (nn.Sequential(nn.Flatten(), nn.Linear(784, 2)), False, ("in_features=784", "--image-size 28 --grey")),
        (nn.Sequential(nn.Flatten(), nn.Linear(3072, 2)), False, ("in_features=3072", "--image-size 32")),
        (nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(9, 2)), False, ("'2' (Linear)", "--image-size")),
        (nn.Sequential(nn.Embedding(9, 2), nn.Flatten()), False, ("'0' (Embedding)", "num_embeddings=9")),
        (conv(3).half(), False, ("float16", ".float()")),
    ],
)
def test_other_images_than_the_network_takes(
    network: nn.Module, grey: bool, words: tuple[str, ...], opened: Any
) -> None:
    error = message(opened, network, grey=grey)
    assert all(word in error for word in words), error


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("no"),
        TypeError("no"),
        IndexError("no"),
        KeyError("no"),
        AttributeError("no"),
        RecursionError("no"),
        SystemExit(0),
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory"),
        OwnError("first\nsecond \x1b[31m"),
    ],
)
def test_whatever_the_network_raises(error: BaseException, opened: Any) -> None:
    text = message(opened, Failing(raising(error)))
    assert type(error).__name__ in text
    assert "(2, 3, 8, 8)" in text


# The words of PyTorch for a CPU, and of oneDNN.
TOO_LITTLE = (
    "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate "
    "9437184 bytes. Error code 12 (Cannot allocate memory)",
    "could not create a primitive",
)


@pytest.mark.parametrize("words", TOO_LITTLE)
def test_too_little_memory(words: str, opened: Any) -> None:
    text = message(opened, Failing(raising(RuntimeError(words))))
    assert "not enough memory: the network" in text
    assert "--grey" not in text


def test_too_little_memory_is_no_fault_of_a_sample() -> None:
    network = Failing(raising(RuntimeError(TOO_LITTLE[0])))
    classifier = Classifier("mine", network, None, None, nn.Identity())
    with pytest.raises(RuntimeError, match="can't allocate"):
        failures_alone(classifier, Inputs.of(torch.rand(2, 3, SIDE, SIDE)))


def test_code_that_asks_for_a_gpu(opened: Any) -> None:
    error = AssertionError("Torch not compiled with CUDA enabled")
    assert "on the device of its inputs" in message(opened, Failing(raising(error)))


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (IndexError("index out of range in self"), "inputs from 3 to 9: expected integers for which"),
        (RuntimeError("CUDA error: device-side assert triggered"), "inputs from 3 to 9: expected integers for which"),
        (TypeError("missing 1 required positional argument: 'mask'"), "one positional argument: .*'inputs:NAME'"),
        (RuntimeError("no"), "type and shape that MODEL takes"),
        (MemoryError(), "not enough memory: .* or try a smaller network or another --device"),
    ],
)
def test_advice_for_arrays(error: Exception, words: str) -> None:
    kind = ArrayKind((ArrayField("", "int64", (40,), 3, 9),))
    network = nn.Embedding(5, 2)
    classifier = Classifier("mine", network, None, None, ArrayBatch.of(kind, network), kind)
    with pytest.raises(InputError, match=words) as caught, explained(classifier, classifier.batch(kind.noise(2))):
        raise error
    assert str(caught.value).isprintable()
    assert "int64 of shape (2, 40)" in str(caught.value)


@pytest.mark.parametrize(
    "answer",
    [
        lambda logits: None,
        lambda logits: logits.sum(1),
        lambda logits: logits[:1],
        lambda logits: logits * float("nan"),
        lambda logits: {"scores": logits},
        lambda logits: logits * 1j,
    ],
)
def test_what_is_no_logits(answer: Any, opened: Any) -> None:
    message(opened, Failing(answer))


def test_logits_without_a_gradient(opened: Any) -> None:
    with pytest.raises(UnsupportedModelError):
        opened(Failing(torch.detach))
    with pytest.raises(UnsupportedModelError):
        opened(nn.Sequential(nn.Flatten(), nn.LazyLinear(2)))


def test_a_network_that_normalises_each_image_is_tried_with_no_constant_image(opened: Any) -> None:
    class Normalising(Failing):
        def forward(self, images: Tensor) -> Any:
            flat = images.flatten(1)
            return self.linear((flat - flat.mean(1, keepdim=True)) / flat.std(1, keepdim=True))

    assert opened(Normalising(None)).outputs == 2


def test_a_network_that_is_tried_is_left_as_it_was(opened: Any) -> None:
    network = nn.Sequential(conv(3), nn.Dropout())
    random = torch.get_rng_state()
    classifier = opened(network)
    assert torch.equal(torch.get_rng_state(), random)
    assert not any(parameter.grad is not None for parameter in classifier.network.parameters())
    assert not any(module._forward_pre_hooks for module in network.modules())


def test_a_batch_that_fails_in_the_middle_is_named(opened: Any, tmp_path: Path) -> None:
    def fail(logits: Tensor) -> Tensor:
        if len(logits) > 2:
            raise OwnError("not today")
        return logits

    classifier = opened(Failing(fail))
    with pytest.raises(InputError) as caught:
        measure(classifier, open_source("noise:uniform:40", classifier.image), tmp_path / "out", Work())
    error = str(caught.value)
    assert all(word in error for word in ("OwnError", "(40, 3, 8, 8)", "uniform-000000", "uniform-000039")), error
    assert isinstance(caught.value.__cause__, OwnError)


def test_a_network_neither_prints_nor_goes_elsewhere(
    opened: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def elsewhere(logits: Tensor) -> Tensor:
        print("working")
        os.chdir("/")
        return logits

    before = Path.cwd()
    classifier = opened(Failing(elsewhere))
    measure(classifier, open_source("noise:uniform:4", classifier.image), tmp_path / "out", Work())
    assert Path.cwd() == before
    printed = capsys.readouterr()
    assert printed.out == ""
    assert set(printed.err.splitlines()) == {"working"}
