from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gradmeter import DataError
from gradmeter.research.study import training
from gradmeter.research.study.network import PaperCNN
from gradmeter.research.study.options import StudyOptions
from gradmeter.research.study.tensors import read_tensors
from gradmeter.research.study.training import Digits, best_of, load_network, predict, train


def bars(count: int, seed: int) -> Digits:
    """Make images with a bright bar whose height determines the class."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 10, (count,), generator=generator)
    images = 0.3 * torch.rand(count, 1, 28, 28, generator=generator)
    for image, label in zip(images, labels, strict=True):
        image[0, 2 * int(label) + 4 : 2 * int(label) + 7] += 0.7
    return Digits(images, labels)


TRAIN, VALIDATION = bars(600, 0), bars(150, 1)
EPOCHS = 6


class Killed(Exception):
    """Stands for the end of the process."""


def trained(path: Path, on_epoch: Callable[[int, float], None] = lambda epoch, accuracy: None, **options: Any) -> bytes:
    """Train with patience 1, so that the rate falls within a few epochs, and return the bytes of the file."""
    seed = options.pop("seed", 4)
    chosen = StudyOptions(**{"patience": 1, "max_epochs": EPOCHS} | options)
    train(TRAIN, VALIDATION, path, chosen, seed=seed, on_epoch=on_epoch)
    return path.read_bytes()


@pytest.fixture(autouse=True)
def every_epoch_writes_a_checkpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "_CHECKPOINT_SECONDS", 0)


def killed_at(epoch: int) -> Callable[[int, float], None]:
    def on_epoch(done: int, accuracy: float) -> None:
        if done == epoch:
            raise Killed

    return on_epoch


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network trained without interruption."""
    path = tmp_path_factory.mktemp("whole") / "00.safetensors"
    trained(path)
    return path


def test_the_network_learns_and_its_training_is_recorded(whole: Path) -> None:
    network, record = load_network(whole)
    assert record.restarts == 0
    assert len(record.accuracies) <= EPOCHS
    share = (predict(network, VALIDATION.images) == VALIDATION.labels).double().mean().item()
    assert share == record.accuracies[-1] > 0.5
    assert not network.training
    assert not whole.with_suffix(".training").exists()


@pytest.mark.parametrize("epoch", range(1, EPOCHS + 1))
def test_training_killed_after_any_epoch_ends_with_the_same_weights(epoch: int, whole: Path, tmp_path: Path) -> None:
    path = tmp_path / "00.safetensors"
    with pytest.raises(Killed):
        trained(path, killed_at(epoch))
    assert not path.exists()
    epochs: list[int] = []
    assert trained(path, lambda done, accuracy: epochs.append(done)) == whole.read_bytes()
    assert epochs == list(range(epoch + 1, EPOCHS + 1)), "no epoch is trained twice"


def test_killed_again_and_again_in_the_middle_of_epochs(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, steps = tmp_path / "00.safetensors", 0
    loss = F.cross_entropy

    def deadly(*arguments: Any) -> torch.Tensor:
        nonlocal steps
        steps += 1
        if steps % 5 == 0:  # an epoch has three
            raise Killed
        return loss(*arguments)

    monkeypatch.setattr(training.F, "cross_entropy", deadly)
    for _ in range(20):
        try:
            content = trained(path)
            break
        except Killed:
            continue
    assert content == whole.read_bytes()


def test_the_seed_decides(whole: Path, tmp_path: Path) -> None:
    assert trained(tmp_path / "again.safetensors") == whole.read_bytes()
    trained(tmp_path / "other.safetensors", seed=5)
    weights, others = (read_tensors(path)[0]["dense.weight"] for path in (whole, tmp_path / "other.safetensors"))
    assert not torch.equal(weights, others)


def test_training_ends_when_the_last_rate_stagnates(tmp_path: Path) -> None:
    path = tmp_path / "00.safetensors"
    trained(path, patience=0, max_epochs=60)
    accuracies = load_network(path)[1].accuracies
    stagnant = [accuracy <= max(accuracies[:epoch]) for epoch, accuracy in enumerate(accuracies) if epoch]
    assert sum(stagnant) == 3
    assert stagnant[-1]


KERNELS = {"conv1.weight", "conv2.weight", "conv3.weight", "dense.weight"}


@pytest.mark.parametrize(
    ("decayed", "kernels"),
    [("all", KERNELS), ("convolutions", KERNELS - {"dense.weight"}), ("dense", {"dense.weight"})],
)
@pytest.mark.parametrize("decay", [5e-4, 0.1])
def test_one_step_is_sgd_with_weight_decay_on_kernels(
    decayed: str, kernels: set[str], decay: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # After one step the network may predict a single class, which would restart the training.
    monkeypatch.setattr(training, "predict", lambda network, images: VALIDATION.labels)
    few = Digits(TRAIN.images[:256], TRAIN.labels[:256])
    path = tmp_path / "00.safetensors"
    options = StudyOptions(padding="same", inputs="unit", max_epochs=1, weight_decay=decay, decayed=decayed)
    train(few, VALIDATION, path, options, seed=4, on_epoch=lambda *_: None)
    weights = load_network(path)[0].state_dict()

    torch.manual_seed(int(np.random.SeedSequence(4, spawn_key=(0,)).generate_state(1)[0]))
    network = PaperCNN(padding="same").to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    torch.manual_seed(int(np.random.SeedSequence(4, spawn_key=(0, 0)).generate_state(1)[0]))
    order = torch.randperm(256)
    F.cross_entropy(network.train()(few.images[order]), few.labels[order]).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None
        gradient = parameter.grad + (decay * parameter if name in kernels else 0)  # biases never decay
        torch.testing.assert_close(weights[name], (parameter - 0.1 * gradient).detach())


def test_the_clipped_loss_has_no_gradient_where_a_probability_is_next_to_0_or_1() -> None:
    logits = torch.tensor([[0.0, 1.0], [30.0, 0.0], [0.0, 30.0]], requires_grad=True)
    labels = torch.tensor([1, 0, 0])
    (clipped,) = torch.autograd.grad(training._clipped_loss(logits, labels), logits)
    (exact,) = torch.autograd.grad(F.cross_entropy(logits, labels), logits)
    torch.testing.assert_close(clipped[0], exact[0])
    assert not clipped[1:].any()
    assert exact[2].abs().min() > 0.3


def test_checkpoints_are_written_at_most_once_a_second(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "_CHECKPOINT_SECONDS", 60)
    path = tmp_path / "00.safetensors"
    with pytest.raises(Killed):
        trained(path, killed_at(3))
    assert len(read_tensors(path.with_suffix(".training"))[1]["accuracies"]) == 1, (
        "only the first checkpoint of this minute"
    )
    trained(path)
    assert path.read_bytes() == whole.read_bytes()


def test_the_best_epoch_is_kept_beside_the_last(whole: Path, tmp_path: Path) -> None:
    path = tmp_path / "00.safetensors"
    trained(path, patience=0, max_epochs=60)
    accuracies = load_network(path)[1].accuracies
    best, _ = load_network(best_of(path))
    share = (predict(best, VALIDATION.images) == VALIDATION.labels).double().mean().item()
    assert share == max(accuracies)


@pytest.mark.parametrize("options", [{"loss": "clipped"}, {"inputs": "unit"}, {"first_dropout": "before"}])
def test_other_readings_train_other_networks(options: dict[str, str], whole: Path, tmp_path: Path) -> None:
    path = tmp_path / "00.safetensors"
    trained(path, **options)
    network, record = load_network(path)
    share = (predict(network, VALIDATION.images) == VALIDATION.labels).double().mean().item()
    assert share == record.accuracies[-1] > 0.5
    assert not torch.equal(network.dense.weight, load_network(whole)[0].dense.weight)
    standard = [TRAIN.images.mean().item(), TRAIN.images.std().item()]
    inputs = network.inputs
    assert (None if isinstance(inputs, nn.Identity) else [inputs.mean, inputs.deviation]) == (
        None if "inputs" in options else standard
    )


@pytest.mark.slow
def test_a_network_that_predicts_a_single_class_restarts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0

    def diverging(network: PaperCNN, images: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += 1
        # Attempt 0 diverges in epoch 3, attempt 1 in epoch 2; in epoch 1 of attempt 2 a single class is still allowed.
        right = VALIDATION.labels if calls in (2, 4) else predict(network, images)
        return torch.zeros(len(images), dtype=torch.int64) if calls in (3, 5, 6) else right

    monkeypatch.setattr(training, "predict", diverging)
    path = tmp_path / "00.safetensors"
    with pytest.raises(Killed):
        trained(path, killed_at(3))
    monkeypatch.setattr(training, "predict", predict)
    resumed = trained(path)
    record = load_network(path)[1]
    assert record.restarts == 2
    assert len(record.accuracies) == EPOCHS

    # Without interruption, the count and the weights are the same.
    calls = 0
    monkeypatch.setattr(training, "predict", diverging)
    assert trained(tmp_path / "01.safetensors") == resumed


def test_after_enough_steps_a_single_class_restarts_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [torch.zeros(len(VALIDATION.labels), dtype=torch.int64), VALIDATION.labels, VALIDATION.labels]
    monkeypatch.setattr(training, "_FIRST_STEPS", 3)  # an epoch
    monkeypatch.setattr(training, "predict", lambda network, images: answers.pop(0))
    path = tmp_path / "00.safetensors"
    trained(path, max_epochs=2)
    record = load_network(path)[1]
    assert (record.restarts, record.accuracies) == (1, [1.0, 1.0])


def test_a_network_that_cannot_learn_is_an_error(tmp_path: Path) -> None:
    nothing = Digits(torch.zeros(300, 1, 28, 28), torch.arange(300) % 10)
    path = tmp_path / "00.safetensors"
    with pytest.raises(DataError, match="5 attempts"):
        train(nothing, nothing, path, StudyOptions(patience=1, max_epochs=3), seed=0, on_epoch=lambda *_: None)
    assert not path.exists()


def test_the_checkpoint_is_whole_and_holds_no_pickle(tmp_path: Path) -> None:
    path = tmp_path / "00.safetensors"
    with pytest.raises(Killed):
        trained(path, killed_at(2))
    tensors, metadata = read_tensors(path.with_suffix(".training"))
    assert len(metadata["accuracies"]) == 2
    assert sum(name.startswith("momentum/") for name in tensors) == 8
    assert [file.name for file in tmp_path.iterdir()] == ["00.training"]


@pytest.mark.parametrize("padding", ["valid", "same"])
def test_a_saved_network_remembers_its_padding(padding: str, tmp_path: Path) -> None:
    path = tmp_path / "00.safetensors"
    trained(path, padding=padding, max_epochs=1)
    assert sum(p.numel() for p in load_network(path)[0].parameters()) == {"valid": 6250, "same": 12650}[padding]


def test_predictions_cover_every_sample() -> None:
    network = PaperCNN().eval()
    images = torch.rand(1001, 1, 28, 28)
    with torch.no_grad():
        assert torch.equal(predict(network, images), network(images).argmax(1))
