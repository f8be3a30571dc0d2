"""A small network and an exam of it."""

from functools import partial

import torch
from torch import Tensor, nn

from gradmeter.research.gradient_gain.attacks import fgsm
from gradmeter.research.gradient_gain.exam import Exam
from gradmeter.research.gradient_gain.samples import Samples
from gradmeter.trust.synthetic import synthetic_unknowns

KNOWN, UNKNOWN, ATTACKED = 360, 60, 120


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 3)).eval()


def samples(model: nn.Module, count: int, seed: int) -> Samples:
    """Images whose classes are the predictions, but for a quarter of them."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(count, 1, 8, 8, generator=generator)
    with torch.no_grad():
        labels = model(images).argmax(1)
    is_other = torch.rand(count, generator=generator) < 0.25
    return Samples(images, torch.where(is_other, (labels + 1) % 3, labels))


def exam(folds: int) -> Exam:
    model = network()
    known, validation = samples(model, KNOWN, 0), samples(model, 300, 1)
    corrupted = {"noise": Samples((known.inputs + 0.3).clamp(0, 1), known.labels)}
    unknown = torch.rand(UNKNOWN, 1, 8, 8, generator=torch.Generator().manual_seed(2)).square()
    originals = validation.rows(slice(30))
    return Exam(
        model,
        known,
        None if folds > 1 else validation,
        folds,
        {name: synthetic_unknowns(originals.inputs, originals.labels)[name] for name in ("blur", "uniform noise")},
        {"dark": unknown},
        {"FGSM 8/255": partial(attacked, model, known.rows(slice(ATTACKED)))},
        corrupted,
    )


def attacked(model: nn.Module, known: Samples) -> Tensor:
    return fgsm(model, known.inputs, known.labels, 0.1, torch.Generator())
