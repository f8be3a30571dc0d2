"""The range of each layer for right predictions, and which layers object."""

import json
from pathlib import Path

import numpy as np
import pytest

from gradmeter import DataError, GradientMeter, TrustModel
from gradmeter.trust.layer_ranges import DISTANCE, GRADIENT, LEVELS, GradientRanges, gradient_sizes
from gradmeter.trust.main_file import write_main
from oracles.loop import expected_readings
from trust.trained import digits, loader, noise, trained

pytestmark = pytest.mark.usefixtures("quick_fits")

NEW = digits()[0][1400:1430]


@pytest.fixture(scope="module")
def trust() -> TrustModel:
    return TrustModel(GradientMeter(trained()), reads="gradients").fit(loader(300, 900), synthetic=[noise(60)])


def test_sizes_and_quantiles_of_gradients() -> None:
    """They agree with gradients by plain autograd in float64."""
    readings = GradientMeter(trained())(NEW)
    layers, values = expected_readings(trained(), NEW)
    ranges = GradientRanges.of(readings)
    assert ranges is not None
    assert ranges.layers == layers[:-1]
    sizes = np.log10(values[:, :-1, 1])
    np.testing.assert_allclose(ranges.quantiles, np.quantile(sizes, LEVELS, axis=0).T, atol=1e-3)
    np.testing.assert_allclose(gradient_sizes(readings), sizes, atol=1e-3)


def test_gradients_are_compared_with_those_of_right_predictions(trust: TrustModel) -> None:
    images, labels = (part[300:900] for part in digits())
    readings = GradientMeter(trained())(images)
    right = (readings.predictions == labels).numpy()
    assert 500 < right.sum() < 600
    ranges = GradientRanges.of(readings.rows(right))
    assert ranges is not None
    gradient, _ = trust.layer_values(NEW)
    assert (gradient.measure, gradient.layers) == (GRADIENT, ranges.layers)
    np.testing.assert_allclose(gradient.quantiles, ranges.quantiles, atol=1e-3)


def test_distances_of_right_predictions_are_held_out(trust: TrustModel) -> None:
    """About one in twenty new right predictions lies above the quantile for 95 %, as one in twenty old ones does."""
    images, labels = (part[900:] for part in digits())
    _, distance = trust.layer_values(images)
    right = (trained()(images).argmax(1) == labels).numpy()
    assert distance.measure == DISTANCE
    assert distance.layers == ("0", "4", "6", "embedding")
    assert distance.objections is not None
    assert (distance.objections[right].mean(axis=0) < 0.1).all()
    assert distance.quantiles is not None
    assert (np.diff(distance.quantiles, axis=1) >= 0).all()


def test_layers_object_to_noise(trust: TrustModel) -> None:
    gradient, distance = trust.layer_values(noise(100))
    assert gradient.objections is not None
    assert distance.objections is not None
    assert distance.objections.any(axis=1).mean() > 0.9
    assert gradient.objections.any(axis=1).mean() > 0.2


def test_a_forward_judge_has_distances_only() -> None:
    trust = TrustModel(GradientMeter(trained()), reads="forward").fit(loader(300, 700), synthetic=[noise(60)])
    (distance,) = trust.layer_values(NEW)
    assert distance.measure == DISTANCE
    assert distance.objections is not None


def test_other_meta_classifiers_have_gradients_only() -> None:
    trust = TrustModel(GradientMeter(trained()), "ridge_cv").fit(loader(300, 900))
    (gradient,) = trust.layer_values(NEW)
    assert gradient.measure == GRADIENT
    assert gradient.objections is not None


def test_ranges_are_saved(trust: TrustModel, tmp_path: Path) -> None:
    trust.save(tmp_path)
    for before, after in zip(
        trust.layer_values(NEW), TrustModel.load(tmp_path, trained()).layer_values(NEW), strict=True
    ):
        assert before.quantiles is not None
        assert after.quantiles is not None
        np.testing.assert_array_equal(before.quantiles, after.quantiles)


def test_without_saved_ranges_no_layer_objects(trust: TrustModel, tmp_path: Path) -> None:
    """A folder of an earlier version has no ranges of gradients; it may be saved and loaded again."""
    trust.save(tmp_path)
    change(tmp_path, lambda content: content.pop("gradient_ranges"))
    TrustModel.load(tmp_path, trained()).save(tmp_path / "again")
    gradient, _ = TrustModel.load(tmp_path / "again", trained()).layer_values(NEW)
    assert gradient.quantiles is None
    assert gradient.objections is None
    assert np.isfinite(gradient.values).all()


def test_damaged_ranges_are_refused(trust: TrustModel, tmp_path: Path) -> None:
    trust.save(tmp_path)
    change(tmp_path, lambda content: content["gradient_ranges"]["quantiles"].pop())
    with pytest.raises(DataError, match="quantiles"):
        TrustModel.load(tmp_path, trained())


def test_ranges_at_other_levels_are_those_of_another_version() -> None:
    saved = {"layers": ["a"], "levels": [0.5], "quantiles": [[1.0]]}
    assert GradientRanges.from_json(saved) is None


def change(folder: Path, edit: object) -> None:
    """Edit the content of trust.json, and its checksum."""
    path = folder / "trust.json"
    content = json.loads(path.read_text())
    del content["checksum"]
    edit(content)  # type: ignore[operator]
    write_main(path, content)
