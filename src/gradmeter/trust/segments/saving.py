"""Save a SegmentTrust to a folder, as JSON and a skops file of its estimators, and load it. Nothing is pickled."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from gradmeter.errors import DataError, one_line
from gradmeter.files import atomic_write, sweep
from gradmeter.locks import locked
from gradmeter.trust.estimators import load_estimators
from gradmeter.trust.main_file import read_with_estimators, require_free_folder, write_main
from gradmeter.trust.reads import FORWARD, GRADIENTS
from gradmeter.trust.risk import require_rates
from gradmeter.trust.segments.features import SegmentFeature, SegmentFeatures
from gradmeter.trust.segments.heads import Head, answers
from gradmeter.trust.segments.risk import SegmentGuarantee
from gradmeter.trust.segments.scale import LogScale
from gradmeter.version import __version__

READS = (GRADIENTS, FORWARD)
"""What a SegmentTrust can read."""

_FORMAT = 1
_MAIN, _ESTIMATOR = "segments.json", "segments-{}.skops"
_DIGITS = 16
# Matches only names that `save` gives, so that similar files of others are not deleted.
_ESTIMATORS = _ESTIMATOR.format("[0-9a-f]" * _DIGITS)
_TRUSTED = (
    "gradmeter.trust.segments.scale.LogScale",
    # Its nodes are checked by `_require_ours`.
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
)


@dataclass(frozen=True, eq=False)
class Fitted:
    """What a SegmentTrust learned.

    Attributes:
        axes: the features that the estimators use.
        hit: the meta classifier.
        iou: the meta regression.
        image: [S] the image of each training segment, in the order of the heads' held-out predictions.
        learned_images: sorted hashes of the training images' features.
    """

    axes: tuple[SegmentFeature, ...]
    hit: Head
    iou: Head
    image: NDArray[np.int64]
    learned_images: NDArray[np.uint64]

    def features(self, given: SegmentFeatures) -> SegmentFeatures:
        """Select the features that are used.

        Raises:
            InputError: if some are missing.
        """
        return given.named(self.axes)


def save(folder: Path, reads: str, fitted: Fitted, guarantee: SegmentGuarantee | None) -> None:
    """Write to a folder; a SegmentTrust already there stays valid until the new one is complete.

    Raises:
        OutputError: if the folder holds something else, or cannot be written.
    """
    require_free_folder(folder, "SegmentTrust", _MAIN, _ESTIMATORS)
    with locked(folder):
        _write(folder, reads, fitted, guarantee)


def _write(folder: Path, reads: str, fitted: Fitted, guarantee: SegmentGuarantee | None) -> None:
    import skops.io  # takes two thirds of a second

    sweep(folder)
    encoded = skops.io.dumps({"hit": fitted.hit.estimator, "iou": fitted.iou.estimator})
    digest = hashlib.sha256(encoded).hexdigest()
    # Each file of estimators has a name of its own, so that the old one stays until segments.json names the new one.
    name = _ESTIMATOR.format(digest[:_DIGITS])
    content = {
        "format": _FORMAT,
        "gradmeter": __version__,
        "reads": reads,
        "features": [list(axis) for axis in fitted.axes],
        "heads": {
            key: {"name": head.name, "losses": head.losses, "held_out": head.held_out.tolist()}
            for key, head in (("hit", fitted.hit), ("iou", fitted.iou))
        },
        "image": fitted.image.tolist(),
        "learned_images": fitted.learned_images.astype("<u8").tobytes().hex(),
        "guarantee": None if guarantee is None else asdict(guarantee),
        "estimators": {"file": name, "sha256": digest},
    }
    with atomic_write(folder / name) as temporary:
        temporary.write_bytes(encoded)
    write_main(folder / _MAIN, content)
    for old in folder.glob(_ESTIMATORS):
        if old.name != name:
            old.unlink()


def load(folder: Path, trusted: Sequence[str]) -> tuple[str, Fitted, SegmentGuarantee | None]:
    """Load what `save` wrote: what it reads, what was fitted, and the guarantee.

    Raises:
        DataError: if the folder holds no valid SegmentTrust, or types that are not trusted.
    """
    try:
        content, path, encoded = read_with_estimators(folder / _MAIN, "SegmentTrust", (_FORMAT,), "estimators")
        if hashlib.sha256(encoded).hexdigest() != content["estimators"]["sha256"]:
            raise DataError(f"{path} was changed after it was saved; save the SegmentTrust again")
        estimators = load_estimators(path, encoded, {*_TRUSTED, *trusted}, "SegmentTrust")
        axes = tuple(SegmentFeature(*map(str, axis)) for axis in content["features"])
        for key in ("hit", "iou"):
            if not trusted:
                _require_ours(estimators[key], len(axes))
        hit, iou = (_head(estimators[key], content["heads"][key]) for key in ("hit", "iou"))
        image = np.array(content["image"], np.int64)
        # A forged estimator may fail for the features that belong to it.
        answers(hit.estimator, np.zeros((1, len(axes))), "predict_proba")
        answers(iou.estimator, np.zeros((1, len(axes))), "predict")
        if not len(image) == len(hit.held_out) == len(iou.held_out):
            raise ValueError("held-out predictions and image numbers differ in length")
        if content["reads"] not in READS:
            raise ValueError(f"it reads {content['reads']!r}")
        learned = np.frombuffer(bytes.fromhex(content["learned_images"]), "<u8").astype(np.uint64)
        return content["reads"], Fitted(axes, hit, iou, image, learned), _guarantee(content["guarantee"])
    except DataError:
        raise
    except OSError as error:
        raise DataError(f"{error.filename or folder} cannot be read ({one_line(error)})") from error
    except Exception as error:  # a forged file may raise anything
        raise DataError(
            f"{folder} is damaged ({type(error).__name__}: {one_line(error)}); save the SegmentTrust again"
        ) from error


def _head(estimator: Any, saved: Mapping[str, Any]) -> Head:
    return Head(estimator, saved["name"], np.array(saved["held_out"], np.float64), saved["losses"])


def _require_ours(estimator: Any, features: int) -> None:
    """Check that an estimator is one that `heads` fits: trees inside another estimator would not be checked.

    Raises:
        ValueError: if it is not, or its trees lead out of their arrays.
    """
    if type(estimator) in (HistGradientBoostingClassifier, HistGradientBoostingRegressor):
        _require_sound(estimator, features)
        return
    kinds = [type(step) for _, step in estimator.steps] if type(estimator) is Pipeline else [type(estimator)]
    if kinds not in ([LogScale, StandardScaler, LogisticRegression], [LogScale, StandardScaler, Ridge]):
        raise ValueError(f"its estimator is of {', '.join(kind.__name__ for kind in kinds)}")


def _require_sound(estimator: Any, features: int) -> None:
    """Check that every tree stays inside its arrays: scikit-learn reads them without looking at bounds.

    Raises:
        ValueError: if one does not.
    """
    for trees in estimator._predictors:
        for tree in trees:
            nodes = tree.nodes
            split = nodes[nodes["is_leaf"] == 0]
            own = np.flatnonzero(nodes["is_leaf"] == 0)
            # Children come after their parents, so that no path is endless.
            children = np.stack([split["left"], split["right"]], axis=1).astype(np.int64)
            inside = (children > own[:, None]).all() and (children < len(nodes)).all()
            read = split["feature_idx"].astype(np.int64)
            if (
                not len(nodes)
                or not inside
                or (read >= features).any()
                or (read < 0).any()
                or split["is_categorical"].any()
            ):
                raise ValueError("a tree leads out of its nodes or features")


def _guarantee(saved: Mapping[str, Any] | None) -> SegmentGuarantee | None:
    if saved is None:
        return None
    guarantee = SegmentGuarantee(**saved)
    require_rates(guarantee.risk, guarantee.confidence)
    if not all(map(math.isfinite, saved.values())):
        raise ValueError("the guarantee has numbers that are not finite")
    return guarantee
