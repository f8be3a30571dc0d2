"""Evaluate gradmeter with OpenOOD's evaluator, on a checkpoint of a ResNet-18 for CIFAR-10 and OpenOOD's data.

    pip install git+https://github.com/Jingkang50/OpenOOD
    python examples/openood_benchmark.py best.ckpt --data data

OpenOOD downloads the data, and needs a GPU. Its checkpoints are files of tensors; they are loaded as such.
"""

import argparse
from pathlib import Path

import torch
from openood.evaluation_api import Evaluator
from openood.networks import ResNet18_32x32

from gradmeter.trust.adapters.openood import GradmeterPostprocessor


def main() -> None:
    """Parse the command line and do it."""
    parser = argparse.ArgumentParser(description="Evaluate gradmeter with OpenOOD's evaluator on CIFAR-10.")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--data", default="./data", help="folder of OpenOOD's data")
    parser.add_argument("--score", default="p_known", help="p_known, p_correct or p_correct_if_known")
    parser.add_argument("--reads", default="forward", help="auto, forward or gradients")
    arguments = parser.parse_args()
    network = ResNet18_32x32(num_classes=10)
    network.load_state_dict(torch.load(arguments.checkpoint, map_location="cpu", weights_only=True))
    network.cuda().eval()
    options = {"score": arguments.score, "reads": arguments.reads}
    postprocessor = GradmeterPostprocessor({"postprocessor": {"postprocessor_args": options}})
    evaluator = Evaluator(network, id_name="cifar10", data_root=arguments.data, postprocessor=postprocessor)
    evaluator.eval_ood(fsood=False)


if __name__ == "__main__":
    main()
