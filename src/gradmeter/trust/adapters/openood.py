"""gradmeter as a postprocessor of OpenOOD, for its evaluators and benchmarks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gradmeter.errors import InputError, one_line
from gradmeter.reading.meter import GradientMeter
from gradmeter.trust.meta_classifier import P_KNOWN, SCORES
from gradmeter.trust.model import TrustModel
from gradmeter.trust.reads import AUTO

try:
    # OpenOOD's evaluator takes only subclasses of this; its scripts take any class with these methods.
    _BasePostprocessor: Any = import_module("openood.postprocessors").BasePostprocessor
except ModuleNotFoundError as error:
    if str(error.name).partition(".")[0] != "openood":
        raise
    _BasePostprocessor = object

_OPTIONS = ("score", "classifier", "reads", "outliers")


class GradmeterPostprocessor(_BasePostprocessor):  # type: ignore[misc]
    """Postprocessor that fits a TrustModel to OpenOOD's validation data and returns one of its probabilities.

    Args:
        config: OpenOOD's configuration, whose `postprocessor.postprocessor_args` may hold "score", "classifier",
            "reads" and "outliers"; None for the defaults.

    Attributes:
        score: the confidence: "p_known", the default, for benchmarks of unknown inputs; or "p_correct" or
            "p_correct_if_known", for wrong predictions.
        classifier: the meta classifier, as for `TrustModel`.
        reads: "auto", "forward" or "gradients", as for `TrustModel`.
        outliers: whether to fit also to OpenOOD's validation set of unknown inputs. Methods without auxiliary outliers
            must not.
        trust: the fitted TrustModel; None before `setup`.

    Raises:
        InputError: for an unknown option or score.

    Example:
        >>> Evaluator(net, id_name="cifar10", postprocessor=GradmeterPostprocessor())
    """

    # OpenOOD sets these two of a postprocessor that it makes itself, and reads them of any.
    APS_mode = False
    hyperparam_search_done = True

    def __init__(self, config: Any = None) -> None:
        self.config = config
        options = {} if config is None else _options(config)
        if unknown := [name for name in options if name not in _OPTIONS]:
            raise InputError(f"postprocessor_args have {unknown[0]!r}; expected {', '.join(_OPTIONS)}")
        self.score: str = options.get("score", P_KNOWN)
        self.classifier: Any = options.get("classifier", "gradmeter")
        self.reads: str = options.get("reads", AUTO)
        self.outliers: bool = options.get("outliers", False)
        if self.score not in SCORES:
            raise InputError(f"score {self.score!r}; expected {', '.join(SCORES)}")
        if not isinstance(self.outliers, bool):  # any text, "False" too, would count as true
            raise InputError(f"outliers={self.outliers!r}; expected True or False")
        self.trust: TrustModel | None = None
        self._network: nn.Module | None = None

    def setup(self, net: nn.Module, id_loader_dict: Mapping[str, Any], ood_loader_dict: Any) -> None:
        """Fit to the validation data, once for each network and its weights.

        Args:
            net: maps a batch to logits [N, C].
            id_loader_dict: loaders of known inputs by split; "val" is used. The network fits "train" too well.
            ood_loader_dict: loaders of unknown inputs; "val" is used if `outliers` is set.

        Raises:
            InputError: if there is no such loader, the data are too few, or the meta classifier does not give `score`.
        """
        weights = None if self.trust is None else self.trust.weights
        if net is self._network and weights is not None and not weights.have_changed(net):
            return
        known = _loader(id_loader_dict, "id_loader_dict")
        unknowns = [_loader(ood_loader_dict, "ood_loader_dict")] if self.outliers else []
        trust = TrustModel(GradientMeter(net), self.classifier, reads=self.reads)
        trust.fit(_Pairs(net, known), [_Pairs(net, loader) for loader in unknowns])
        assert trust.judge is not None
        trust.judge.held_out.score(self.score)  # raises if the meta classifier does not give it
        self.trust, self._network = trust, net

    def postprocess(self, net: nn.Module, data: Tensor) -> tuple[Tensor, Tensor]:
        """Return predictions [N] int64 and confidences [N] float64 in [0, 1], on the device of the data.

        Args:
            net: the network that `setup` was given.
            data: N inputs.

        Raises:
            InputError: before `setup`, or for another network.
        """
        if self.trust is None or net is not self._network:
            raise InputError(f"setup has not seen this network ({type(net).__name__}); call setup with it first")
        verdicts = self.trust.verdicts(data)
        columns = (verdicts[name].to_numpy().copy() for name in ("prediction", self.score))  # Arrow's is read-only
        predictions, confidences = (torch.from_numpy(column).to(data.device) for column in columns)
        return predictions, confidences

    def inference(
        self, net: nn.Module, data_loader: Any, progress: bool = True
    ) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
        """Return predictions, confidences and labels of all samples, [N] each.

        Args:
            net: the network that `setup` was given.
            data_loader: batches, each a dict with "data" and "label".
            progress: whether to show a progress bar.

        Raises:
            InputError: before `setup`, for another network, or if there are no batches or they have another form.
        """
        if progress:
            from tqdm import tqdm  # OpenOOD needs it too

            data_loader = tqdm(data_loader)
        predictions, confidences, labels = [], [], []
        for data, label in _Pairs(net, data_loader):
            prediction, confidence = self.postprocess(net, data)
            predictions.append(prediction.cpu().numpy())
            confidences.append(confidence.cpu().numpy())
            labels.append(torch.as_tensor(label).cpu().numpy().astype(np.int64))
        if not predictions:
            raise InputError("the loader has no batches; expected at least one")
        return np.concatenate(predictions), np.concatenate(confidences), np.concatenate(labels)


def _options(config: Any) -> dict[str, Any]:
    """The options in OpenOOD's configuration; raises `InputError` if it has another form."""
    try:
        return dict(config["postprocessor"].get("postprocessor_args") or {})
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"the configuration has no dict postprocessor.postprocessor_args ({type(error).__name__}: "
            f"{one_line(error)}); expected one, or None for the defaults"
        ) from error


def _loader(loaders: Any, name: str) -> Any:
    """The loader of validation data; raises `InputError` if there is none."""
    if not isinstance(loaders, Mapping) or "val" not in loaders:
        given = ", ".join(map(str, loaders)) if isinstance(loaders, Mapping) else type(loaders).__name__
        raise InputError(f"{name} has {given or 'nothing'}; expected a loader 'val' of validation data")
    return loaders["val"]


@dataclass(frozen=True)
class _Pairs:
    """Inputs, on the device of the network, and labels of OpenOOD's batches; it can be iterated several times."""

    net: nn.Module
    loader: Any

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        device = next((parameter.device for parameter in self.net.parameters()), torch.device("cpu"))
        for batch in self.loader:
            if not isinstance(batch, Mapping) or not {"data", "label"} <= {*batch}:
                given = (
                    f"a dict with {', '.join(map(str, batch))}" if isinstance(batch, Mapping) else type(batch).__name__
                )
                raise InputError(
                    f"a batch is {given}; expected a dict with data and label, as OpenOOD's loaders give it"
                )
            if not isinstance(batch["data"], Tensor):
                given = type(batch["data"]).__name__
                raise InputError(f"data of a batch is {given}; expected a tensor, as OpenOOD's loaders give it")
            yield batch["data"].to(device), batch["label"]
