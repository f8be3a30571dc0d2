"""Token ids and spectrograms on disk, with small networks that were trained on others."""

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn.functional import cross_entropy

# The networks as functions of the user.
MODULE = """
import torch
from torch import nn


class Words(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(120, 12)
        self.hidden = nn.Linear(12, 16)
        self.dense = nn.Linear(16, 3)

    def forward(self, ids):
        return self.dense(torch.relu(self.hidden(self.embedding(ids).mean(1))))


class Masked(Words):
    def forward(self, input_ids, attention_mask):
        mask = attention_mask.unsqueeze(2)
        mean = (self.embedding(input_ids) * mask).sum(1) / mask.sum(1)
        return self.dense(torch.relu(self.hidden(mean)))


class Sounds(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Conv1d(4, 8, 5, padding=2)
        self.second = nn.Conv1d(8, 8, 5, padding=2)
        self.dense = nn.Linear(8, 3)

    def forward(self, bands):
        return self.dense(torch.relu(self.second(torch.relu(self.first(bands)))).mean(2))
"""
TOKENS, LENGTH, BANDS, TIMES = 120, 20, 4, 24


def texts(count: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Token ids [N, LENGTH]: a few are of the text's own class, as many of another one, the rest are common."""
    labels = random.integers(0, 3, count)
    others = random.integers(0, 3, (count, LENGTH))
    draw = random.random((count, LENGTH))
    topics = np.where(draw < 0.15, labels[:, None], others)
    tokens = np.where(draw < 0.3, 10 + 20 * topics, 70) + random.integers(0, 20, (count, LENGTH))
    return tokens + (draw >= 0.3) * random.integers(0, 30, (count, LENGTH)), labels


def sounds(count: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Spectrogram-like float32 [N, BANDS, TIMES]: noise, and in two bands a wave whose frequency is the class."""
    labels = random.integers(0, 3, count)
    frequency = 2 + 3 * labels[:, None] + random.normal(0, 0.9, (count, 1))
    phase = random.uniform(0, 2 * np.pi, (count, 1))
    wave = np.sin(2 * np.pi * frequency * np.arange(TIMES) / TIMES + phase)
    noise = random.normal(0, 0.8, (count, BANDS, TIMES))
    noise[:, 1:3] += wave[:, None]
    return noise.astype(np.float32), labels


def make(folder: Path) -> None:
    """Write array_networks.py, and for words and sounds: weights, validation, test and unknown data."""
    (folder / "array_networks.py").write_text(MODULE)
    namespace: dict[str, type[nn.Module]] = {}
    exec(MODULE, namespace)
    random = np.random.default_rng(0)
    torch.manual_seed(0)
    for name, draw in (("words", texts), ("sounds", sounds)):
        network = namespace[name.capitalize()]()
        _train(network, *map(torch.from_numpy, draw(1500, random)))
        save_file(network.state_dict(), folder / f"{name}.safetensors")
        for part in ("validation", "test"):
            inputs, labels = draw(400, random)
            np.savez(folder / f"{name}-{part}.npz", inputs=inputs, labels=labels)
    # Tokens that the other texts lack; sounds with a constant added to each band.
    np.savez(folder / "words-unknown.npz", inputs=random.integers(0, 10, (150, LENGTH)))
    shifted = random.normal(0, 0.8, (150, BANDS, TIMES)) + random.normal(0, 2, (150, BANDS, 1))
    np.savez_compressed(folder / "sounds-unknown.npz", inputs=shifted)


def _train(network: nn.Module, inputs: torch.Tensor, labels: torch.Tensor) -> None:
    optimizer = torch.optim.Adam(network.parameters(), 0.01)
    for _ in range(6):
        for rows in torch.randperm(len(labels)).split(100):
            optimizer.zero_grad()
            cross_entropy(network(inputs[rows]), labels[rows]).backward()
            optimizer.step()
