"""A TrustModel in a folder: JSON, and the meta classifier by skops. Nothing is pickled."""

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

from gradmeter.errors import DataError, GradmeterError, OutputError, one_line
from gradmeter.files import atomic_write, is_temporary, read_json, read_regular, sweep, write_text
from gradmeter.locks import locked
from gradmeter.reading.meter import GradientMeter
from gradmeter.reading.network import unwrapped, weights_hash
from gradmeter.trust.calibrated import Calibrated
from gradmeter.trust.features import GRADIENTS, OUTPUTS, Feature, FeatureAxes, FeatureBlock
from gradmeter.trust.judge import Judge
from gradmeter.trust.log_features import LogFeatures
from gradmeter.trust.meta_classifier import FittedClassifier, Judgement
from gradmeter.trust.risk import Guarantee, require_rates
from gradmeter.version import __version__

_FORMAT = 2
# As gradmeter 0.1 wrote it.
_OLD_FORMAT = 1
_MAIN, _ESTIMATOR = "trust.json", "estimator-{}.skops"
_DIGITS = 16
# What a save calls it: files of others whose names only look like it stay.
_ESTIMATORS = _ESTIMATOR.format("[0-9a-f]" * _DIGITS)
READINGS = "readings"
"""A folder that may lie beside them: what a TrustModel was fitted on."""

# What a calibrated classifier consists of beyond the types that skops trusts by itself.
_TRUSTED = (
    "gradmeter.trust.calibrated.Calibrated",
    "gradmeter.trust.densities.ClassDensities",
    "gradmeter.trust.known_head.KnownHead",
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
class Loaded:
    """What a folder held."""

    meter: GradientMeter
    judge: Judge
    learned_contents: NDArray[np.uint64]
    guarantee: Guarantee | None
    notes: dict[str, Any]


def save(
    folder: Path,
    meter: GradientMeter,
    judge: Judge,
    learned_contents: NDArray[np.uint64],
    guarantee: Guarantee | None,
    notes: Mapping[str, Any],
) -> None:
    """Write to a folder; what is there stays valid until the new TrustModel is whole."""
    if any(callable(one) for one in (*meter.asked, *meter.probes)):
        raise GradmeterError("a pseudo-label or probe that is a function cannot be saved; expected names")
    require_free(folder)
    with locked(folder):
        _write(folder, meter, judge, learned_contents, guarantee, notes)


def _write(
    folder: Path,
    meter: GradientMeter,
    judge: Judge,
    learned_contents: NDArray[np.uint64],
    guarantee: Guarantee | None,
    notes: Mapping[str, Any],
) -> None:
    import skops.io  # two thirds of a second

    sweep(folder)
    encoded = skops.io.dumps(judge.classifier)
    digest = hashlib.sha256(encoded).hexdigest()
    # Under a name of its own, so that the old file stays until the new one is named by trust.json.
    estimator = _ESTIMATOR.format(digest[:_DIGITS])
    content = {
        "format": _FORMAT,
        "gradmeter": __version__,
        "meter": {
            "pseudo_label": meter.asked,
            "activations": meter.activations,
            "embedding": meter.embedding,
            "probes": list(meter.probes),
            "biases": meter.biases,
        },
        "network": {"parameters": _shapes(meter.model), "hash": weights_hash(unwrapped(meter.model))},
        "features": [list(feature) for feature in judge.features.axes.features],
        "learned_from": {
            "right": judge.right,
            "wrong": judge.wrong,
            "unknown": judge.unknown,
            "synthetic": judge.synthetic,
        },
        "learned_contents": learned_contents.astype("<u8").tobytes().hex(),
        "held_out": judge.held_out.p_correct.tolist(),
        "held_out_unfamiliar": np.flatnonzero(~judge.held_out.familiar).tolist(),
        "fallback": judge.fallback,
        "guarantee": None if guarantee is None else asdict(guarantee),
        "notes": dict(notes),
        "estimator": {"file": estimator, "sha256": digest},
    }
    with atomic_write(folder / estimator) as temporary:
        temporary.write_bytes(encoded)
    write_text(folder / _MAIN, json.dumps({**content, "checksum": _checksum(content)}, indent=1) + "\n")
    for old in folder.glob(_ESTIMATORS):
        if old.name != estimator:
            old.unlink()


def require_free(folder: Path) -> None:
    """Refuse to write into what is no folder, or holds something else than a TrustModel and its readings.

    Raises:
        OutputError: if so.
    """
    if not folder.exists():
        return
    ours = (READINGS, _MAIN, _ESTIMATORS)

    def is_ours(path: Path) -> bool:
        return is_temporary(path) or any(map(path.match, ours))

    if not folder.is_dir() or not (holds_trust(folder) or all(map(is_ours, folder.iterdir()))):
        raise OutputError(f"{folder} is there and holds no TrustModel; choose another folder")


def holds_trust(folder: Path) -> bool:
    """Whether a TrustModel was saved there."""
    return (folder / _MAIN).is_file()


def read_notes(folder: Path) -> dict[str, Any]:
    """The notes of a saved TrustModel, without its network.

    Raises:
        DataError: if the folder holds none, or was changed.
    """
    notes = _content(folder).get("notes")
    if not isinstance(notes, dict):
        raise DataError(f"{folder} is damaged (it has no notes); save the TrustModel anew")
    return notes


def load(folder: Path, model: nn.Module, trusted: Sequence[str]) -> Loaded:
    """Read a folder for the network it was made of."""
    import skops.io

    content = _content(folder)
    try:
        content, encoded = _with_estimator(folder, content)
        path = _estimator_path(folder, content)
        _require_same_network(folder, content["network"], model)
        if hashlib.sha256(encoded).hexdigest() != content["estimator"]["sha256"]:
            raise DataError(f"{path} was changed after it was saved; save the TrustModel anew")
        allowed = {*_TRUSTED, *trusted}
        foreign = [name for name in skops.io.get_untrusted_types(data=encoded) if name not in allowed]
        if foreign:
            raise DataError(
                f"{path} holds {', '.join(foreign)}, which could run code of its own; if you trust where the folder "
                "comes from, name them in TrustModel.load(..., trusted=[...])"
            )
        estimator = skops.io.loads(encoded, trusted=sorted(allowed))
        learned = content["learned_from"]
        old = content["format"] == _OLD_FORMAT
        features = LogFeatures(FeatureAxes(tuple(map(_old_feature if old else _feature, content["features"]))))
        judge = Judge(
            features,
            _old_classifier(folder, estimator, learned) if old else estimator,
            learned["right"],
            learned["wrong"],
            learned["unknown"],
            _held_out(content),
            # A folder of version 0.1 has neither.
            learned.get("synthetic", 0),
            content.get("fallback"),
        )
        # What was made up may not even take its own features.
        judge.classifier.judge(FeatureBlock(np.zeros((1, len(features.axes))), features.axes))
        return Loaded(
            GradientMeter(model, **content["meter"]),
            judge,
            # Nor has it these.
            np.frombuffer(bytes.fromhex(content.get("learned_contents", "")), "<u8").astype(np.uint64),
            _guarantee(content["guarantee"]),
            content["notes"],
        )
    except GradmeterError:
        raise
    except OSError as error:
        raise DataError(f"{error.filename or folder} cannot be read ({one_line(error)})") from error
    except Exception as error:  # a file made up to look right may fail in any way
        raise DataError(
            f"{folder} is damaged ({type(error).__name__}: {one_line(error)}); save the TrustModel anew"
        ) from error


def _with_estimator(folder: Path, content: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    """What trust.json says, and the estimator that it names; both anew if another process replaces them meanwhile."""
    while True:
        path = _estimator_path(folder, content)
        try:
            return content, read_regular(path)
        except FileNotFoundError as error:
            before, content = content, _content(folder)
            if content == before:
                raise DataError(f"{path} is missing; save the TrustModel anew") from error


def _estimator_path(folder: Path, content: Mapping[str, Any]) -> Path:
    return folder / Path(content["estimator"]["file"]).name


def _content(folder: Path) -> dict[str, Any]:
    path = folder / _MAIN
    try:
        content = read_json(path)
    except FileNotFoundError as error:
        raise DataError(f"{folder} holds no TrustModel; expected a folder that TrustModel.save wrote") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read ({one_line(error)})") from error
    except ValueError as error:
        raise DataError(f"{path} is damaged ({one_line(error)}); save the TrustModel anew") from error
    if content.pop("checksum", None) != _checksum(content):
        raise DataError(f"{path} was changed after it was saved; save the TrustModel anew")
    if content.get("format") not in (_OLD_FORMAT, _FORMAT):
        raise DataError(
            f"{folder} is of format {content.get('format')}, made by gradmeter {content.get('gradmeter')}; this "
            f"version reads formats {_OLD_FORMAT} and {_FORMAT}: install that version"
        )
    return content


def _feature(axes: Sequence[str]) -> Feature:
    return Feature(*map(str, axes))


def _old_feature(name: str) -> Feature:
    """Of a scikit-learn classifier's features, which version 0.1 named like columns."""
    layer, slash, statistic = name.rpartition("/")
    return Feature(GRADIENTS, statistic, layer) if slash else Feature(OUTPUTS, name)


def _old_classifier(folder: Path, estimator: Any, learned: Mapping[str, int]) -> FittedClassifier:
    """The scikit-learn classifier that version 0.1 saved.

    Raises:
        DataError: for that version's "gradmeter", which was another class.
    """
    if not isinstance(estimator, CalibratedClassifierCV):
        raise DataError(f"{folder} holds a meta classifier of gradmeter 0.1; fit the TrustModel anew")
    unknown = learned["unknown"]
    return Calibrated.of(estimator, unknown / (learned["right"] + learned["wrong"] + unknown))


def _held_out(content: Mapping[str, Any]) -> Judgement:
    p_correct = np.array(content["held_out"], np.float64)
    familiar = np.ones(len(p_correct), np.bool_)
    familiar[content.get("held_out_unfamiliar", [])] = False
    return Judgement(p_correct, familiar)


def _guarantee(saved: dict[str, Any] | None) -> Guarantee | None:
    if saved is None:
        return None
    guarantee = Guarantee(**saved)
    require_rates(guarantee.risk, guarantee.confidence)
    for name, value in saved.items():
        # An earlier version noted no share of unknown inputs, and what it saved may be saved again.
        if not (value is None and name == "unknown_share") and not math.isfinite(value):
            raise ValueError(f"the promise has {name}={value!r}, expected a finite number")
    return guarantee


def _checksum(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _shapes(network: nn.Module) -> dict[str, list[int]]:
    return {name: list(parameter.shape) for name, parameter in unwrapped(network).named_parameters()}


def _require_same_network(folder: Path, saved: dict[str, Any], model: nn.Module) -> None:
    found, expected = _shapes(model), saved["parameters"]
    differing = [name for name in {**expected, **found} if found.get(name) != expected.get(name)]
    if differing:
        name = differing[0]
        raise DataError(
            f"{folder} was made of another network: parameter {name!r} is {found.get(name, 'absent')} here and was "
            f"{expected.get(name, 'absent')} there ({len(differing)} differ); expected the network it was fitted with"
        )
    if weights_hash(unwrapped(model)) != saved["hash"]:
        raise DataError(
            f"{folder} was made of the same architecture with other weights; expected those it was fitted with: load "
            "them, or fit anew"
        )
