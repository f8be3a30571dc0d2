"""Save a TrustModel to a folder, as JSON and a skops file of the meta classifier, and load it. Nothing is pickled."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.calibration import CalibratedClassifierCV
from torch import nn

from gradmeter.errors import DataError, GradmeterError, InputError, is_out_of_memory, one_line
from gradmeter.files import atomic_write, sweep
from gradmeter.locks import locked
from gradmeter.reading.meter import GradientMeter
from gradmeter.reading.network import uncompiled, unwrapped, weights_hash
from gradmeter.reading.probes import Mirror
from gradmeter.trust.calibrated import Calibrated
from gradmeter.trust.estimators import dump_estimator, load_estimators, type_names
from gradmeter.trust.evaluation.resampling import Interval
from gradmeter.trust.features import ACTIVATIONS, GRADIENTS, OUTPUTS, SOURCES, Feature, FeatureAxes, FeatureBlock
from gradmeter.trust.fitted_weights import CHANGED, FittedWeights
from gradmeter.trust.judge import Judge
from gradmeter.trust.layer_ranges import GradientRanges
from gradmeter.trust.log_features import LogFeatures
from gradmeter.trust.main_file import TRUST, read_main, read_with_estimators, require_free_folder, write_main
from gradmeter.trust.meta_classifier import P_CORRECT_IF_KNOWN, P_KNOWN, SCORES, FittedClassifier, Judgement
from gradmeter.trust.reads import Gain, ReadsChoice
from gradmeter.trust.risk import Guarantee, require_rates
from gradmeter.trust.two_heads import TwoHeads
from gradmeter.version import __version__

_FORMAT = 2
# The format of gradmeter 0.1.
_OLD_FORMAT = 1
_FORMATS = (_OLD_FORMAT, _FORMAT)
_ESTIMATOR = "estimator-{}.skops"
_DIGITS = 16
# Matches only names that `save` writes, so that similar files of others are not deleted.
_ESTIMATORS = _ESTIMATOR.format("[0-9a-f]" * _DIGITS)
READINGS = "readings"
"""Name of a subfolder that may hold the readings that the TrustModel was fitted to."""

# Types of meta classifiers that skops does not trust by default.
_TRUSTED = (
    "gradmeter.trust.calibrated.Calibrated",
    "gradmeter.trust.candidates.ConfidenceCurve",
    "gradmeter.trust.candidates.Regression",
    "gradmeter.trust.confidence.NormalisedLogit",
    "gradmeter.trust.confidence.SecondLook",
    "gradmeter.trust.confidence.Softmax",
    "gradmeter.trust.densities.ClassDensities",
    "gradmeter.trust.known_head.KnownHead",
    "gradmeter.trust.levelled.LevelledOdds",
    "gradmeter.trust.near_unknown.NearUnknown",
    "gradmeter.trust.signed_regression.SignedLogisticRegression",
    "gradmeter.trust.sparse_regression.SparseLogisticRegression",
    "gradmeter.trust.two_heads.TwoHeads",
    "gradmeter.trust.unknown_head.UnknownHead",
    "gradmeter.trust.neural.NeuralNetworkClassifier",
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.model_selection._split.StratifiedKFold",
)


@dataclass(frozen=True, eq=False)
class Saved:
    """The content of a folder."""

    meter: GradientMeter
    judge: Judge
    learned_contents: NDArray[np.uint64]
    guarantee: Guarantee | None
    notes: dict[str, Any]
    choice: ReadsChoice | None
    weights: FittedWeights


def save(folder: Path, saved: Saved) -> None:
    """Write to a folder; a TrustModel already there stays valid until the new one is complete.

    Raises:
        OutputError: if the folder holds something else, or cannot be written.
        InputError: if the notes are not JSON values.
        GradmeterError: if a pseudo-label or probe is a function, the meta classifier could not be loaded again, or the
            network's weights are not those of `fit`.
    """
    meter = saved.meter
    if any(callable(label_or_probe) for label_or_probe in (*meter.given_pseudo_labels, *meter.other_probes)):
        raise GradmeterError("the meter has a function as pseudo-label or probe; expected names, to save it")
    if weights_hash(unwrapped(meter.model)) != saved.weights.hash:
        raise GradmeterError(CHANGED)
    try:
        json.dumps(saved.notes)
    except (TypeError, ValueError) as error:
        raise InputError(f"notes cannot be saved as JSON ({one_line(error)}); expected texts and numbers") from error
    require_free(folder)
    with locked(folder):
        _write(folder, saved)


def _write(folder: Path, saved: Saved) -> None:
    meter, judge, guarantee = saved.meter, saved.judge, saved.guarantee
    sweep(folder)
    encoded = dump_estimator(judge.classifier)
    digest = hashlib.sha256(encoded).hexdigest()
    # Each estimator has a different file name, so that the old one stays until trust.json names the new one.
    estimator = _ESTIMATOR.format(digest[:_DIGITS])
    content = {
        "format": _FORMAT,
        "gradmeter": __version__,
        # The second look is saved apart.
        "meter": meter.options | {"pseudo_label": meter.given_pseudo_labels, "probes": meter.other_probes},
        "second_look": meter.second_look,
        "output_layers": list(meter.output_layers),
        "choice": None if saved.choice is None else asdict(saved.choice),
        "network": {"parameters": _shapes(meter.model), "hash": saved.weights.hash},
        "features": [list(feature) for feature in judge.features.axes.features],
        "learned_from": {
            "right": judge.right,
            "wrong": judge.wrong,
            "unknown": judge.unknown,
            "synthetic": judge.synthetic,
        },
        "learned_contents": saved.learned_contents.astype("<u8").tobytes().hex(),
        "held_out": judge.held_out.p_correct.tolist(),
        "held_out_unfamiliar": np.flatnonzero(~judge.held_out.familiar).tolist(),
        **{f"held_out_{name}": _as_list(getattr(judge.held_out, name)) for name in (P_KNOWN, P_CORRECT_IF_KNOWN)},
        "fallback": judge.fallback,
        "gradient_ranges": None if judge.gradient_ranges is None else judge.gradient_ranges.to_json(),
        "guarantee": None if guarantee is None else asdict(guarantee),
        "notes": saved.notes,
        "estimator": {"file": estimator, "sha256": digest},
    }
    with atomic_write(folder / estimator) as temporary:
        temporary.write_bytes(encoded)
    write_main(folder / TRUST, content)
    for old in folder.glob(_ESTIMATORS):
        if old.name != estimator:
            old.unlink()


def require_free(folder: Path) -> None:
    """Check that a folder does not exist, is empty, or holds a TrustModel or parts of one.

    Raises:
        OutputError: if it is a file, holds something else or cannot be read.
    """
    require_free_folder(folder, "TrustModel", TRUST, READINGS, _ESTIMATORS)


def holds_trust(folder: Path) -> bool:
    """Return whether a folder holds a TrustModel."""
    return (folder / TRUST).is_file()


def read_notes(folder: Path) -> dict[str, Any]:
    """Return the notes of a saved TrustModel, without its network.

    Raises:
        DataError: if the folder holds no TrustModel, or was changed.
    """
    notes = read_main(folder / TRUST, "TrustModel", _FORMATS).get("notes")
    if not isinstance(notes, dict):
        raise DataError(f"{folder} is damaged (it has no notes); save the TrustModel again")
    return notes


def load(folder: Path | str, model: nn.Module, trusted: Sequence[str]) -> Saved:
    """Load the TrustModel in a folder, for the same network.

    Raises:
        InputError: if `model` is no network.
        DataError: if the folder holds no valid TrustModel for the network, or types that are not trusted.
    """
    if not isinstance(model, nn.Module):
        raise InputError(f"model is a {type(model).__name__}; expected the torch.nn.Module that was measured")
    folder = Path(folder)
    try:
        content, path, encoded = read_with_estimators(folder / TRUST, "TrustModel", _FORMATS, "estimator")
        _require_same_network(folder, content["network"], model)
        if hashlib.sha256(encoded).hexdigest() != content["estimator"]["sha256"]:
            raise DataError(f"{path} was changed after it was saved; save the TrustModel again")
        old = content["format"] == _OLD_FORMAT
        # Version 0.1 had these types in other modules, so the loader would take them for those of a stranger.
        if old and any(name.startswith("gradmeter.") for name in type_names(encoded)):
            raise _outdated(folder, content)
        estimator = load_estimators(path, encoded, {*_TRUSTED, *trusted}, "TrustModel")
        counts = content["learned_from"]
        features = LogFeatures(FeatureAxes(tuple(map(_old_feature if old else _feature, content["features"]))))
        if isinstance(estimator, TwoHeads) and not hasattr(estimator.unknown_, "coef_"):
            raise _outdated(folder, content)
        judge = Judge(
            features,
            _old_classifier(folder, estimator, counts) if old else estimator,
            counts["right"],
            counts["wrong"],
            counts["unknown"],
            _held_out(content),
            # Version 0.1 saved neither of these two.
            counts.get("synthetic", 0),
            content.get("fallback"),
            # Earlier versions saved no ranges.
            None if (ranges := content.get("gradient_ranges")) is None else GradientRanges.from_json(ranges),
        )
        # A forged estimator may fail for the features that belong to it.
        block = FeatureBlock(np.zeros((1, len(features.axes))), features.axes)
        judge.classifier.judge(block).require_probabilities()
        judge.classifier.unfamiliar_origins(block)
        judge.classifier.layer_distances(block)
        return Saved(
            _meter(model, content, features),
            judge,
            # Version 0.1 did not save these.
            np.frombuffer(bytes.fromhex(content.get("learned_contents", "")), "<u8").astype(np.uint64),
            _guarantee(content["guarantee"]),
            content["notes"],
            _choice(content.get("choice")),
            FittedWeights(model, content["network"]["hash"]),
        )
    except GradmeterError:
        raise
    except OSError as error:
        raise DataError(f"{error.filename or folder} cannot be read ({one_line(error)})") from error
    except Exception as error:  # a forged file may raise anything
        if is_out_of_memory(error):
            raise DataError(
                f"{folder} cannot be loaded: not enough memory; if there is enough, save the TrustModel again"
            ) from error
        raise DataError(
            f"{folder} is damaged ({type(error).__name__}: {one_line(error)}); save the TrustModel again"
        ) from error


def _feature(axes: Sequence[str]) -> Feature:
    feature = Feature(*map(str, axes))
    if feature.source not in SOURCES:
        raise ValueError(f"a feature of {feature.source!r}")
    return feature


def _old_feature(name: str) -> Feature:
    """Return the feature for a column name of version 0.1."""
    layer, slash, statistic = name.rpartition("/")
    return Feature(GRADIENTS, statistic, layer) if slash else Feature(OUTPUTS, name)


def _old_classifier(folder: Path, estimator: Any, counts: Mapping[str, int]) -> FittedClassifier:
    """Return the meta classifier for a scikit-learn classifier of version 0.1.

    Raises:
        DataError: for that version's "gradmeter", which no longer exists.
    """
    if not isinstance(estimator, CalibratedClassifierCV):
        raise _outdated(folder, {"gradmeter": "0.1"})
    unknown = counts["unknown"]
    return Calibrated.of(estimator, unknown / (counts["right"] + counts["wrong"] + unknown))


def _outdated(folder: Path, content: Mapping[str, Any]) -> DataError:
    return DataError(f"{folder} holds a meta classifier of gradmeter {content['gradmeter']}; fit the TrustModel again")


def _meter(model: nn.Module, content: Mapping[str, Any], features: LogFeatures) -> GradientMeter:
    options, look = content["meter"], content.get("second_look")
    # Version 0.1 had no second look.
    second_look = [] if look is None else [Mirror(float(look))]
    meter = GradientMeter(model, **{**options, "probes": [*options.get("probes", []), *second_look]})
    # All of them, not only those of the features: `learned_contents` has hashes of the readings. Earlier versions did
    # not save them.
    layers = content.get("output_layers") or dict.fromkeys(
        feature.layer for feature in features.axes.features if feature.source == ACTIVATIONS
    )
    meter.read_outputs_of(tuple(map(str, layers)))
    return meter


def _choice(saved: Mapping[str, Any] | None) -> ReadsChoice | None:
    if saved is None:
        return None
    gains = tuple(Gain(**{**gain, "difference": Interval(**gain["difference"])}) for gain in saved["gains"])
    return ReadsChoice(**{**saved, "gains": gains, "seconds": tuple(saved["seconds"])})


def _held_out(content: Mapping[str, Any]) -> Judgement:
    p_correct = np.array(content["held_out"], np.float64)
    familiar = np.ones(len(p_correct), np.bool_)
    familiar[content.get("held_out_unfamiliar", [])] = False
    p_known, p_correct_if_known = (
        None if (values := content.get(f"held_out_{name}")) is None else np.array(values, np.float64)
        for name in (P_KNOWN, P_CORRECT_IF_KNOWN)
    )
    return Judgement(p_correct, familiar, p_known, p_correct_if_known)


def _as_list(values: NDArray[np.float64] | None) -> list[float] | None:
    return None if values is None else values.tolist()


def _guarantee(saved: dict[str, Any] | None) -> Guarantee | None:
    if saved is None:
        return None
    shares = saved.get("unknown_shares")
    guarantee = Guarantee(**{**saved, "unknown_shares": None if shares is None else tuple(shares)})
    require_rates(guarantee.risk, guarantee.confidence)
    if guarantee.score not in SCORES:
        raise ValueError(f"the guarantee has score={guarantee.score!r}; expected {' or '.join(SCORES)}")
    for name, value in saved.items():
        # Guarantees of an earlier version have no shares of unknown inputs, even when saved again by this version.
        if name == "score" or (value is None and name in ("unknown_share", "unknown_shares")):
            continue
        if not all(map(math.isfinite, value if name == "unknown_shares" else [value])):
            raise ValueError(f"the guarantee has {name}={value!r}; expected a finite number")
    return guarantee


def _shapes(network: nn.Module) -> dict[str, list[int]]:
    return {uncompiled(name): list(parameter.shape) for name, parameter in unwrapped(network).named_parameters()}


def _dtypes(network: nn.Module) -> str:
    return ", ".join(sorted({str(parameter.dtype).removeprefix("torch.") for parameter in network.parameters()}))


def _require_same_network(folder: Path, saved: dict[str, Any], model: nn.Module) -> None:
    """Check that a network has the saved parameter shapes and weights.

    Raises:
        DataError: if it does not.
    """
    shapes, expected = _shapes(model), saved["parameters"]
    differing = [name for name in {**expected, **shapes} if shapes.get(name) != expected.get(name)]
    if differing:
        name = differing[0]
        raise DataError(
            f"{folder} was fitted with another network: parameter {name!r} "
            f"{f'has shape {shapes[name]}' if name in shapes else 'is missing'}; "
            f"expected {f'shape {expected[name]}' if name in expected else 'no parameter of this name'} "
            f"({len(differing)} parameters differ): pass the original network"
        )
    if weights_hash(unwrapped(model)) != saved["hash"]:
        raise DataError(
            f"{folder} was fitted with other weights of the same architecture, or with these in another dtype "
            f"({_dtypes(model)} here); expected the original weights: load them, or fit the TrustModel again"
        )
