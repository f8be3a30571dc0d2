"""The look that all figures share: quiet axes, dark grey text on a white card, one palette for lines."""

from contextlib import AbstractContextManager
from itertools import cycle
from typing import Any

import matplotlib.style

from gradmeter.names import printable

INK = "#333333"
RULE = "#b5b5b5"
GRID = "#ececec"

NARROW_INCHES = 3.4
"""Width of a figure for a telephone: in CSS pixels what a page of 390 leaves to it, so its text keeps its size."""

# Okabe and Ito's colours, told apart by colour-blind readers; their yellow is too pale for a thin line on white.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
# Their number and that of the colours have no common divisor: neighbours differ in both.
DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1.5)), (0, (6, 1.5, 1.5, 1.5)))

# The paper's colours (caption of its Figure 2), as light or dark as readers need who see no red or no green.
GROUPS = {"correct": "#7fcf9b", "wrong": "#c0281c", "letters": "#2f7fc1", "cifar10": "#9a9a9a", "uniform": "#4b2070"}
OTHER_GROUP = "#c98a00"

# Characters of a name.
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
    # A browser's own font may set text wider than the layout was computed for.
    "figure.constrained_layout.w_pad": 0.12,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.4,
    # Text stays text and ids come from a fixed salt: small files, the same bytes every time.
    "svg.fonttype": "none",
    "svg.hashsalt": "gradmeter",
}


def label(name: str) -> str:
    """A name as text of a figure: matplotlib takes what stands between two dollar signs for a formula.

    Of a long one, which would leave no room for what is drawn, both ends are shown.
    """
    text = printable(name)
    if len(text) > _LONGEST:
        text = f"{text[: _LONGEST // 2]}…{text[-(_LONGEST // 2) + 1 :]}"
    return text.replace("$", r"\$")


def styled() -> AbstractContextManager[None]:
    """Return a context in which matplotlib draws in this style, whatever the user's own settings are."""
    context: AbstractContextManager[None] = matplotlib.style.context(["default", STYLE])
    return context


def line_styles(names: list[str]) -> dict[str, dict[str, Any]]:
    """Give each name its own colour and dash, in order."""
    pairs = zip(names, cycle(DASHES), cycle(COLOURS), strict=False)
    return {name: {"color": colour, "linestyle": dash} for name, dash, colour in pairs}
