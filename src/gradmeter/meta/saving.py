"""A TrustModel in a folder: JSON, and the meta classifier by skops. Nothing is pickled."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import skops.io
from torch import nn

import gradmeter
from gradmeter.errors import DataError, GradmeterError, OutputError
from gradmeter.meta.features import Features
from gradmeter.meta.judge import Judge
from gradmeter.meta.risk import Candidate, Guarantee
from gradmeter.meter import GradientMeter
from gradmeter.network import unwrapped, weights_hash

_FORMAT = 1
_MAIN, _ESTIMATOR = "trust.json", "estimator.skops"
# What a calibrated classifier consists of beyond the types that skops trusts by itself.
_TRUSTED = (
    "gradmeter.meta.neural.NeuralNetworkClassifier",
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.model_selection._split.StratifiedKFold",
)


@dataclass(frozen=True, eq=False)
class Loaded:
    """What a folder held."""

    meter: GradientMeter
    judge: Judge
    thresholds: list[Candidate]
    guarantee: Guarantee | None


def save(
    folder: Path, meter: GradientMeter, judge: Judge, thresholds: Sequence[Candidate], guarantee: Guarantee | None
) -> None:
    """Write a folder, whole or not at all; one that holds a TrustModel is replaced."""
    if not isinstance(meter.pseudo_label, (str, int)):
        raise GradmeterError("a pseudo-label that is a function cannot be saved; expected a name or a class index")
    if folder.exists() and not (folder / _MAIN).is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise OutputError(f"{folder} is there and holds no TrustModel; choose another folder")
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    try:
        temporary.mkdir(parents=True)
        skops.io.dump(judge.estimator, temporary / _ESTIMATOR)
        content = {
            "format": _FORMAT,
            "gradmeter": gradmeter.__version__,
            "meter": {"pseudo_label": meter.pseudo_label, "biases": meter.biases},
            "network": {"parameters": _shapes(meter.model), "hash": weights_hash(unwrapped(meter.model))},
            "features": list(judge.features.names),
            "learned_from": {"right": judge.right, "wrong": judge.wrong, "unknown": judge.unknown},
            "held_out": judge.held_out.tolist(),
            "thresholds": [asdict(one) for one in thresholds],
            "guarantee": None if guarantee is None else asdict(guarantee),
            "estimator": hashlib.sha256((temporary / _ESTIMATOR).read_bytes()).hexdigest(),
        }
        (temporary / _MAIN).write_text(
            json.dumps({**content, "checksum": _checksum(content)}, indent=1) + "\n", encoding="utf-8"
        )
        if folder.exists():
            shutil.rmtree(folder)
        temporary.rename(folder)
    except OSError as error:
        raise OutputError(f"cannot write {folder} ({error.strerror}); make room or choose another folder") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def load(folder: Path, model: nn.Module, trusted: Sequence[str]) -> Loaded:
    """Read a folder for the network it was made of."""
    content = _content(folder)
    _require_same_network(folder, content["network"], model)
    try:
        path = folder / _ESTIMATOR
        if hashlib.sha256(path.read_bytes()).hexdigest() != content["estimator"]:
            raise DataError(f"{path} was changed after it was saved; save the TrustModel anew")
        allowed = {*_TRUSTED, *trusted}
        foreign = [name for name in skops.io.get_untrusted_types(file=path) if name not in allowed]
        if foreign:
            raise DataError(
                f"{path} holds {', '.join(foreign)}, which could run code of its own; if you trust where the folder "
                "comes from, name them in TrustModel.load(..., trusted=[...])"
            )
        estimator = skops.io.load(path, trusted=sorted(allowed))
        learned = content["learned_from"]
        judge = Judge(
            Features(tuple(content["features"])),
            estimator,
            learned["right"],
            learned["wrong"],
            learned["unknown"],
            np.array(content["held_out"]),
        )
        guarantee = content["guarantee"]
        return Loaded(
            GradientMeter(model, **content["meter"]),
            judge,
            [Candidate(**one) for one in content["thresholds"]],
            None if guarantee is None else Guarantee(**guarantee),
        )
    except GradmeterError:
        raise
    except Exception as error:  # a file made up to look right may fail in any way
        raise DataError(f"{folder} is damaged ({type(error).__name__}: {error}); save the TrustModel anew") from error


def _content(folder: Path) -> dict[str, Any]:
    path = folder / _MAIN
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(f"{folder} holds no TrustModel; expected a folder that TrustModel.save wrote") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is damaged ({error}); save the TrustModel anew") from error
    if not isinstance(content, dict) or content.pop("checksum", None) != _checksum(content):
        raise DataError(f"{path} was changed after it was saved; save the TrustModel anew")
    if content["format"] != _FORMAT:
        raise DataError(
            f"{folder} is of format {content['format']}, made by gradmeter {content['gradmeter']}; this version reads "
            f"format {_FORMAT}: install that version"
        )
    return content


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
