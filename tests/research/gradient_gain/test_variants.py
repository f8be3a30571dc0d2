import numpy as np

from gradmeter.research.gradient_gain.variants import ALONE, FORWARD, GRADIENTS, NOISE, outputs_only, view_of
from gradmeter.trust.features import ACTIVATIONS, OUTPUTS
from gradmeter.trust.features import GRADIENTS as GRADIENT_SOURCE
from research.gradient_gain.blocks import AXES, block


def sources(features: object) -> set[str]:
    return {feature.source for feature in features.axes.features}  # type: ignore[attr-defined]


def test_what_each_variant_reads() -> None:
    donors, features = block(50), block(20, seed=1)
    assert sources(view_of(FORWARD, donors, 0)(features)) == {OUTPUTS, ACTIVATIONS}
    assert sources(view_of(ALONE, donors, 0)(features)) == {GRADIENT_SOURCE}
    assert sources(outputs_only(donors)(features)) == {OUTPUTS}
    assert view_of(GRADIENTS, donors, 0)(features) is features


def test_noise_has_the_gradients_of_random_donors_and_all_else_unchanged() -> None:
    donors, features = block(50), block(300, seed=1)
    before = features.values.copy()
    noisy = view_of(NOISE, donors, 0)(features)
    gradients = AXES.of(GRADIENT_SOURCE)
    others = np.setdiff1d(np.arange(len(AXES)), gradients)
    assert noisy.axes is features.axes
    np.testing.assert_array_equal(noisy.values[:, others], features.values[:, others])
    np.testing.assert_array_equal(features.values, before)
    of_donors = {tuple(row) for row in donors.values[:, gradients]}
    drawn = [tuple(row) for row in noisy.values[:, gradients]]
    assert set(drawn) <= of_donors
    assert len(set(drawn)) > 40
    again = view_of(NOISE, donors, 0)(features)
    np.testing.assert_array_equal(again.values, noisy.values)
