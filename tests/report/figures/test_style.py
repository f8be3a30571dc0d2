"""Colour-blind readers can distinguish the colours of figures, and lines also differ in their dashes."""

from itertools import combinations, pairwise

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from gradmeter.report.figures.distributions import USUAL
from gradmeter.report.figures.style import COLOURS, GROUPS, OTHER_GROUP, label, line_styles
from gradmeter.research.speed_benchmark.plots import _COLOURS as BENCHMARK

# Matrices for linear RGB by Machado, Oliveira and Fernandes 2009, severity 1.0.
VISIONS = {
    "usual": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
WHITE = TO_XYZ.sum(axis=1)
# Smallest CIE 1976 distance of two colours; 2.3 is a just noticeable difference for adjacent areas.
APART = 15
# Smallest distance from white.
VISIBLE = 20
PALETTES = {
    "lines": COLOURS,
    "groups": (*GROUPS.values(), OTHER_GROUP),
    "distributions": (*USUAL.values(), COLOURS[0], COLOURS[1]),
    "benchmark": tuple(BENCHMARK.values()),
}


def lab(colour: str, vision: str) -> np.ndarray:
    """The perceived colour in CIE Lab."""
    levels = np.array(to_rgb(colour))
    linear = np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)
    x, y, z = np.cbrt(TO_XYZ @ np.clip(VISIONS[vision] @ linear, 0, 1) / WHITE)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def distance(first: str, second: str, vision: str) -> float:
    return float(np.linalg.norm(lab(first, vision) - lab(second, vision)))


def test_what_is_known_of_colours() -> None:
    assert lab("#ffffff", "usual") == pytest.approx([100, 0, 0], abs=0.1)
    assert lab("#ff0000", "usual") == pytest.approx([53.2, 80.1, 67.2], abs=0.3)
    assert distance("#00ff00", "#ff8000", "deuteranopia") < distance("#00ff00", "#ff8000", "usual") / 3


@pytest.mark.parametrize("vision", VISIONS)
@pytest.mark.parametrize("palette", PALETTES)
def test_colours_are_told_apart(palette: str, vision: str) -> None:
    distances = {pair: distance(*pair, vision) for pair in combinations(dict.fromkeys(PALETTES[palette]), 2)}
    assert min(distances.values()) >= APART, min(distances, key=distances.__getitem__)
    for colour in PALETTES[palette]:
        assert distance(colour, "#ffffff", vision) >= VISIBLE


def test_lines_differ_in_colour_and_dash() -> None:
    styles = list(line_styles([f"score {number}" for number in range(28)]).values())
    pairs = [(style["color"], style["linestyle"]) for style in styles]
    assert len(set(pairs)) == 28
    for first, second in pairwise(pairs):
        assert first[0] != second[0]
        assert first[1] != second[1]
    assert len({dash for _, dash in pairs[:4]}) == 4


def test_of_a_long_name_both_ends_are_shown() -> None:
    name = "first" + "x" * 200 + "last"
    text = label(name)
    assert len(text) < 60
    assert (text[:5], text[-4:]) == ("first", "last")
    assert label("vit.encoder.layer.11.attention.attention.query (output)").endswith(".query (output)")
    assert label("$" * 300).count("\\$") == text.count("x") + len("firstlast")
