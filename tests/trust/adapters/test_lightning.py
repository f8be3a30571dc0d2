"""The callback in Lightning's own trainer: what is logged, and that training is the same without it."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

pytest.importorskip("lightning.pytorch", reason="the extra lightning is not installed")

from lightning.pytorch import LightningModule, Trainer, seed_everything
from lightning.pytorch.strategies import FSDPStrategy

from gradmeter import GradientMeter
from gradmeter.errors import InputError, UnsupportedModelError
from gradmeter.trust.adapters.lightning import GradmeterCallback
from trust.trained import digits, loader, trained

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::UserWarning:lightning")]
VALIDATION = 300, 500


class Digits(LightningModule):
    """A network with dropout, so that training draws random numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Sequential(trained(), nn.Dropout(0.2))

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images)

    def training_step(self, batch: Any, index: int) -> Tensor:
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch: Any, index: int) -> None:
        self.log("loss", nn.functional.cross_entropy(self(batch[0]), batch[1]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), 1e-3)


class Normed(Digits):
    """Mixes the samples of a batch in train mode."""

    def __init__(self) -> None:
        super().__init__()
        self.network.append(nn.BatchNorm1d(10))


class WithAccuracy(Digits):
    """Logs the accuracy of the weights that Lightning validates."""

    def validation_step(self, batch: Any, index: int) -> None:
        self.log("accuracy", (self(batch[0]).argmax(1) == batch[1]).double().mean())


def fit(
    folder: Path,
    *callbacks: GradmeterCallback,
    epochs: int = 2,
    precision: Any = "32-true",
    module: type[Digits] = Digits,
) -> Trainer:
    trained()  # at the first call it draws random numbers
    seed_everything(0, verbose=False)
    images, labels = (part[:300] for part in digits())
    training = DataLoader(TensorDataset(images, labels), batch_size=50, shuffle=True)
    trainer = Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        default_root_dir=folder,
        callbacks=list(callbacks),
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=1,
        precision=precision,
    )
    trainer.fit(module(), training, loader(*VALIDATION))
    return trainer


@pytest.mark.parametrize("precision", ["64-true", "bf16-true"])
def test_a_network_of_another_precision(precision: str, tmp_path: Path) -> None:
    """Lightning converts the inputs of its own steps, and the callback those of its loader."""
    trainer = fit(tmp_path, GradmeterCallback(loader(*VALIDATION)), epochs=1, precision=precision)
    assert 0 < trainer.callback_metrics["gradmeter/accuracy"] <= 1


def test_it_logs_and_training_is_the_same_without_it(tmp_path: Path) -> None:
    with_it = fit(tmp_path, GradmeterCallback(loader(*VALIDATION), metrics=("l2", "max")))
    after = torch.get_rng_state()
    without = fit(tmp_path)
    assert torch.equal(torch.get_rng_state(), after)
    assert with_it.lightning_module is not None
    assert without.lightning_module is not None
    states = with_it.lightning_module.state_dict(), without.lightning_module.state_dict()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[1])
    moments = [
        [value for state in trainer.optimizers[0].state.values() for value in state.values()]
        for trainer in (with_it, without)
    ]
    assert len(moments[0]) == 18
    assert all(torch.equal(one, other) for one, other in zip(*moments, strict=True))

    logged = {name: float(value) for name, value in with_it.callback_metrics.items()}
    assert {name for name in logged if not name.startswith("gradmeter/")} == {"loss"}
    readings = GradientMeter(with_it.lightning_module)(digits()[0][slice(*VALIDATION)])
    for layer in ("network.0.0", "network.0.4", "network.0.6", "all"):
        for metric in ("l2", "max"):
            expected = float(readings[layer, metric].mean())
            assert logged[f"gradmeter/{metric}/{layer}"] == pytest.approx(expected, rel=1e-5)
    right = (readings.predictions == digits()[1][slice(*VALIDATION)]).double().mean()
    assert logged["gradmeter/accuracy"] == pytest.approx(float(right))
    assert 0 < logged["gradmeter/p_correct"] < 1
    assert 0.5 < logged["gradmeter/auroc/p_correct"] <= 1


def test_a_network_with_batch_norm(tmp_path: Path) -> None:
    """It can be measured in eval mode only, and training begins in train mode."""
    with_it = fit(tmp_path, GradmeterCallback(loader(*VALIDATION)), epochs=1, module=Normed).lightning_module
    without = fit(tmp_path, epochs=1, module=Normed).lightning_module
    assert with_it is not None
    assert without is not None
    states = with_it.state_dict(), without.state_dict()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[1])


def test_a_submodule_is_measured(tmp_path: Path) -> None:
    trainer = fit(tmp_path, GradmeterCallback(loader(300, 400), network="network.0"), epochs=1)
    layers = {name.rpartition("/")[2] for name in trainer.callback_metrics if name.startswith("gradmeter/l2/")}
    assert layers == {"0", "4", "6", "all"}


def test_other_ranks_log_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Trainer, "is_global_zero", False)

    class Unread:
        def __iter__(self) -> None:
            raise AssertionError("read on another rank")

    trainer = fit(tmp_path, GradmeterCallback(Unread()), epochs=1)
    assert set(trainer.callback_metrics) == {"loss"}


def test_averaged_weights_are_measured_if_they_are_validated(tmp_path: Path) -> None:
    callbacks = pytest.importorskip("lightning.pytorch.callbacks")
    if not hasattr(callbacks, "EMAWeightAveraging"):
        pytest.skip("this version of Lightning does not average weights")

    def averaging() -> Any:
        return callbacks.EMAWeightAveraging(decay=0.99)

    ours = GradmeterCallback(loader(*VALIDATION))
    with pytest.raises(InputError, match="EMAWeightAveraging precedes") as raised:
        fit(tmp_path, averaging(), ours, epochs=1)
    assert "\n" not in str(raised.value)
    metrics = fit(tmp_path, ours, averaging(), epochs=1, module=WithAccuracy).callback_metrics
    assert metrics["gradmeter/accuracy"].item() == pytest.approx(metrics["accuracy"].item())


def test_spread_weights_are_refused(tmp_path: Path) -> None:
    trainer = Trainer(accelerator="cpu", logger=False, default_root_dir=tmp_path)
    monkey = GradmeterCallback(loader(300, 400))
    trainer.strategy.__class__ = type("Spread", (type(trainer.strategy), FSDPStrategy), {})
    with pytest.raises(UnsupportedModelError, match="spreads the weights"):
        monkey.setup(trainer, Digits(), "fit")


def test_wrong_arguments_are_reported_before_the_training(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="norm"):
        GradmeterCallback(loader(300, 400), metrics=["norm"])
    with pytest.raises(InputError, match="NoneType"):
        GradmeterCallback(None)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="generator"):  # it would be empty at the second validation
        GradmeterCallback(batch for batch in loader(300, 400))


class Counting(Digits):
    """Counts the steps of training."""

    steps = 0

    def training_step(self, batch: Any, index: int) -> Tensor:
        self.steps += 1
        return nn.functional.cross_entropy(self.network(batch[0]), batch[1])

    def validation_step(self, batch: Any, index: int) -> None:
        self.network(batch[0])


class WithoutForward(Counting):
    """Calls its network in its steps only."""

    forward = LightningModule.forward


@pytest.mark.parametrize(
    ("callback", "module", "message"),
    [
        (GradmeterCallback(loader(300, 400), network="net"), Counting, "'net'.*network"),
        (GradmeterCallback(loader(300, 400)), WithoutForward, "no forward.*network='network'"),
        (GradmeterCallback(DataLoader(TensorDataset(digits()[0]), 50)), Counting, "a batch has no labels"),
        (GradmeterCallback(DataLoader(TensorDataset(*digits(), digits()[1]), 50)), Counting, "a batch is a tuple of 3"),
    ],
)
def test_what_cannot_be_measured_is_reported_before_the_training(
    callback: GradmeterCallback, module: type[Counting], message: str, tmp_path: Path
) -> None:
    trainer = Trainer(
        max_epochs=1,
        accelerator="cpu",
        default_root_dir=tmp_path,
        logger=False,
        enable_progress_bar=False,
        callbacks=[callback],
        num_sanity_val_steps=0,
    )
    network = module()
    with pytest.raises(InputError, match=message):
        trainer.fit(network, loader(0, 100), loader(300, 400))
    assert not network.steps
    with pytest.raises(InputError, match=message):
        trainer.validate(network, loader(300, 400))


def test_two_sets_are_logged_apart(tmp_path: Path) -> None:
    """Lightning logs the mean of what two callbacks log under one name."""
    sets = (loader(300, 400), loader(400, 500))
    with pytest.raises(InputError, match="as 'gradmeter/NAME'; expected another prefix"):
        fit(tmp_path, *map(GradmeterCallback, sets), epochs=1)
    both = [GradmeterCallback(sets[0]), GradmeterCallback(sets[1], prefix="other")]
    together = fit(tmp_path, *both, epochs=1).callback_metrics
    alone = [fit(tmp_path, GradmeterCallback(data), epochs=1).callback_metrics for data in sets]
    for name in ("accuracy", "l2/all", "p_correct"):
        assert together[f"gradmeter/{name}"] == alone[0][f"gradmeter/{name}"]
        assert together[f"other/{name}"] == alone[1][f"gradmeter/{name}"]
