"""The callback in the trainer of transformers: what is logged, and that training is the same without it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

pytest.importorskip("transformers", reason="the extra transformers is not installed")
pytest.importorskip("accelerate", reason="the extra transformers is not installed")

from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments, set_seed

from gradmeter import GradientMeter
from gradmeter.errors import GradmeterWarning, InputError, UnsupportedModelError
from gradmeter.trust.adapters.transformers import GradmeterCallback

pytestmark = pytest.mark.slow


class Texts(Dataset[dict[str, torch.Tensor]]):
    """Token ids whose class is, with some noise, whether the first is large."""

    def __init__(self, count: int, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.ids = torch.randint(0, 30, (count, 6), generator=generator)
        noise = 6 * torch.randn(count, generator=generator)
        self.labels = (self.ids[:, 0] + noise > 15).long()

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {"input_ids": self.ids[index], "labels": self.labels[index]}


VALIDATION = Texts(200, 1)


def trainer_in(folder: Path) -> Trainer:
    torch.manual_seed(0)
    config = BertConfig(vocab_size=30, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32)
    arguments = TrainingArguments(
        str(folder),
        num_train_epochs=2,
        per_device_train_batch_size=50,
        learning_rate=1e-2,
        eval_strategy="epoch",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
        seed=0,
    )
    network = BertForSequenceClassification(config)
    return Trainer(network, arguments, train_dataset=Texts(400, 0), eval_dataset=VALIDATION)


@pytest.mark.filterwarnings("ignore:.*pin_memory.*:UserWarning")
def test_it_logs_and_training_is_the_same_without_it(tmp_path: Path) -> None:
    with_it, without = trainer_in(tmp_path / "with"), trainer_in(tmp_path / "without")
    with_it.add_callback(GradmeterCallback(with_it, DataLoader(VALIDATION, batch_size=64)))
    states = []
    for trainer in (with_it, without):
        set_seed(0)
        trainer.train()
        numpy_state = np.random.get_state()[1]  # noqa: NPY002
        states.append((trainer.model.state_dict(), torch.get_rng_state(), numpy_state))
    assert all(torch.equal(states[0][0][name], states[1][0][name]) for name in states[1][0])
    assert torch.equal(states[0][1], states[1][1])
    assert (states[0][2] == states[1][2]).all()

    entries = [entry for entry in with_it.state.log_history if "eval_gradmeter/accuracy" in entry]
    assert [entry["epoch"] for entry in entries] == [1, 2]
    readings = GradientMeter(with_it.model)({"input_ids": VALIDATION.ids})
    for layer in ("classifier", "bert.embeddings.word_embeddings", "all"):
        expected = float(readings[layer, "l2"].mean())
        assert entries[-1][f"eval_gradmeter/l2/{layer}"] == pytest.approx(expected, rel=1e-4)
    assert 0.3 < entries[-1]["eval_gradmeter/auroc/p_correct"] <= 1
    rest = [entry for entry in with_it.state.log_history if entry not in entries]
    assert [sorted(entry) for entry in rest] == [sorted(entry) for entry in without.state.log_history]


def test_a_loader_without_labels_is_reported_before_the_training(tmp_path: Path) -> None:
    trainer = trainer_in(tmp_path)
    trainer.add_callback(GradmeterCallback(trainer, [{"input_ids": VALIDATION.ids}]))
    with pytest.raises(InputError, match="a batch has no labels"):
        trainer.train()
    assert trainer.state.global_step == 0


def test_other_processes_log_nothing(tmp_path: Path) -> None:
    trainer = trainer_in(tmp_path)

    class Unread:
        def __iter__(self) -> Iterator[Any]:
            raise AssertionError("read in another process")

    callback = GradmeterCallback(trainer, Unread())
    trainer.state.is_world_process_zero = False
    callback.on_train_begin(trainer.args, trainer.state, trainer.control, model=trainer.model)
    callback.on_evaluate(trainer.args, trainer.state, trainer.control, model=trainer.model)
    assert trainer.state.log_history == []


def test_nothing_is_logged_for_outputs_that_are_not_finite(tmp_path: Path) -> None:
    trainer = trainer_in(tmp_path)
    callback = GradmeterCallback(trainer, DataLoader(VALIDATION, 50))
    trainer.model.classifier.bias.data[0] = torch.nan
    with pytest.warns(GradmeterWarning, match="logs nothing"):
        callback.on_evaluate(trainer.args, trainer.state, trainer.control, model=trainer.model)
    assert trainer.state.log_history == []


def test_wrong_arguments(tmp_path: Path) -> None:
    trainer = trainer_in(tmp_path)
    with pytest.raises(InputError, match="norm"):
        GradmeterCallback(trainer, [], metrics=["norm"])
    for loader, named in ((None, "NoneType"), (iter([]), "list_iterator")):
        with pytest.raises(InputError, match=named):
            GradmeterCallback(trainer, loader)  # type: ignore[arg-type]
    trainer.is_fsdp_enabled = True
    with pytest.raises(UnsupportedModelError, match="FSDP"):
        GradmeterCallback(trainer, [])
