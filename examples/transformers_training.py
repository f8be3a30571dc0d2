"""Train a small vision transformer on scikit-learn's digits with the trainer of transformers, and watch its gradients.

pip install ".[transformers]"
python examples/transformers_training.py --epochs 5
"""

import argparse

import torch
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, Dataset
from transformers import Trainer, TrainingArguments, ViTConfig, ViTForImageClassification, set_seed

from gradmeter.trust.adapters.transformers import GradmeterCallback

SHOWN = ("accuracy", "p_correct", "auroc/softmax", "auroc/p_correct", "l2_right/all", "l2_wrong/all")


class Digits(Dataset[dict[str, torch.Tensor]]):
    """Images [1, 8, 8] and their labels."""

    def __init__(self, rows: torch.Tensor) -> None:
        data = load_digits()
        self.images = torch.tensor(data.images[rows], dtype=torch.float32)[:, None] / 16
        self.labels = torch.tensor(data.target[rows])

    def __len__(self) -> int:
        """The number of images."""
        return len(self.labels)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        """Return one image and its label, as the network takes them."""
        return {"pixel_values": self.images[index], "labels": self.labels[index]}


def main() -> None:
    """Read the data, train, and print some of the logged numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--out", default="transformers-logs", help="the trainer's folder")
    arguments = parser.parse_args()
    set_seed(0)
    network = ViTForImageClassification(
        ViTConfig(
            image_size=8,
            patch_size=2,
            num_channels=1,
            num_labels=10,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
        )
    )
    order = torch.randperm(1797)
    training, validation = Digits(order[:900]), Digits(order[900:])
    trainer = Trainer(
        network,
        TrainingArguments(
            arguments.out,
            num_train_epochs=arguments.epochs,
            per_device_train_batch_size=32,
            learning_rate=3e-3,
            eval_strategy="epoch",
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            dataloader_pin_memory=False,
        ),
        train_dataset=training,
        eval_dataset=validation,
    )
    trainer.add_callback(GradmeterCallback(trainer, DataLoader(validation, batch_size=128)))
    trainer.train()
    for entry in trainer.state.log_history:
        numbers = {name: entry.get(f"eval_gradmeter/{name}") for name in SHOWN}
        if any(value is not None for value in numbers.values()):
            print("  ".join(f"{name} {value:.3f}" for name, value in numbers.items() if value is not None))


if __name__ == "__main__":
    main()
