"""The batched networks against plain PyTorch, one network at a time."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.base import BaseEstimator
from sklearn.utils.estimator_checks import parametrize_with_checks
from torch import nn

from gradmeter import InputError
from gradmeter.trust import neural
from gradmeter.trust.neural import HIDDEN, MetaData, NetworkBank, neural_network, train_networks
from gradmeter.trust.plateau import INITIAL_RATE


def meta_data(count: int, seed: int, used: tuple[bool, ...] = (True,) * 4) -> MetaData:
    """Return `count` samples of four features on different scales; the first is the most informative."""
    random = np.random.default_rng(seed)
    features = random.normal(size=(count, 4)) * [3, 1, 0.01, 50] + [0, 7, 0, 100]
    targets = (features[:, 0] + random.normal(size=count) > 2).astype(np.int64)
    return MetaData(features, targets, np.array(used))


DATA = (meta_data(700, 1), meta_data(300, 2, (True, False, True, True)))
INITIALISATIONS = 3


def trained_alone(set_: int, initialisation: int, epochs: int, seed: int) -> tuple[nn.Sequential, list[float]]:
    """Train one network of the bank with torch.optim.SGD and the random numbers that the bank draws for it.

    Returns the network and its learning rates.
    """
    generator = torch.Generator().manual_seed(seed)
    z = []
    for item in DATA:
        mean, deviation = item.features.mean(0), item.features.std(0)
        z.append(torch.from_numpy((item.features - mean) / deviation * item.used).float())
    y = [torch.from_numpy(item.targets) for item in DATA]
    orders = [torch.randperm(len(item.targets), generator=generator) for item in DATA]
    held_out = orders[set_][: len(orders[set_]) // 5]
    learned = [order[len(order) // 5 :] for order in orders]

    def glorot(*shape: int, fans: int) -> torch.Tensor:
        bound = (6 / fans) ** 0.5
        return torch.empty(shape).uniform_(-bound, bound, generator=generator)

    hidden = glorot(len(DATA), 4, INITIALISATIONS, HIDDEN, fans=4 + HIDDEN)
    output = glorot(len(DATA), INITIALISATIONS, HIDDEN, 2, fans=HIDDEN + 2)
    network = nn.Sequential(nn.Linear(4, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 2))
    with torch.no_grad():
        network[0].weight.copy_(hidden[set_, :, initialisation].T)
        network[2].weight.copy_(output[set_, initialisation].T)
        for bias in (network[0].bias, network[2].bias):
            bias.zero_()
    optimizer = torch.optim.SGD(
        [
            # The penalty 1e-3 |w|^2 on kernels, whose derivative is 2e-3 w.
            {"params": [network[0].weight, network[2].weight], "weight_decay": 2e-3},
            {"params": [network[0].bias, network[2].bias]},
        ],
        lr=INITIAL_RATE,
        momentum=0.9,
    )
    steps = max(-(-len(rows) // 256) for rows in learned)
    rate, best, waited, rates = 0.1, -1.0, 0, []
    for _ in range(epochs):
        batches = []
        for rows in learned:
            order = rows[torch.randperm(len(rows), generator=generator)]
            batches.append(torch.cat([order] * (steps * 256 // len(order) + 1))[: steps * 256])
        rates.append(rate)
        for group in optimizer.param_groups:
            group["lr"] = rate
        for batch in batches[set_].split(256):
            optimizer.zero_grad()
            F.cross_entropy(network(z[set_][batch]), y[set_][batch]).backward()
            optimizer.step()
        accuracy = (network(z[set_][held_out]).argmax(1) == y[set_][held_out]).double().mean().item()
        waited = 0 if accuracy > best else waited + 1
        best = max(best, accuracy)
        if waited > 5:
            rate, waited = (rate / 10 if rate > 0.005 else 0.0), 0
    return network, rates


@pytest.fixture(scope="module")
def bank() -> NetworkBank:
    return train_networks(DATA, INITIALISATIONS, seed=5)


@pytest.mark.parametrize("set_", range(len(DATA)))
@pytest.mark.parametrize("initialisation", range(INITIALISATIONS))
def test_each_network_learns_as_it_would_alone(set_: int, initialisation: int, bank: NetworkBank) -> None:
    network, rates = trained_alone(set_, initialisation, int(bank.epochs.max()), seed=5)
    assert sum(rate > 0 for rate in rates) == bank.epochs[set_, initialisation]
    for ours, alone in (
        (bank.hidden[set_, :, initialisation], network[0].weight.T),
        (bank.hidden_bias[set_, initialisation], network[0].bias),
        (bank.output[set_, initialisation], network[2].weight.T),
        (bank.output_bias[set_, initialisation], network[2].bias),
    ):
        # Large and small matrix products are rounded differently, and the differences grow over a few hundred steps.
        torch.testing.assert_close(ours, alone.detach(), rtol=1e-3, atol=1e-4)

    item = DATA[set_]
    z = torch.from_numpy((item.features - item.features.mean(0)) / item.features.std(0) * item.used)
    logits = network.double()(z).detach()
    odds = (logits[:, 1] - logits[:, 0]).numpy()
    np.testing.assert_allclose(bank.scores(set_, item.features)[initialisation], odds, rtol=1e-2, atol=2e-3)


def test_networks_stop_independently(bank: NetworkBank) -> None:
    assert len(bank.epochs.unique()) > 1
    assert bank.epochs.min() >= 1 + 3 * 6, "the first epoch is a best; three stagnations of more than five end it"


def test_shapes(bank: NetworkBank) -> None:
    shapes = {name: tuple(tensor.shape) for name, tensor in bank.tensors().items()}
    assert shapes == {
        "mean": (2, 4),
        "scale": (2, 4),
        "hidden": (2, 4, 3, 15),
        "hidden_bias": (2, 3, 15),
        "output": (2, 3, 15, 2),
        "output_bias": (2, 3, 2),
        "epochs": (2, 3),
    }
    assert bank.scores(1, DATA[1].features).shape == (3, 300)


def test_a_feature_that_may_not_be_used_changes_nothing(bank: NetworkBank) -> None:
    changed = DATA[1].features.copy()
    changed[:, 1] = 1e6
    np.testing.assert_array_equal(bank.scores(1, changed), bank.scores(1, DATA[1].features))
    assert not np.array_equal(bank.scores(0, changed), bank.scores(0, DATA[1].features))


def test_a_constant_feature_counts_as_not_used() -> None:
    features = np.column_stack([DATA[0].features, np.full(700, 3.0)])
    bank = train_networks([MetaData(features, DATA[0].targets, np.ones(5, bool))], 1, seed=0)
    assert bank.scale[0, 4] == 0
    assert np.isfinite(bank.scores(0, features)).all()


def test_the_same_seed_gives_the_same_networks(bank: NetworkBank) -> None:
    again = train_networks(DATA, INITIALISATIONS, seed=5)
    assert all(torch.equal(tensor, bank.tensors()[name]) for name, tensor in again.tensors().items())
    other = train_networks(DATA, INITIALISATIONS, seed=6)
    assert not torch.equal(other.hidden, bank.hidden)


def test_epochs_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neural, "_MAX_EPOCHS", 3)
    reports: list[tuple[int, int]] = []
    train_networks(DATA, INITIALISATIONS, seed=5, on_epoch=lambda epoch, left: reports.append((epoch, left)))
    assert reports == [(1, 6), (2, 6), (3, 6)]


def test_invalid_training_sets() -> None:
    one_class = MetaData(DATA[0].features, np.zeros(700, np.int64), DATA[0].used)
    with pytest.raises(InputError, match="training set 1"):
        train_networks([DATA[0], one_class], 1, seed=0)
    broken = DATA[0].features.copy()
    broken[5, 2] = np.nan
    with pytest.raises(InputError, match="training set 0"):
        train_networks([MetaData(broken, DATA[0].targets, DATA[0].used)], 1, seed=0)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
@parametrize_with_checks([neural_network()])
def test_scikit_learns_estimator_checks(estimator: BaseEstimator, check: object) -> None:
    assert callable(check)
    check(estimator)


def test_the_classifier_ranks_and_answers_in_the_given_classes() -> None:
    item = meta_data(2000, 3)
    labels = np.where(item.targets == 1, "wrong", "right")
    classifier = neural_network(random_state=1).fit(item.features, labels)
    assert classifier.classes_.tolist() == ["right", "wrong"]
    assert classifier.score(item.features, labels) > 0.8
    odds, shares = classifier.decision_function(item.features), classifier.predict_proba(item.features)
    np.testing.assert_allclose(shares[:, 1], 1 / (1 + np.exp(-odds)))
    np.testing.assert_allclose(shares.sum(1), 1)
    with pytest.raises(InputError, match=r"\b3\b.*\b2\b"):
        classifier.fit(item.features, np.arange(2000) % 3)
