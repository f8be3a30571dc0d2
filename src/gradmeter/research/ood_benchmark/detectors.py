"""The post-hoc detectors of pytorch-ood, by name, with the settings that their papers or the library recommend.

Left out are those that are for other networks (MCM, for CLIP) or need what a classifier does not have (WeightedEBO's
weights).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gradmeter.errors import GradmeterError
from gradmeter.research.ood_benchmark.parts import Parts

# ViM's principal space: half of the features, as its paper takes for fewer than 768.
_PRINCIPAL_SHARE = 0.5
# DICE's share of masked contributions, as its paper takes for CIFAR-10.
_MASKED = 0.9


def require_library() -> Any:
    """The module pytorch_ood.detector.

    Raises:
        GradmeterError: if pytorch-ood is not installed.
    """
    try:
        from pytorch_ood import detector
    except ModuleNotFoundError as error:
        raise GradmeterError(
            'the comparison needs the package pytorch-ood, which is not installed; pip install "gradmeter[compare]"'
        ) from error
    return detector


def _last_layer(parts: Parts) -> Callable[[str], bool]:
    weight = parts.last_weight
    return lambda name: name == weight


Make = Callable[[Any, Parts], Any]

DETECTORS: dict[str, Make] = {
    "MSP": lambda ood, parts: ood.MaxSoftmax(parts.network),
    "Entropy": lambda ood, parts: ood.Entropy(parts.network),
    "MaxLogit": lambda ood, parts: ood.MaxLogit(parts.network),
    "Energy": lambda ood, parts: ood.EnergyBased(parts.network),
    "GEN": lambda ood, parts: ood.GEN(parts.network),
    "TemperatureScaling": lambda ood, parts: ood.TemperatureScaling(parts.network),
    "KLMatching": lambda ood, parts: ood.KLMatching(parts.network),
    "OpenMax": lambda ood, parts: ood.OpenMax(parts.network),
    "MCD": lambda ood, parts: ood.MCD(parts.network),
    "ODIN": lambda ood, parts: ood.ODIN(parts.network),
    "Mahalanobis": lambda ood, parts: ood.Mahalanobis(parts.encoder),
    "MahalanobisODIN": lambda ood, parts: ood.MahalanobisODIN(parts.encoder),
    "MultiMahalanobis": lambda ood, parts: ood.MultiMahalanobis(list(parts.stages)),
    "RMD": lambda ood, parts: ood.RMD(parts.encoder),
    "GMM": lambda ood, parts: ood.GMM(parts.encoder),
    "KNN": lambda ood, parts: ood.KNN(parts.encoder),
    "ViM": lambda ood, parts: ood.ViM(
        parts.encoder,
        d=int(_PRINCIPAL_SHARE * parts.last.in_features),
        w=parts.last.weight.detach(),
        b=parts.last.bias.detach(),
    ),
    "SHE": lambda ood, parts: ood.SHE(parts.encoder, parts.last),
    "fDBD": lambda ood, parts: ood.fDBD(parts.encoder, parts.last),
    "NCI": lambda ood, parts: ood.NCI(parts.encoder, parts.last),
    "NNGuide": lambda ood, parts: ood.NNGuide(parts.encoder, parts.last),
    "PNML": lambda ood, parts: ood.PNML(parts.encoder, parts.last),
    "LTS": lambda ood, parts: ood.LTS(parts.encoder, parts.last),
    "DICE": lambda ood, parts: ood.DICE(
        parts.encoder, w=parts.last.weight.detach(), b=parts.last.bias.detach(), p=_MASKED
    ),
    "ASH": lambda ood, parts: ood.ASH(parts.backbone, parts.head),
    "SCALE": lambda ood, parts: ood.SCALE(parts.backbone, parts.head),
    "ReAct": lambda ood, parts: ood.ReAct(parts.backbone, parts.head),
    "VRA": lambda ood, parts: ood.VRA(parts.backbone, parts.head),
    "RankFeat": lambda ood, parts: ood.RankFeat(parts.backbone, parts.head),
    "Gram": lambda ood, parts: ood.Gram(parts.head, list(parts.stages), parts.last.out_features),
    "NAC": lambda ood, parts: ood.NACUE(parts.network, parts.layers),
    "GradNorm": lambda ood, parts: ood.GradNorm(parts.network, param_filter=_last_layer(parts)),
    "GradUncertainty": lambda ood, parts: ood.GradUncertainty(parts.network, param_filter=_last_layer(parts)),
}
"""How each is made, from the module pytorch_ood.detector and the pieces of a network."""

ON_VALIDATION = ("TemperatureScaling", "KLMatching")
"""What learns from validation images, by its paper; the others learn from those that the network learned from."""

_NAC_STEEPNESS = [10.0**power for power in range(-3, 5)]


def search_space(name: str, detector: Any, parts: Parts, samples: int) -> dict[str, list[Any]]:
    """What is to be chosen on validation data, and from what: the library's grid, as far as it fits.

    NAC has none there. It bins a sigmoid of gradients, which shrink with the size of feature maps: at the library's
    steepness most fall into one bin.
    """
    space: dict[str, list[Any]] = dict(getattr(detector, "hyperparameter_space", None) or {})
    if name == "NAC":
        space = {"alpha": [[steepness] * len(parts.layers) for steepness in _NAC_STEEPNESS]}
    elif name == "OpenMax":
        # Its paper's weight of the distances stays: all 150 settings would take an hour.
        del space["euclid_weight"]
    elif name == "KNN":
        space["k"] = [neighbours for neighbours in space["k"] if neighbours < samples]
    elif name == "ViM":
        space["d"] = [dimension for dimension in space["d"] if dimension < parts.last.in_features]
    elif name == "GEN":
        # All classes are fewer than the least of the grid.
        del space["M"]
    return space


def applies(name: str, parts: Parts) -> bool:
    """Whether a detector has anything to say of a network: Monte Carlo dropout needs dropout."""
    return name != "MCD" or any("Dropout" in type(module).__name__ for module in parts.network.modules())


def made(name: str, parts: Parts) -> Any:
    """A detector that is not fitted yet, with the library's settings or its paper's.

    Raises:
        GradmeterError: if pytorch-ood is not installed.
    """
    return DETECTORS[name](require_library(), parts)
