"""The numbers of the callbacks, compared with loops over samples and with scikit-learn."""

import random
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, SequentialSampler, TensorDataset

from gradmeter.errors import InputError
from gradmeter.reading.meter import GradientMeter
from gradmeter.trust.adapters import training_log
from gradmeter.trust.adapters.training_log import require_metrics
from gradmeter.trust.judge import Judge
from trust.trained import digits, loader, trained


def validation_numbers(network: nn.Module, batches: Iterable[Any], metrics: Sequence[str]) -> dict[str, float]:
    return training_log.validation_numbers(network, batches, metrics, lambda batch: batch)


def test_the_means_are_those_of_a_loop() -> None:
    network, images, labels = trained(), digits()[0][300:500], digits()[1][300:500]
    numbers = validation_numbers(network, [(images[:120], labels[:120]), (images[120:], labels[120:])], ["l2", "max"])
    correct = network(images).argmax(1) == labels
    norms: dict[str, list[float]] = {}
    largest: dict[str, list[float]] = {}
    for image in images:
        whole = []
        for layer, gradient in gradients(network, image).items():
            norms.setdefault(layer, []).append(float(gradient.norm()))
            largest.setdefault(layer, []).append(float(gradient.max()))
            whole.append(gradient)
        norms.setdefault("all", []).append(float(torch.cat(whole).norm()))
    assert set(norms) == {"0", "4", "6", "all"}
    for layer, values in norms.items():
        samples = torch.tensor(values)
        for name, chosen in (("l2", samples), ("l2_right", samples[correct]), ("l2_wrong", samples[~correct])):
            assert numbers[f"{name}/{layer}"] == pytest.approx(float(chosen.mean()), rel=1e-4)
    for layer, values in largest.items():
        assert numbers[f"max/{layer}"] == pytest.approx(np.mean(values), rel=1e-4)
    assert numbers["accuracy"] == pytest.approx(float(correct.double().mean()))
    wrong = ~correct.numpy()
    doubt = -network(images).double().softmax(1).amax(1).detach().numpy()
    assert numbers["auroc/softmax"] == pytest.approx(roc_auc_score(wrong, doubt), abs=1e-6)
    assert numbers["auroc/gradient"] == pytest.approx(roc_auc_score(wrong, norms["all"]), abs=1e-6)
    assert 0.7 < numbers["auroc/p_correct"] <= 1
    assert numbers["p_correct_wrong"] < numbers["p_correct"] < numbers["p_correct_right"]
    assert abs(numbers["p_correct"] - numbers["accuracy"]) < 0.05


def test_p_correct_is_compared_within_held_out_folds() -> None:
    network, images, labels = trained(), digits()[0][300:420], digits()[1][300:420]
    readings = GradientMeter(network).for_trust_model(second_look=None)(images)
    judge, wrong = Judge.fit(readings, labels), (readings.predictions != labels).numpy()
    assert judge.folds is not None
    folds = [judge.folds == fold for fold in range(5)]
    aurocs = [roc_auc_score(wrong[fold], -judge.held_out.p_correct[fold]) for fold in folds if wrong[fold].any()]
    pairs = [wrong[fold].sum() * (~wrong[fold]).sum() for fold in folds if wrong[fold].any()]
    auroc = validation_numbers(network, [(images, labels)], ["l2"])["auroc/p_correct"]
    assert auroc == pytest.approx(np.average(aurocs, weights=pairs), abs=1e-6)


def test_a_network_in_train_mode_is_measured_in_eval_mode_before_training() -> None:
    network = nn.Sequential(trained(), nn.BatchNorm1d(10)).train()
    network[0][0].eval()
    before = [module.training for module in network.modules()]
    training_log.require_measurable(network, loader(300, 400), lambda batch: batch)
    assert [module.training for module in network.modules()] == before
    with pytest.raises(InputError, match="no labels"):
        training_log.require_measurable(network, [digits()[0][:8]], lambda batch: batch)


class Folding(nn.Linear):
    """Computes its weight for the eval mode when it is switched to it, as LeViT does with its biases."""

    def train(self, mode: bool = True) -> "Folding":
        if not mode:
            self.folded = 2 * self.weight
        return super().train(mode)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, 2 * self.weight if self.training else self.folded)


@pytest.mark.parametrize("kind", ["lazy", "lazy buffers", "folding", "persistent"])
def test_what_a_measurement_would_change_is_not_measured_before_training(kind: str) -> None:
    """The first batch builds a lazy network; workers that persist get their seed when the first batch is read."""

    class Unread:
        persistent_workers = kind == "persistent"

        def __iter__(self) -> Iterator[Any]:
            raise AssertionError("read before training")

    last = {
        "lazy": nn.LazyLinear(10),
        "lazy buffers": nn.LazyBatchNorm1d(affine=False),
        "folding": Folding(10, 10),
        "persistent": nn.Linear(10, 10),
    }[kind]
    training_log.require_measurable(nn.Sequential(trained(), last), Unread(), lambda batch: batch)


def gradients(network: nn.Module, image: Tensor) -> dict[str, Tensor]:
    """The gradient of each layer of -log softmax of the prediction, for one image."""
    network.zero_grad()
    logits = network(image[None])
    nn.functional.cross_entropy(logits, logits.argmax(1)).backward()
    layers: dict[str, list[Tensor]] = {}
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None
        layers.setdefault(name.partition(".")[0], []).append(parameter.grad.flatten())
    return {layer: torch.cat(parts) for layer, parts in layers.items()}


def test_everything_is_left_as_it_was() -> None:
    network = trained().train()
    network[0].weight.requires_grad_(False)
    network[4].weight.grad = torch.ones_like(network[4].weight)

    class Random:
        """A loader that draws from all generators, as augmentations do."""

        def __iter__(self) -> Iterator[Any]:
            for images, labels in loader(300, 500):
                drawn = torch.rand(1) + random.random() + np.random.rand()  # noqa: NPY002
                yield images + 0.01 * drawn, labels

    before = torch.get_rng_state(), random.getstate(), str(np.random.get_state())  # noqa: NPY002
    with torch.inference_mode():  # as Lightning validates
        numbers = validation_numbers(network, Random(), ["l2"])
    assert numbers["l2/0"] > 0
    assert all(module.training for module in network.modules())
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (random.getstate(), str(np.random.get_state())) == before[1:]  # noqa: NPY002
    assert [parameter.requires_grad for parameter in network.parameters()] == [False, *[True] * 5]
    assert torch.equal(network[4].weight.grad, torch.ones_like(network[4].weight))
    assert network[4].bias.grad is None


@pytest.mark.parametrize("place", ["loader", "sampler", "batch sampler", "sampler of a batch sampler", "batches"])
def test_the_loader_s_own_generator_is_left_as_it_was(place: str) -> None:
    """The loader of the training may share it."""
    generator = torch.Generator()
    before = generator.get_state()
    images, labels = digits()
    data = TensorDataset(images[300:500], labels[300:500])
    sampler = RandomSampler(data, generator=generator)

    class Batches(BatchSampler):
        def __init__(self) -> None:
            super().__init__(SequentialSampler(data), 100, drop_last=False)
            self.generator = generator

        def __iter__(self) -> Iterator[list[int]]:
            batches = list(super().__iter__())
            yield from (batches[index] for index in torch.randperm(len(batches), generator=self.generator))

    options: dict[str, dict[str, Any]] = {
        "loader": {"batch_size": 100, "shuffle": True, "generator": generator},
        "sampler": {"batch_size": 100, "sampler": sampler},
        "batch sampler": {"batch_sampler": Batches()},
        "sampler of a batch sampler": {"batch_sampler": BatchSampler(sampler, 100, drop_last=False)},
        "batches": {"batch_size": None, "sampler": BatchSampler(sampler, 100, drop_last=False)},
    }
    validation_numbers(trained(), DataLoader(data, **options[place]), ["l2"])
    assert torch.equal(generator.get_state(), before)


def test_without_wrong_predictions_nothing_is_said_of_them() -> None:
    network, images = trained(), digits()[0][300:420]
    numbers = validation_numbers(network, [(images, network(images).argmax(1))], ["l2"])
    assert numbers["accuracy"] == 1
    assert not [name for name in numbers if "wrong" in name or "auroc" in name]
    assert numbers["p_correct"] > 0.9


def test_with_few_right_predictions_there_is_no_p_correct() -> None:
    network, images = trained(), digits()[0][300:420]
    labels = network(images).argmax(1)
    labels[49:] = (labels[49:] + 1) % 10
    numbers = validation_numbers(network, [(images, labels)], [])
    assert set(numbers) == {"accuracy", "auroc/softmax", "auroc/gradient"}


def test_copies_of_an_input_count_once_for_p_correct() -> None:
    """As in `TrustModel.fit`, which refuses fewer than 50 different ones: that would end the training."""
    network, images = trained(), digits()[0][300:340].repeat(2, 1, 1, 1)
    numbers = validation_numbers(network, [(images, network(images).argmax(1))], [])
    assert set(numbers) == {"accuracy"}


def test_a_network_that_diverged_is_only_warned_about() -> None:
    network = trained()
    network[6].bias.data[0] = torch.nan
    with pytest.warns(UserWarning, match="not finite"):
        assert validation_numbers(network, loader(300, 500), ["l2"]) == {}


@pytest.mark.parametrize("metrics", ["l2", ["l2", "norm"]])
def test_wrong_statistics(metrics: object) -> None:
    with pytest.raises(InputError, match="metrics"):
        require_metrics(metrics)  # type: ignore[arg-type]
