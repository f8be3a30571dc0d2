"""The account on the page of what was chosen on which images; whoever changes a setting adds what it was chosen by."""

from gradmeter.research.ood_benchmark.real.corruptions import CORRUPTIONS
from gradmeter.research.ood_benchmark.real.images import KNOWN_CLASSES

_CORRUPTIONS = ", ".join(kind.name for kind in CORRUPTIONS)
_EXCLUDED = "; ".join(f"{', '.join(names)} ({known})" for known, names in KNOWN_CLASSES.items())

COLUMNS = (
    "- wrong: wrong predictions on known test images against right ones.",
    "- CIFAR-100: without the first 1,000 images, on which settings were chosen. None of its classes is one of",
    "  CIFAR-10's.",
    f"- Tiny-ImageNet: without the classes that show one of CIFAR-10's: {_EXCLUDED}.",
    "- digits, letters: EMNIST's drawings in three equal channels, with a margin of black pixels. uniform, normal:",
    "  noise.",
    f"- corrupted: known test images with a corruption ({_CORRUPTIONS}; five",
    "  strengths each). The column is about wrong predictions among corrupted images against right ones.",
    "- adversarial: known test images after FGSM or ten steps of PGD with a largest change of 1/255 or 2/255 of a",
    "  pixel, rounded to 8 bits, whose prediction was right and is now wrong. Every network has its own.",
    "- wrong or unknown: wrong predictions and all unknown images together, without the corrupted and adversarial",
    "  ones. Its AUGRC is the measure of FD-Shifts.",
)
"""What the columns are, lines of Markdown."""

SETTINGS = (
    "- gradmeter's settings were chosen on ResNet-20 and 32, on networks of other tasks ([benchmark](benchmark.md))",
    "  and on CIFAR-100's first 1,000 images. ResNet-44 and 56 and the other columns are only reported. Prototypes",
    "  had been measured on ResNet-56 before, when the targets were set. An earlier form of the judge was reported",
    "  here: on CIFAR-100 it was 0.30 points above the best detector. After that, the share of images with a second",
    "  look and the fall of P(known) with the largest logit were chosen, on ResNet-20 and 32.",
    "- The boosted trees that learn CIFAR-100 are a reference for what is possible, not a method: their settings were",
    "  tried on ResNet-20, with one half of the first 1,000 images to learn from and the other to score.",
    "- The judge is fitted to the validation half of a draw and to synthetic unknowns made from it",
    "  (`gradmeter.trust.synthetic`); uniform noise is one of their kinds, and images with normal noise added are",
    "  similar to normal noise.",
    "- Detectors learn from the same validation half. The networks were trained on CIFAR-10's training images, but",
    "  those at hand (`cifar10_train20k.npz`) are JPEG copies. Fitted to them, KNN and Mahalanobis, with or without",
    "  normalisation, had a lower AUROC on ResNet-20 and 32, for wrong predictions and for CIFAR-100's first 1,000",
    "  images.",
    "- ODIN and the detectors that learn and need the images (MahalanobisODIN, MultiMahalanobis, Gram, NAC) take many",
    "  passes. They are scored once for all draws, and the latter are fitted to the 2,000 images that are in the",
    "  validation half of every draw.",
    "- Settings that pytorch-ood searches, and NAC's steepness, are chosen by the AUROC of 200 validation images",
    "  against synthetic unknowns made from 40 of them; NAC's candidates are fitted to 500 images. p-norm MaxLogit",
    "  chooses p, and the meta model its form, by the AURC of the validation half, the latter in five folds.",
    "- p-norm MaxLogit is MaxLogit-pNorm of Cattelan and Silva (2024). KNN and Mahalanobis in the L2-normalised",
    "  embedding follow Sun et al. (2022), with the tenth neighbour, and Mahalanobis++ (Müller and Hein 2025).",
    "  GradTrust (arXiv:2405.13758) is computed as its authors' code does. The meta model is in the manner of",
    "  MetaModelSelect: a logistic regression or boosted trees on logits and embedding. The softmax and the other",
    "  scores of logits are computed in float64, because in float32 many probabilities are exactly 1.",
    "- Draws share images: 2,000 are in every validation half, and 500, from which corrupted and adversarial images",
    "  are made, in every test half. The blocks of Friedman's test share images and networks too, so its p-values are",
    "  only a guide.",
)
"""What was chosen on which images, lines of Markdown."""
