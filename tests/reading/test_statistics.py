import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import Tensor, nn

from gradmeter import GradientMeter, InputError, Readings
from gradmeter.reading.statistics import (
    METRICS,
    STATISTICS,
    Layers,
    Moments,
    PowerSums,
    register_statistic,
    statistics,
    statistics_of,
    statistics_of_each,
)
from gradmeter.research.study.features import Features
from gradmeter.trust.log_features import LogFeatures
from oracles.moments import Array, assert_agree, eight


def reduced(gradients: Array) -> Array:
    return statistics(PowerSums.of(torch.from_numpy(gradients))).numpy()


def draw(samples: int, entries: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal((samples, entries))


def test_names_of_the_metrics() -> None:
    assert METRICS == ("l1", "l2", "min", "max", "mean", "std", "skewness", "kurtosis")
    assert {name for name in METRICS if not STATISTICS[name].scales} == {"skewness", "kurtosis"}


@pytest.mark.parametrize("entries", [2, 3, 1000])
def test_random_data_against_scipy(entries: int) -> None:
    data = draw(5, entries) ** 3 + 0.3
    assert_agree(reduced(data), eight(data), norms=1e-11, shapes=1e-6)


def test_by_hand() -> None:
    # deviations -1.5, -0.5, -0.5, 2.5: variance 9/4, third moment 12/4, fourth 44.25/4
    by_name = dict(zip(METRICS, reduced(np.array([[-1.0, 0.0, 0.0, 3.0]]))[0], strict=True))
    assert by_name == pytest.approx(
        {
            "l1": 4.0,
            "l2": math.sqrt(10),
            "min": -1.0,
            "max": 3.0,
            "mean": 0.5,
            "std": 1.5,
            "skewness": 3.0 / 1.5**3,
            "kurtosis": 11.0625 / 1.5**4 - 3,
        },
        rel=1e-14,
    )


def test_mean_a_hundred_times_the_deviation() -> None:
    data = draw(4, 5000) + 100.0
    assert_agree(reduced(data), eight(data), norms=1e-10, shapes=1e-5)


@pytest.mark.parametrize("ratio", [1e3, 3e3, 1e4, 3e4, 1e5, 1e6, 3e6])
def test_a_shape_of_which_rounding_leaves_nothing_is_none(ratio: float) -> None:
    data = draw(4, 5000) + ratio
    values, expected = reduced(data), eight(data)
    index = METRICS.index("skewness")
    np.testing.assert_allclose(values[:, :index], expected[:, :index], rtol=1e-2)
    shapes = values[:, index:]
    assert ((shapes == 0) | (np.abs(shapes - expected[:, index:]) < 0.1)).all()
    assert (shapes != 0).any(axis=0).tolist() == [ratio < 3.1e4, ratio < 3.1e3]


@pytest.mark.parametrize("scale", [3e-74, 1e-60, 1e-30, 1e20, 1e60])
def test_tiny_and_huge_entries(scale: float) -> None:
    data = draw(3, 200) ** 3
    assert_agree(reduced(data * scale), eight(data * scale), norms=1e-12, shapes=1e-9)


@pytest.mark.parametrize("scale", [1e-76, 1e-110, 1e-150])
def test_entries_whose_powers_underflow_have_no_shape(scale: float) -> None:
    data = draw(2, 500)
    values = reduced(scale * data)
    np.testing.assert_allclose(values[:, :6], scale * eight(data)[:, :6], rtol=1e-6)
    assert not values[:, 6:].any()


@pytest.mark.parametrize("value", [0.1, -3.0, 1e-60, 1e20])
@pytest.mark.parametrize("entries", [1, 7, 1000])
def test_constant_entries_have_no_shape(value: float, entries: int) -> None:
    by_name = dict(zip(METRICS, reduced(np.full((1, entries), value))[0], strict=True))
    assert (by_name["std"], by_name["skewness"], by_name["kurtosis"]) == (0.0, 0.0, 0.0)
    assert (by_name["min"], by_name["max"]) == (value, value)
    assert by_name["mean"] == pytest.approx(value, rel=1e-14, abs=0)
    assert by_name["l1"] == pytest.approx(abs(value) * entries, rel=1e-12, abs=0)
    assert by_name["l2"] == pytest.approx(abs(value) * math.sqrt(entries), rel=1e-12, abs=0)


@pytest.mark.parametrize(("entries", "skewness", "kurtosis"), [(2, 0.0, -2.0), (3, None, -1.5)])
def test_shapes_that_follow_from_the_number_of_entries_are_exact(
    entries: int, skewness: float | None, kurtosis: float
) -> None:
    """Rounding errors would stand out from nothing else, for nearly equal entries most of all."""
    data = np.concatenate([draw(50, entries), 1 + draw(50, entries) * 1e-4])
    values = reduced(data)
    assert (values[:, METRICS.index("kurtosis")] == kurtosis).all()
    if skewness is not None:
        assert (values[:, METRICS.index("skewness")] == skewness).all()
    together = statistics_of_each([PowerSums.of(torch.from_numpy(part)) for part in (data, draw(100, 7))])
    assert torch.equal(together[:, 0], torch.from_numpy(values))


def test_zeros() -> None:
    zeros = PowerSums.zeros(3, 11, torch.device("cpu"))
    assert (statistics(zeros) == 0).all()
    assert statistics(zeros).shape == (3, 8)
    of = PowerSums.of(torch.zeros(3, 11))
    assert zeros.count == of.count
    assert torch.equal(zeros.numbers, of.numbers)


def test_zeros_count_in_mean_and_extremes() -> None:
    data = draw(2, 10) + 5
    merged = PowerSums.merge([PowerSums.of(torch.from_numpy(data)), PowerSums.zeros(2, 30, torch.device("cpu"))])
    expected = eight(np.concatenate([data, np.zeros((2, 30))], axis=1))
    assert_agree(statistics(merged), expected, norms=1e-13, shapes=1e-10)


def test_merge_joins_the_entries() -> None:
    data = draw(4, 90)
    parts = [PowerSums.of(torch.from_numpy(part)) for part in np.split(data, [10, 11, 60], axis=1)]
    merged = PowerSums.merge(parts)
    assert merged.count == 90
    assert_agree(statistics(merged), eight(data), norms=1e-13, shapes=1e-10)


def test_of_each_is_what_each_gives_alone() -> None:
    groups = [PowerSums.of(torch.from_numpy(draw(4, count))) for count in (1, 17, 300)]
    assert torch.equal(statistics_of_each(groups), torch.stack([statistics(group) for group in groups], dim=1))


@pytest.mark.parametrize("sizes", [[[3]], [[9, 3], [5], [7, 1, 2, 4]]])
def test_layers_equal_each_layer_alone(sizes: list[list[int]]) -> None:
    generator = torch.Generator().manual_seed(0)
    parameters = [[PowerSums.of(torch.randn(4, size, generator=generator)) for size in layer] for layer in sizes]
    layers = [PowerSums.merge(layer) for layer in parameters]
    expected = statistics_of_each([*layers, PowerSums.merge(layers)])
    numbers = torch.stack([group.numbers for layer in parameters for group in layer])
    actual = statistics_of(Layers(sizes).moments(numbers))
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-12)
    # The sum of two parameters, the usual case, does not depend on the order.
    few = [index for index, layer in enumerate(sizes) if len(layer) < 3]
    assert torch.equal(actual[:, few], expected[:, few])


def test_concatenate_joins_the_samples() -> None:
    data = torch.from_numpy(draw(7, 20))
    joined = PowerSums.concatenate([PowerSums.of(data[:3]), PowerSums.of(data[3:4]), PowerSums.of(data[4:])])
    torch.testing.assert_close(statistics(joined), statistics(PowerSums.of(data)), rtol=1e-13, atol=0)


def test_any_shape_memory_order_and_type() -> None:
    data = torch.from_numpy(draw(3, 2 * 4 * 5 * 6)).float().reshape(3, 2, 4, 5, 6).permute(0, 3, 1, 4, 2)
    assert not data.is_contiguous()
    assert_agree(statistics(PowerSums.of(data)), eight(data.numpy()), norms=1e-13, shapes=1e-10)


def test_float32_entries_are_summed_in_float64() -> None:
    # in float32 the square of 1e-30 is zero, and adding a million ones to 1e8 loses most of them
    assert statistics(PowerSums.of(torch.full((1, 4), 1e-30)))[0, 1] == pytest.approx(2e-30, rel=1e-6, abs=0)
    data = torch.ones(1, 100_001)
    data[0, 0] = 1e8
    assert statistics(PowerSums.of(data))[0, 0].item() == 1e8 + 100_000


@given(
    hnp.arrays(
        np.float64,
        st.tuples(st.integers(1, 3), st.integers(1, 30)),
        elements=st.floats(-100, 100).filter(lambda g: g == 0 or abs(g) > 1e-6),
    )
)
def test_inequalities(data: Array) -> None:
    values: Tensor = statistics(PowerSums.of(torch.from_numpy(data)))
    l1, l2, low, high, mean, std, skewness, kurtosis = values.unbind(1)
    entries, slack = data.shape[1], 1e-9
    assert (low <= mean + slack).all()
    assert (mean <= high + slack).all()
    assert (l2 * entries**0.5 >= l1 * (1 - slack)).all()
    assert (l2 <= l1 * (1 + slack)).all()
    # Popoviciu's bound on the standard deviation, and Pearson's on the kurtosis where rounding errors are small
    assert (std <= (high - low) / 2 + slack * l2).all()
    spread = std > 0.01 * (mean.abs() + slack)
    assert (kurtosis + 2 >= skewness**2 - 1e-5 * (1 + skewness**2))[spread].all()


# --- a statistic that is registered outside the package


@pytest.fixture
def rms() -> Iterator[None]:
    """Register the root mean square."""
    register_statistic("rms", scales=True)(lambda moments: moments.square.sqrt())
    yield
    del STATISTICS["rms"]


@pytest.mark.usefixtures("rms")
def test_a_statistic_of_one_s_own_is_read() -> None:
    model, x = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)).eval(), torch.randn(5, 4)
    readings = GradientMeter(model, ["predicted", "uniform"])(x)
    assert readings.metrics == (*METRICS, "rms")
    for part in (readings, readings.for_pseudo_label("uniform")):
        entries = torch.tensor([4.0 * 6 + 6, 6 * 3 + 3, 4 * 6 + 6 + 6 * 3 + 3], dtype=torch.float64)
        norms = part.values[:, :, METRICS.index("l2")]
        torch.testing.assert_close(part.values[:, :, -1], norms / entries.sqrt(), rtol=1e-12, atol=0)
    again = Readings.from_arrow(readings.to_arrow())
    assert torch.equal(again["all", "rms"], readings["all", "rms"])
    # Also by its column names alone.
    bare = Readings.from_arrow(readings.to_arrow().replace_schema_metadata(None))
    assert torch.equal(bare.values, readings.values)
    assert Readings.concatenate([readings, again]).metrics == readings.metrics
    # The features of the meta classifiers and of the paper do not change.
    assert all(feature.statistic != "rms" for feature in LogFeatures.everything(readings).axes.features)
    assert not any(name.endswith("/rms") for name in Features.chosen(readings).names)


def test_tables_with_other_statistics_stay_readable(rms: None) -> None:
    """Tables from before the registration, and tables with a statistic that is not registered here."""
    model, x = nn.Linear(4, 3).eval(), torch.randn(5, 4)
    more = GradientMeter(model)(x).to_arrow()
    del STATISTICS["rms"]
    fewer = GradientMeter(model)(x)
    assert Readings.from_arrow(more).metrics == (*METRICS, "rms")
    with pytest.raises(InputError, match="differ"):
        Readings.concatenate([fewer, Readings.from_arrow(more)])
    register_statistic("rms", scales=True)(lambda moments: moments.square.sqrt())
    assert Readings.from_arrow(fewer.to_arrow()).metrics == METRICS


@pytest.mark.parametrize("result", [lambda moments: moments.square.sum(), lambda moments: None])
def test_a_statistic_that_is_not_one_number_for_each_layer(result: Any, rms: None) -> None:
    del STATISTICS["rms"]
    register_statistic("rms", scales=True)(result)
    with pytest.raises(InputError, match=r"the statistic 'rms' has .*; expected a tensor of shape \(5, "):
        GradientMeter(nn.Linear(4, 3).eval())(torch.randn(5, 4))


@pytest.mark.parametrize("name", ["l2", "", "a/b", "a:b", 3])
def test_names_that_no_statistic_can_have(name: Any) -> None:
    with pytest.raises(InputError, match=repr(name)):
        register_statistic(name, scales=True)


def test_moments_against_scipy() -> None:
    data = torch.randn(3, 50, dtype=torch.float64).exp()
    sums = PowerSums.of(data)
    moments = Moments(sums.numbers, sums.count)
    for own, order in ((moments.variance, 2), (moments.third, 3), (moments.fourth, 4)):
        np.testing.assert_allclose(own, scipy.stats.moment(data.numpy(), order, axis=1), rtol=1e-10)
