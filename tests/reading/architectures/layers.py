"""Layers of torch.nn one by one: embeddings, convolutions, norms, activations with parameters."""

from typing import Any

import torch
from torch import nn

from oracles.networks import samples
from reading.architectures.case import Case, body, head, network, tokens

TEXT = tokens(3, 5, 7)


def _embedding(**options: Any) -> Case:
    return network(
        lambda m, x: m.head(m.embedding(x).tanh().flatten(1)),
        TEXT,
        embedding=lambda: nn.Embedding(7, 4, **options),
        head=head(20),
    )


def _bag(**options: Any) -> Case:
    return network(
        lambda m, x: m.head(m.bag(x).tanh()), TEXT, bag=lambda: nn.EmbeddingBag(7, 4, **options), head=head(4)
    )


CASES = {
    "embedding": _embedding(),
    "embedding padding_idx": _embedding(padding_idx=0),
    "embedding sparse": _embedding(sparse=True, padding_idx=0),
    "embedding of one token": network(
        lambda m, x: m.head(m.embedding(x)), TEXT[:, 0], embedding=lambda: nn.Embedding(7, 4), head=head(4)
    ),
    "embedding of a grid": network(
        lambda m, x: m.head(m.embedding(x).mean((1, 2))),
        torch.randint(7, (2, 3, 4), generator=torch.Generator().manual_seed(0)),
        embedding=lambda: nn.Embedding(7, 4, padding_idx=2),
        head=head(4),
    ),
    "embedding bag sum": _bag(mode="sum"),
    "embedding bag mean": _bag(mode="mean"),
    "embedding bag max": _bag(mode="max"),
    "embedding bag sum padding_idx": _bag(mode="sum", padding_idx=0),
    "embedding bag mean padding_idx": _bag(mode="mean", padding_idx=0),
    "embedding bag max padding_idx": _bag(mode="max", padding_idx=0),
    "embedding bag weighted": network(
        lambda m, x, share: m.head(m.bag(x, per_sample_weights=share)),
        (TEXT, samples(3, 5)),
        bag=lambda: nn.EmbeddingBag(7, 4, mode="sum"),
        head=head(4),
    ),
    "conv1d": body((4, 12), lambda: nn.Conv1d(4, 6, 3, stride=2, dilation=2, groups=2, padding=2), nn.Tanh),
    "conv2d circular": body((2, 5, 6), lambda: nn.Conv2d(2, 4, 3, padding=1, padding_mode="circular"), nn.Tanh),
    "conv3d": body(
        (2, 5, 4, 6), lambda: nn.Conv3d(2, 4, (3, 2, 3), stride=(2, 1, 1), padding=1, dilation=(1, 1, 2)), nn.Tanh
    ),
    "conv3d depthwise": body((2, 3, 4, 3), lambda: nn.Conv3d(2, 4, 2, groups=2), nn.Tanh),
    "conv_transpose1d": body((3, 5), lambda: nn.ConvTranspose1d(3, 4, 3, stride=2, output_padding=1), nn.Tanh),
    "conv_transpose2d": body(
        (4, 3, 4),
        lambda: nn.ConvTranspose2d(4, 6, 3, stride=(2, 1), padding=1, output_padding=(1, 0), groups=2),
        nn.Tanh,
        lambda: nn.ConvTranspose2d(6, 2, 2, dilation=2, bias=False),
        nn.Tanh,
    ),
    "conv_transpose3d": body(
        (2, 2, 3, 2), lambda: nn.ConvTranspose3d(2, 4, 2, stride=2, groups=2, dilation=(1, 2, 1)), nn.Tanh
    ),
    "batch norm": body((3, 4, 4), lambda: nn.Conv2d(3, 4, 3, bias=False), lambda: nn.BatchNorm2d(4), nn.ReLU),
    "layer norm": body((4, 5), lambda: nn.LayerNorm(5), nn.Tanh, lambda: nn.LayerNorm((4, 5), eps=0.1), nn.Tanh),
    "group norm": body((4, 3, 5), lambda: nn.GroupNorm(2, 4, eps=0.1), nn.Tanh, lambda: nn.Conv2d(4, 2, 2)),
    "instance norm": body((3, 4, 5), lambda: nn.InstanceNorm2d(3, affine=True), nn.Tanh),
    "instance norm running": body((3, 6), lambda: nn.InstanceNorm1d(3, affine=True, track_running_stats=True), nn.Tanh),
    "rms norm": body((2, 4, 5), lambda: nn.RMSNorm(5), nn.Tanh, lambda: nn.RMSNorm((4, 5), eps=0.1), nn.Tanh),
    "prelu": body((5,), lambda: nn.Linear(5, 4), nn.PReLU),
    "prelu per channel": body((2, 5, 5), lambda: nn.Conv2d(2, 4, 2), lambda: nn.PReLU(4)),
    "bilinear": network(
        lambda m, x, y: m.pair(x, y), (samples(2, 4), samples(2, 5, seed=2)), pair=lambda: nn.Bilinear(4, 5, 3)
    ),
    "bilinear over positions": network(
        lambda m, x, y: m.pair(x, y).tanh().mean(1),
        (samples(2, 3, 4), samples(2, 3, 5, seed=2)),
        pair=lambda: nn.Bilinear(4, 5, 3),
    ),
    "in-place activations": body(
        (2, 6, 6),
        lambda: nn.Conv2d(2, 4, 3),
        lambda: nn.ReLU(inplace=True),
        lambda: nn.Conv2d(4, 4, 3),
        lambda: nn.Hardswish(inplace=True),
        lambda: nn.Conv2d(4, 2, 1),
        lambda: nn.ELU(inplace=True),
    ),
    "dropouts": body(
        (2, 4, 4), lambda: nn.Conv2d(2, 4, 3), nn.Dropout2d, lambda: nn.Dropout(inplace=True), nn.AlphaDropout
    ),
    "upsampling, pooling, pixel shuffle": body(
        (2, 4, 4),
        lambda: nn.Conv2d(2, 4, 1),
        lambda: nn.PixelShuffle(2),
        lambda: nn.Conv2d(1, 2, 3),
        lambda: nn.Upsample(scale_factor=1.5, mode="bilinear"),
        lambda: nn.MaxPool2d(2),
        lambda: nn.Conv2d(2, 2, 1),
        lambda: nn.AdaptiveAvgPool2d(2),
    ),
    "unfold and fold": body(
        (1, 4, 4),
        lambda: nn.Unfold(2, stride=2),
        lambda: nn.Conv1d(4, 4, 1),
        lambda: nn.Fold((4, 4), 2, stride=2),
        lambda: nn.Conv2d(1, 2, 2),
    ),
    "one dense layer": Case(lambda: nn.Linear(5, 3), samples(3, 5)),
}
