"""Features that are rounding errors are not used, so that verdicts do not depend on them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from gradmeter import PixelMeter
from gradmeter.trust.segments import SegmentFeature, SegmentFeatures, SegmentTrust, segments
from gradmeter.trust.segments.varying import varying
from trust.segments.loops import drawn

WHERE = ("mean_all", "variance_all", "relative")


def with_columns(given: SegmentFeatures, columns: dict[SegmentFeature, np.ndarray]) -> SegmentFeatures:
    return replace(
        given,
        values=np.hstack([given.values, np.stack([*columns.values()], axis=1)]),
        axes=(*given.axes, *columns),
    )


def with_rounding(given: SegmentFeatures, seed: int, share: float = 1e-16) -> SegmentFeatures:
    """Add the mean and the skewness of a layer whose gradients have a standard deviation of about 1e-9."""
    random = np.random.default_rng(seed)
    rows = np.arange(len(given)) % 7 + 1
    columns = {}
    for where, power in zip(WHERE, (1, 2, 1), strict=True):
        columns[SegmentFeature("gradients", "std", "last", where)] = (1e-9 * rows) ** power
        for statistic, scale in (("mean", 1e-9), ("skewness", 1.0)):
            feature = SegmentFeature("gradients", statistic, "last", where)
            columns[feature] = (share * scale * random.normal(size=len(given))) ** power
    return with_columns(given, columns)


def test_verdicts_do_not_depend_on_rounding_errors() -> None:
    trust = SegmentTrust().fit(with_rounding(drawn(60, 10), 0))
    new = drawn(30, 10, seed=2)
    one, other = (trust.predict(with_rounding(new, seed)) for seed in (1, 2))
    np.testing.assert_array_equal(one.p_hit, other.p_hit)
    np.testing.assert_array_equal(one.iou, other.iou)


@pytest.mark.parametrize(("share", "used"), [(1e-16, False), (1e-7, False), (1e-3, True), (1.0, True)])
def test_a_mean_and_a_skewness_count_from_a_share_of_their_scale(share: float, used: bool) -> None:
    given = with_rounding(drawn(10, 5), 0, share)
    of_cancelling = [axis.statistic in ("mean", "skewness") for axis in given.axes]
    varies = varying(given)
    assert varies[~np.array(of_cancelling)].all()
    assert (varies[of_cancelling] == used).all()


def test_a_mean_counts_if_the_standard_deviation_was_not_read() -> None:
    mean = SegmentFeature("gradients", "mean", "last", "mean_all")
    given = with_columns(drawn(2, 5), {mean: 1e-20 * np.arange(10)})
    assert varying(given).all()


def test_the_mean_and_for_two_classes_the_skewness_of_a_last_layer_are_rounding_errors() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 2, 1))
    meter = PixelMeter(network, layers="2", pseudo_label=("predicted", "uniform"))
    given = segments(meter(torch.rand(3, 3, 12, 12)))
    varies = dict(zip(given.names, varying(given), strict=True))
    assert len(given) > 3
    for layer in ("2", "uniform:2"):
        assert varies[f"gradients/l2/{layer}/mean_all"]
        assert not varies[f"gradients/mean/{layer}/mean_all"]
        assert not varies[f"gradients/skewness/{layer}/relative"]
