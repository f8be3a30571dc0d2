"""Digits as files, and a timm network trained on them: what the guide's commands start from.

    python examples/digits.py --out digits --model resnet18
    python examples/digits.py --out digits --model vit_tiny_patch16_224 --size 64

writes digits/validation and digits/test, one folder for each class; digits/unknown, a folder for each kind of image
that the network never learns; and digits/MODEL.safetensors. The images are those of `gradmeter reproduce`: digits that
a package carries, or with --data a folder of .npz archives.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import timm
import torch
from PIL import Image
from rich.progress import track
from safetensors.torch import save_file
from torch import Tensor, nn

from gradmeter.errors import GradmeterError
from gradmeter.research.study.data.concept import Concept
from gradmeter.research.study.data.sources import load
from gradmeter.sources.models import Classifier, ImageOptions
from gradmeter.sources.models.timm_models import with_timm_preprocessing

CLASSES = [str(digit) for digit in range(10)]
BATCH = 128


def write_images(folder: Path, concept: Concept) -> None:
    """Write a PNG file for each image, in a folder for its class where it has one."""
    for number, image in enumerate(concept.images):
        label = "" if concept.labels is None else CLASSES[concept.labels[number]]
        (folder / label).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / label / f"{number:05}.png")


def inputs_of(concept: Concept, classifier: Classifier) -> Tensor:
    """The network's inputs, made as gradmeter makes them."""
    return torch.cat([classifier.batch([Image.fromarray(image)]) for image in concept.images])


def train(network: nn.Module, images: Tensor, labels: Tensor, epochs: int, rate: float) -> None:
    """Adam under a one-cycle schedule, images shifted by up to two pixels."""
    steps = -(-len(images) // BATCH)
    optimiser = torch.optim.AdamW(network.parameters(), rate, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, epochs * steps)
    network.train()
    for _ in track(range(epochs), "training"):
        for rows in torch.randperm(len(images)).split(BATCH):
            down, right = torch.randint(-2, 3, (2,)).tolist()
            optimiser.zero_grad()
            answers = network(images[rows].roll((down, right), (2, 3)))
            nn.functional.cross_entropy(answers, labels[rows]).backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()
            schedule.step()
    network.eval()


def main() -> None:
    """Read the arguments; write images and weights."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("digits"))
    parser.add_argument("--data", default="embedded", help="embedded, or a folder of .npz archives")
    parser.add_argument("--model", default="resnet18", help="a name of timm")
    parser.add_argument("--size", type=int, default=32, help="height and width of the network's input, in pixels")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--rate", type=float, default=1e-3, help="largest learning rate")
    parser.add_argument(
        "--images", type=int, nargs=3, default=(2000, 1500, 1500), metavar=("TRAIN", "VALIDATION", "TEST")
    )
    given = parser.parse_args()
    if not timm.is_model(given.model):
        parser.error(f"--model {given.model} is not a model of timm; timm.list_models() lists them")
    if min(given.images) < 1:
        parser.error(f"--images {' '.join(map(str, given.images))}; expected at least 1 of each")
    try:
        collection = load(given.data)
    except GradmeterError as error:
        parser.error(str(error))

    torch.manual_seed(0)
    random = np.random.default_rng(0)
    order = random.permutation(len(collection.digits))
    training, validation, test, _ = (collection.digits.take(rows) for rows in np.split(order, np.cumsum(given.images)))
    write_images(given.out / "validation", validation)
    write_images(given.out / "test", test)
    for role, pool in collection.unknowns.items():
        few = random.permutation(len(pool))[: len(test.images)]
        write_images(given.out / "unknown" / role, Concept(role, pool.images[few]))

    shape = {"img_size": given.size} if "vit" in given.model else {}
    network = timm.create_model(given.model, num_classes=len(CLASSES), in_chans=1, **shape)
    options = ImageOptions(given.size, mean=(0.5,), std=(0.5,), grey=True)
    classifier = with_timm_preprocessing(given.model, network, None, options)
    train(network, inputs_of(training, classifier), torch.from_numpy(training.labels), given.epochs, given.rate)
    with torch.inference_mode():
        answers = torch.cat([network(part).argmax(1) for part in inputs_of(test, classifier).split(BATCH)])
    wrong = float((answers != torch.from_numpy(test.labels)).float().mean())
    weights = given.out / f"{given.model}.safetensors"
    save_file(network.state_dict(), weights, metadata={"classes": json.dumps(CLASSES)})
    print(f"{weights}: {100 * wrong:.2f} % of {len(answers):,} test digits are wrong")


if __name__ == "__main__":
    main()
