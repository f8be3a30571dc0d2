"""The post-hoc detectors by name, with the settings that their papers or the library recommend.

They are those of pytorch-ood and some that it lacks. MCM, which is made for CLIP, and WeightedEBO, which needs weights
that a classifier does not have, are left out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import nn

from gradmeter.errors import GradmeterError
from gradmeter.research.ood_benchmark.baselines import (
    GradTrust,
    MetaModel,
    NormalisedKNN,
    NormalisedMahalanobis,
    PNormMaxLogit,
)
from gradmeter.research.ood_benchmark.parts import EMBEDDING, FEATURE_MAPS, IMAGES, LOGITS, Parts

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
        start: what the detector starts from. If it is not `IMAGES`, the parts may begin there (`Parts.after`), and
            `fit` and `predict` then get feature maps, embeddings or logits instead of images.
    """

    make: Callable[[Any, Parts], Any]
    search_space: Callable[[Any, Parts, int], SearchSpace] = library_grid
    on_validation: bool = False
    applies: Callable[[nn.Module], bool] = lambda network: True
    start: str = IMAGES


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


_from_embedding = partial(DetectorEntry, start=EMBEDDING)
_from_logits = partial(DetectorEntry, start=LOGITS)
_from_maps = partial(DetectorEntry, start=FEATURE_MAPS)

DETECTORS: dict[str, DetectorEntry] = {
    "MSP": _from_logits(lambda ood, parts: ood.MaxSoftmax(parts.network)),
    "Entropy": _from_logits(lambda ood, parts: ood.Entropy(parts.network)),
    "MaxLogit": _from_logits(lambda ood, parts: ood.MaxLogit(parts.network)),
    "Energy": _from_logits(lambda ood, parts: ood.EnergyBased(parts.network)),
    "GEN": _from_logits(lambda ood, parts: ood.GEN(parts.network), _gen_grid),
    "TemperatureScaling": _from_logits(lambda ood, parts: ood.TemperatureScaling(parts.network), on_validation=True),
    "KLMatching": _from_logits(lambda ood, parts: ood.KLMatching(parts.network), on_validation=True),
    "OpenMax": _from_logits(lambda ood, parts: ood.OpenMax(parts.network), _openmax_grid),
    "MCD": DetectorEntry(lambda ood, parts: ood.MCD(parts.network), applies=_has_dropout),
    "ODIN": DetectorEntry(lambda ood, parts: ood.ODIN(parts.network)),
    "Mahalanobis": _from_embedding(lambda ood, parts: ood.Mahalanobis(parts.encoder)),
    "MahalanobisODIN": DetectorEntry(lambda ood, parts: ood.MahalanobisODIN(parts.encoder)),
    "MultiMahalanobis": DetectorEntry(lambda ood, parts: ood.MultiMahalanobis(list(parts.stages))),
    "RMD": _from_embedding(lambda ood, parts: ood.RMD(parts.encoder)),
    "GMM": _from_embedding(lambda ood, parts: ood.GMM(parts.encoder)),
    "KNN": _from_embedding(lambda ood, parts: ood.KNN(parts.encoder), _knn_grid),
    "ViM": _from_embedding(
        lambda ood, parts: ood.ViM(
            parts.encoder,
            d=int(_PRINCIPAL_SHARE * parts.last.in_features),
            w=parts.last.weight.detach(),
            b=parts.last.bias.detach(),
        ),
        _vim_grid,
    ),
    "SHE": _from_embedding(lambda ood, parts: ood.SHE(parts.encoder, parts.last)),
    "fDBD": _from_embedding(lambda ood, parts: ood.fDBD(parts.encoder, parts.last)),
    "NCI": _from_embedding(lambda ood, parts: ood.NCI(parts.encoder, parts.last)),
    "NNGuide": _from_embedding(lambda ood, parts: ood.NNGuide(parts.encoder, parts.last)),
    "PNML": _from_embedding(lambda ood, parts: ood.PNML(parts.encoder, parts.last)),
    "LTS": _from_embedding(lambda ood, parts: ood.LTS(parts.encoder, parts.last)),
    "DICE": _from_embedding(
        lambda ood, parts: ood.DICE(parts.encoder, w=parts.last.weight.detach(), b=parts.last.bias.detach(), p=_MASKED)
    ),
    "ASH": _from_maps(lambda ood, parts: ood.ASH(parts.backbone, parts.head)),
    "SCALE": _from_maps(lambda ood, parts: ood.SCALE(parts.backbone, parts.head)),
    "ReAct": _from_maps(lambda ood, parts: ood.ReAct(parts.backbone, parts.head)),
    "VRA": _from_maps(lambda ood, parts: ood.VRA(parts.backbone, parts.head)),
    "RankFeat": _from_maps(lambda ood, parts: ood.RankFeat(parts.backbone, parts.head)),
    "Gram": DetectorEntry(lambda ood, parts: ood.Gram(parts.head, list(parts.stages), parts.last.out_features)),
    "NAC": DetectorEntry(lambda ood, parts: ood.NACUE(parts.network, parts.layers), _nac_grid),
    "GradNorm": _from_embedding(lambda ood, parts: ood.GradNorm(parts.network, param_filter=_last_layer(parts))),
    "GradUncertainty": _from_embedding(
        lambda ood, parts: ood.GradUncertainty(parts.network, param_filter=_last_layer(parts))
    ),
    "pNormMaxLogit": _from_logits(lambda ood, parts: PNormMaxLogit(parts.network), on_validation=True),
    "NormalisedKNN": _from_embedding(lambda ood, parts: NormalisedKNN(parts.encoder)),
    "NormalisedMahalanobis": _from_embedding(lambda ood, parts: NormalisedMahalanobis(parts.encoder)),
    "GradTrust": _from_logits(lambda ood, parts: GradTrust(parts.network)),
    "MetaModel": _from_embedding(lambda ood, parts: MetaModel(parts.encoder, parts.last), on_validation=True),
}
"""The detectors of the benchmark by name.

To compare another detector, add an entry at the top level of the script that starts the benchmark: worker processes
import the script again.
"""
