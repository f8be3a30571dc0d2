"""The post-hoc detectors of pytorch-ood by name, with the settings that their papers or the library recommend.

MCM, which is made for CLIP, and WeightedEBO, which needs weights that a classifier does not have, are left out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from gradmeter.errors import GradmeterError
from gradmeter.research.ood_benchmark.parts import Parts

# ViM's principal space has half of the dimensions, as in its paper for fewer than 768 features.
_PRINCIPAL_SHARE = 0.5
# Share of contributions that DICE masks, as in its paper for CIFAR-10.
_MASKED = 0.9
_NAC_STEEPNESS = [10.0**power for power in range(-3, 5)]

SearchSpace = dict[str, list[Any]]
"""Values to choose from, by the name of the setting."""


def library_grid(detector: Any, parts: Parts, samples: int) -> SearchSpace:
    """Return the grid that pytorch-ood searches; empty if the detector has none."""
    return dict(getattr(detector, "hyperparameter_space", None) or {})


@dataclass(frozen=True)
class DetectorEntry:
    """How the benchmark makes and fits a detector.

    A detector has `predict(images)`, which returns a score for each image, [n], the higher the less known the image
    is. If its `requires_fit` is true, `fit(loader)` is called with a loader of batches (images, labels). If it has
    settings to search, it must be a `pytorch_ood.api.Detector`.

    Attributes:
        make: maps the module pytorch_ood.detector and the parts of a network to a detector that is not fitted yet.
        search_space: maps the detector, the parts and the number of samples to fit it to, to the values that are
            compared on validation data.
        on_validation: fit to validation images, as its paper does, not to those that the network was trained on.
        applies: whether the detector can judge a network.
    """

    make: Callable[[Any, Parts], Any]
    search_space: Callable[[Any, Parts, int], SearchSpace] = library_grid
    on_validation: bool = False
    applies: Callable[[nn.Module], bool] = lambda network: True


def require_library() -> Any:
    """Return the module pytorch_ood.detector.

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


def make_detector(name: str, parts: Parts) -> Any:
    """Return a detector that is not fitted yet, with the settings of the library or of its paper.

    Raises:
        GradmeterError: if pytorch-ood is not installed.
    """
    return DETECTORS[name].make(require_library(), parts)


def _last_layer(parts: Parts) -> Callable[[str], bool]:
    weight = parts.last_weight
    return lambda name: name == weight


def _has_dropout(network: nn.Module) -> bool:
    return any("Dropout" in type(module).__name__ for module in network.modules())


def _gen_grid(detector: Any, parts: Parts, samples: int) -> SearchSpace:
    # The smallest number of classes in the grid exceeds what these networks have; all classes are used.
    return {name: values for name, values in library_grid(detector, parts, samples).items() if name != "M"}


def _knn_grid(detector: Any, parts: Parts, samples: int) -> SearchSpace:
    grid = library_grid(detector, parts, samples)
    return {**grid, "k": [neighbours for neighbours in grid["k"] if neighbours < samples]}


def _nac_grid(detector: Any, parts: Parts, samples: int) -> SearchSpace:
    # The library has no grid. NAC bins a sigmoid of gradients, which shrink with the size of feature maps: with the
    # library's steepness most of them fall into one bin.
    return {"alpha": [[steepness] * len(parts.layers) for steepness in _NAC_STEEPNESS]}


def _openmax_grid(detector: Any, parts: Parts, samples: int) -> SearchSpace:
    # The weight of distances is that of the paper: all 150 settings would take an hour.
    grid = library_grid(detector, parts, samples)
    return {name: values for name, values in grid.items() if name != "euclid_weight"}


def _vim_grid(detector: Any, parts: Parts, samples: int) -> SearchSpace:
    grid = library_grid(detector, parts, samples)
    return {**grid, "d": [dimension for dimension in grid["d"] if dimension < parts.last.in_features]}


DETECTORS: dict[str, DetectorEntry] = {
    "MSP": DetectorEntry(lambda ood, parts: ood.MaxSoftmax(parts.network)),
    "Entropy": DetectorEntry(lambda ood, parts: ood.Entropy(parts.network)),
    "MaxLogit": DetectorEntry(lambda ood, parts: ood.MaxLogit(parts.network)),
    "Energy": DetectorEntry(lambda ood, parts: ood.EnergyBased(parts.network)),
    "GEN": DetectorEntry(lambda ood, parts: ood.GEN(parts.network), _gen_grid),
    "TemperatureScaling": DetectorEntry(lambda ood, parts: ood.TemperatureScaling(parts.network), on_validation=True),
    "KLMatching": DetectorEntry(lambda ood, parts: ood.KLMatching(parts.network), on_validation=True),
    "OpenMax": DetectorEntry(lambda ood, parts: ood.OpenMax(parts.network), _openmax_grid),
    "MCD": DetectorEntry(lambda ood, parts: ood.MCD(parts.network), applies=_has_dropout),
    "ODIN": DetectorEntry(lambda ood, parts: ood.ODIN(parts.network)),
    "Mahalanobis": DetectorEntry(lambda ood, parts: ood.Mahalanobis(parts.encoder)),
    "MahalanobisODIN": DetectorEntry(lambda ood, parts: ood.MahalanobisODIN(parts.encoder)),
    "MultiMahalanobis": DetectorEntry(lambda ood, parts: ood.MultiMahalanobis(list(parts.stages))),
    "RMD": DetectorEntry(lambda ood, parts: ood.RMD(parts.encoder)),
    "GMM": DetectorEntry(lambda ood, parts: ood.GMM(parts.encoder)),
    "KNN": DetectorEntry(lambda ood, parts: ood.KNN(parts.encoder), _knn_grid),
    "ViM": DetectorEntry(
        lambda ood, parts: ood.ViM(
            parts.encoder,
            d=int(_PRINCIPAL_SHARE * parts.last.in_features),
            w=parts.last.weight.detach(),
            b=parts.last.bias.detach(),
        ),
        _vim_grid,
    ),
    "SHE": DetectorEntry(lambda ood, parts: ood.SHE(parts.encoder, parts.last)),
    "fDBD": DetectorEntry(lambda ood, parts: ood.fDBD(parts.encoder, parts.last)),
    "NCI": DetectorEntry(lambda ood, parts: ood.NCI(parts.encoder, parts.last)),
    "NNGuide": DetectorEntry(lambda ood, parts: ood.NNGuide(parts.encoder, parts.last)),
    "PNML": DetectorEntry(lambda ood, parts: ood.PNML(parts.encoder, parts.last)),
    "LTS": DetectorEntry(lambda ood, parts: ood.LTS(parts.encoder, parts.last)),
    "DICE": DetectorEntry(
        lambda ood, parts: ood.DICE(parts.encoder, w=parts.last.weight.detach(), b=parts.last.bias.detach(), p=_MASKED)
    ),
    "ASH": DetectorEntry(lambda ood, parts: ood.ASH(parts.backbone, parts.head)),
    "SCALE": DetectorEntry(lambda ood, parts: ood.SCALE(parts.backbone, parts.head)),
    "ReAct": DetectorEntry(lambda ood, parts: ood.ReAct(parts.backbone, parts.head)),
    "VRA": DetectorEntry(lambda ood, parts: ood.VRA(parts.backbone, parts.head)),
    "RankFeat": DetectorEntry(lambda ood, parts: ood.RankFeat(parts.backbone, parts.head)),
    "Gram": DetectorEntry(lambda ood, parts: ood.Gram(parts.head, list(parts.stages), parts.last.out_features)),
    "NAC": DetectorEntry(lambda ood, parts: ood.NACUE(parts.network, parts.layers), _nac_grid),
    "GradNorm": DetectorEntry(lambda ood, parts: ood.GradNorm(parts.network, param_filter=_last_layer(parts))),
    "GradUncertainty": DetectorEntry(
        lambda ood, parts: ood.GradUncertainty(parts.network, param_filter=_last_layer(parts))
    ),
}
"""The detectors of the benchmark by name.

To compare another detector, add an entry at the top level of the script that starts the benchmark: worker processes
import the script again.
"""
