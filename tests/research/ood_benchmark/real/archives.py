"""Archives and networks in the format of the real ones: photographs of noise, and networks with random weights."""

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from gradmeter.research.cifar_resnets import DEPTHS, CifarResNet, weights_path
from gradmeter.research.ood_benchmark.parts import parts_of
from gradmeter.research.ood_benchmark.tasks import as_images
from research.ood_benchmark.archives import write_archives

KNOWN = 200
TINY_NAMES = ("tabby, tabby cat", "goldfish, Carassius auratus", "sports car, sport car", "alp")
_WRONG = 0.08


def write_real_archives(data: Path, networks: Path) -> None:
    """Write archives, and networks of which the ResNet-20 predicts all classes, most of them right."""
    write_archives(data)
    random = np.random.default_rng(0)
    scales = random.integers(10, 256, (KNOWN, 1, 1, 3))
    known = (random.random((KNOWN, 32, 32, 3)) * scales).astype(np.uint8)
    labels = write_networks(networks, known)
    changed = random.random(KNOWN) < _WRONG
    labels[changed] = (labels[changed] + 1) % 10
    np.savez(data / "cifar10_test.npz", images=known, labels=labels)
    others = random.integers(0, 256, (1040, 32, 32, 3), np.uint8)
    np.savez(data / "cifar100_test3k.npz", images=others, labels=np.arange(1040) % 100)
    np.savez(
        data / "tiny_imagenet_32_3k.npz", images=others[:60], labels=np.arange(60) % 4, class_names=np.array(TINY_NAMES)
    )


def write_networks(folder: Path, known: np.ndarray) -> np.ndarray:
    """Write the networks; return the predictions of the ResNet-20 for photographs."""
    for depth in reversed(DEPTHS):
        torch.manual_seed(depth)
        network = CifarResNet(depth).eval()
        parts = parts_of(network)
        with torch.no_grad():
            images = as_images(known)
            if depth == DEPTHS[0]:
                features = parts.encoder(images)
                _, sizes, axes = torch.linalg.svd(features - features.mean(0), full_matrices=False)
                network.linear.weight.copy_(torch.randn(10, 8) @ (20 * axes[:8] / sizes[:8, None]))
                network.linear.bias.copy_(-network.linear.weight @ features.mean(0))
        save_file(network.state_dict(), weights_path(folder, depth))
    with torch.no_grad():
        return network(images).argmax(1).numpy().copy()
