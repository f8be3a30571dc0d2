from pathlib import Path

import numpy as np
import pytest
import torch

from gradmeter.research.study.classifiers import tasks
from gradmeter.research.study.features import Features
from gradmeter.research.study.neural import read_bank, train_bank
from gradmeter.research.study.options import StudyOptions
from gradmeter.research.study.outcome import Outcome
from gradmeter.trust import neural
from gradmeter.trust.neural import train_networks


def test_the_bank_holds_the_networks_of_every_run(
    readings_folder: Path, outcome: Outcome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(neural, "_MAX_EPOCHS", 3)
    options, epochs = StudyOptions(runs=2, initialisations=2, seed=7), []
    path = tmp_path / "networks" / "meta.safetensors"
    train_bank(path, [readings_folder] * 2, options, lambda epoch, left: epochs.append((epoch, left)))

    data = [task.meta_data(outcome, whole_gradient=False) for task in tasks(outcome)]
    together = train_networks(data * 2, initialisations=2, seed=7)
    banks = [read_bank(path, run) for run in range(2)]
    for name, tensor in together.tensors().items():
        assert torch.equal(torch.cat([bank.tensors()[name] for bank in banks]), tensor)
    features = Features.every(outcome.validation).matrix(outcome.test)
    np.testing.assert_array_equal(banks[1].scores(2, features), together.scores(len(data) + 2, features))
    assert epochs == [(epoch, 2 * len(data) * 2) for epoch in (1, 2, 3)]
