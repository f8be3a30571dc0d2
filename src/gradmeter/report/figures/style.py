"""The common style of all figures: light axes, dark grey text on white, one palette for lines."""

from contextlib import AbstractContextManager
from itertools import cycle
from typing import Any

import matplotlib.style

from gradmeter.names import printable

INK = "#333333"
RULE = "#b5b5b5"
GRID = "#ececec"

NARROW_INCHES = 3.4
"""Width of a figure for a phone: it fits a page of 390 CSS pixels without scaling, so its text keeps its size."""

# Okabe and Ito's colours, for colour-blind readers, without yellow, which is too pale for a thin line on white.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
# 4 dashes and 7 colours have no common divisor, so consecutive lines differ in both and 28 combinations are unique.
DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1.5)), (0, (6, 1.5, 1.5, 1.5)))

# The colours of Figure 2 in the paper, with a lightness that colour-blind readers can distinguish.
GROUPS = {"correct": "#7fcf9b", "wrong": "#c0281c", "letters": "#2f7fc1", "cifar10": "#9a9a9a", "uniform": "#4b2070"}
OTHER_GROUP = "#c98a00"

# The most characters of a name in a figure.
_LONGEST = 56

STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.labelsize": 9,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.edgecolor": RULE,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "text.color": INK,
    "xtick.color": RULE,
    "ytick.color": RULE,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    # A browser's font may be wider than the font of the layout.
    "figure.constrained_layout.w_pad": 0.12,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.4,
    # Text is not converted to paths, which makes small files; a fixed salt makes ids reproducible.
    "svg.fonttype": "none",
    "svg.hashsalt": "gradmeter",
}


def label(name: str) -> str:
    """A name as text in a figure; of a long name only both ends are kept. Escapes "$", which starts a formula."""
    text = printable(name)
    if len(text) > _LONGEST:
        text = f"{text[: _LONGEST // 2]}…{text[-(_LONGEST // 2) + 1 :]}"
    return text.replace("$", r"\$")


def styled() -> AbstractContextManager[None]:
    """Return a context in which matplotlib draws in this style, independently of the user's settings."""
    context: AbstractContextManager[None] = matplotlib.style.context(["default", STYLE])
    return context


def line_styles(names: list[str]) -> dict[str, dict[str, Any]]:
    """Assign a colour and a dash to each name, in order."""
    pairs = zip(names, cycle(DASHES), cycle(COLOURS), strict=False)
    return {name: {"color": colour, "linestyle": dash} for name, dash, colour in pairs}
