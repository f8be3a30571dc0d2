"""Several images of each patient: what a TrustModel that is fitted to all of them is worth on new patients.

    python examples/patients.py --images cifar10_test.npz --networks DIR

CIFAR-10's images stand for patients, and noisy crops of an image for the images of a patient. DIR holds the weights of
the residual networks (`gradmeter.research.cifar_resnets`). Prints the AUROC of wrong predictions, in percent, on the
held-out folds of the fit, as `gradmeter fit` prints it, and on new patients.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gradmeter import GradientMeter, TrustModel
from gradmeter.errors import GradmeterError
from gradmeter.reading.scores import max_softmax
from gradmeter.research.cifar_resnets import DEPTHS, load_cifar_resnet
from gradmeter.trust.ranking import auroc_within_folds

PATIENTS, CROPS, NEW, FIRST_NEW = 400, 5, 1500, 5000
EDGE, NOISE = 2, 4 / 255


def crops(images: Tensor, count: int) -> Tensor:
    """Crops of [N, 3, 32, 32], those of an image after each other."""
    padded = torch.nn.functional.pad(images, (EDGE,) * 4, mode="reflect").repeat_interleave(count, 0)
    cut = [
        image[:, down : down + 32, right : right + 32]
        for image, (down, right) in zip(padded, torch.randint(0, 2 * EDGE + 1, (len(padded), 2)).tolist(), strict=True)
    ]
    return (torch.stack(cut) + NOISE * torch.randn(len(cut), 3, 32, 32)).clamp(0, 1)


def auroc(score: Tensor, wrong: Tensor, folds: NDArray[np.int64] | None = None) -> float:
    """AUROC of wrong predictions in percent, by a score that is lower for them."""
    folds = np.zeros(len(score), np.int64) if folds is None else folds
    return 100 * auroc_within_folds(-score.numpy(), wrong.numpy(), folds)


def main() -> None:
    """Fit to all crops and to one of each patient, for each network, and print a row for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--networks", type=Path, required=True)
    arguments = parser.parse_args()
    if not arguments.images.is_file():
        parser.error(f"{arguments.images} is not a file; expected CIFAR-10 as an .npz archive")
    archive = np.load(arguments.images)
    images = torch.from_numpy(archive["images"]).permute(0, 3, 1, 2) / 255
    labels = torch.from_numpy(archive["labels"]).long()
    torch.manual_seed(0)
    patients = slice(PATIENTS)
    new = slice(FIRST_NEW, FIRST_NEW + NEW)
    all_crops, of_all = crops(images[patients], CROPS), labels[patients].repeat_interleave(CROPS)
    new_crops = crops(images[new], 1)
    print("network    images  in folds  new patients  softmax on new patients")
    for depth in DEPTHS:
        try:
            network = load_cifar_resnet(arguments.networks, depth)
        except GradmeterError as error:
            parser.error(str(error))
        with torch.inference_mode():
            logits, is_wrong = network(new_crops), network(all_crops).argmax(1) != of_all
        new_is_wrong = logits.argmax(1) != labels[new]
        softmax = auroc(torch.from_numpy(max_softmax(logits)), new_is_wrong)
        for step in (1, CROPS):
            known, of_known = all_crops[::step], of_all[::step]
            trust = TrustModel(GradientMeter(network), reads="forward").fit((known, of_known))
            assert trust.judge is not None
            held_out = torch.from_numpy(trust.judge.held_out.p_correct)
            in_folds = auroc(held_out, is_wrong[::step], trust.judge.folds)
            on_new = auroc(trust.predict_proba(new_crops), new_is_wrong)
            print(f"ResNet-{depth}  {len(known):6,}  {in_folds:8.2f}  {on_new:12.2f}  {softmax:23.2f}", flush=True)


if __name__ == "__main__":
    main()
