"""Train a small network on scikit-learn's digits with Lightning, and watch gradients and P(correct) of validation data.

pip install ".[lightning]"
python examples/lightning_training.py --epochs 5
"""

import argparse
import logging
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
from lightning.pytorch.loggers import CSVLogger
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from gradmeter.trust.adapters.lightning import GradmeterCallback

SHOWN = ("accuracy", "p_correct", "auroc/softmax", "auroc/p_correct", "l2_right/all", "l2_wrong/all")


class Digits(LightningModule):
    """A network of two convolutions and a dense layer."""

    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Sequential(
            nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(256, 10)
        )

    def forward(self, images: Tensor) -> Tensor:
        """Return logits [N, 10] of images [N, 1, 8, 8]."""
        return self.network(images)

    def training_step(self, batch: Any, index: int) -> Tensor:
        """Return the loss of a batch."""
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch: Any, index: int) -> None:
        """Log the loss of a batch."""
        self.log("loss", nn.functional.cross_entropy(self(batch[0]), batch[1]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return Adam."""
        return torch.optim.Adam(self.parameters(), 3e-3)


class Table(Callback):
    """Prints some of the logged numbers after each validation."""

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print a line."""
        numbers = {name: trainer.callback_metrics.get(f"gradmeter/{name}") for name in SHOWN}
        print("  ".join(f"{name} {value:.3f}" for name, value in numbers.items() if value is not None))


def main() -> None:
    """Read the data, train, and say where the numbers are."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--out", default="lightning-logs", help="folder of the logs")
    arguments = parser.parse_args()
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    seed_everything(0, verbose=False)
    data = load_digits()
    order = torch.randperm(len(data.target))
    images, labels = torch.tensor(data.images, dtype=torch.float32)[order, None] / 16, torch.tensor(data.target)[order]
    validation = DataLoader(TensorDataset(images[900:], labels[900:]), batch_size=128)
    trainer = Trainer(
        max_epochs=arguments.epochs,
        accelerator="auto",
        logger=CSVLogger(arguments.out, name=None, version=""),
        callbacks=[GradmeterCallback(validation, network="network"), Table()],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        log_every_n_steps=1,
    )
    training = DataLoader(TensorDataset(images[:900], labels[:900]), batch_size=64, shuffle=True)
    trainer.fit(Digits(), training, validation)
    print(f"All numbers are in {arguments.out}/metrics.csv")


if __name__ == "__main__":
    main()
