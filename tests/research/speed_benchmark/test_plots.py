from collections.abc import Callable

import pytest
from matplotlib.axes import Axes

from gradmeter.research.speed_benchmark import plots
from gradmeter.research.speed_benchmark.results import SpeedResults

Made = Callable[..., SpeedResults]


def texts(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def test_a_bar_or_an_error_for_each_method(made: Made) -> None:
    figure = plots.ratios(made(), "tiny")
    assert [axes.get_title("left") for axes in figure.axes] == ["1 thread", "2 threads"]
    axes = figure.axes[0]
    assert texts(axes) == ["1.00", "0.50", "0.40", "7.00", "fails: NotImplementedError"]
    ends = [(bar.get_x(), bar.get_x() + bar.get_width()) for bar in axes.patches]
    assert ends == [pytest.approx(end) for end in ((1, 1), (1, 0.5), (1, 0.4), (1, 7))], "bars start at T0"
    low, high = axes.get_xlim()
    assert low < 0.35
    assert high > 7
    assert figure.get_suptitle() == "Two layers, batch of 5"


def test_the_target_is_marked_on_the_meters_bar(made: Made) -> None:
    marks = [line.get_xdata() for line in plots.ratios(made(), "paper-cnn").axes[0].lines]
    assert any(list(x) == [0.5, 0.5] for x in marks)


def test_the_overview_omits_the_plain_passes(made: Made) -> None:
    figure = plots.overview(made(), ["paper-cnn", "tiny"])
    assert [axes.get_title("left") for axes in figure.axes] == [
        "Paper CNN, 28x28, batch of 1,000",
        "Two layers, batch of 5",
    ]
    assert texts(figure.axes[0]) == ["0.40", "7.00", "fails: NotImplementedError"]


def test_a_network_where_all_methods_fail(made: Made) -> None:
    results = made()
    results.timings["tiny"] = {"1": {}, "2": {}}
    assert all("fails" in text for text in texts(plots.ratios(results, "tiny").axes[0]))


def test_a_stream_without_extra_memory_is_drawn(made: Made) -> None:
    results = made()
    for stream in results.stream.values():
        stream["memory"] = 0
    assert plots.cost_per_image(results).axes[1].get_ylim() == (0, 1)


def test_cost_per_image_starts_at_zero(made: Made) -> None:
    cost, memory = plots.cost_per_image(made()).axes
    assert list(cost.lines[0].get_ydata()) == [250, 250]
    assert list(memory.lines[0].get_ydata()) == [3, 4]
    assert cost.get_ylim()[0] == memory.get_ylim()[0] == 0
