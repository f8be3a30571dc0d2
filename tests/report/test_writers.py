from xml.etree import ElementTree

import pytest

from gradmeter.report.grid import Block, Cell, Grid
from gradmeter.report.writers import to_html, to_latex, to_markdown

GRID = Grid(
    "Table 1: <em>50 %</em> & more",
    "Score",
    ("Letters", "a_b|c"),
    (
        Block(
            "AUROC",
            (("<script>x</script>", (Cell("97.81 (0.03)", "97.82", bold=True), Cell("1.00", "2.00", mark="†"))),),
        ),
        Block("", (("last", (Cell("5"), Cell("6"))),)),
    ),
    ("A note & more.",),
)


def test_markdown_is_exact():
    assert to_markdown(GRID) == (
        "**Table 1: \\<em\\>50 %\\</em\\> & more**\n"
        "\n"
        "| Score | Letters | a\\_b\\|c |\n"
        "|:--|--:|--:|\n"
        "| **AUROC** |  |  |\n"
        "| \\<script\\>x\\</script\\> | **97.81 (0.03)** \\| 97.82 | 1.00 \\| 2.00† |\n"
        "| last | 5 | 6 |\n"
        "\n"
        "A note & more.\n"
    )


def test_latex_is_exact():
    assert to_latex(GRID) == (
        "\\begin{table}\n"
        "\\centering\n"
        "\\caption{Table 1: \\textless{}em\\textgreater{}50 \\%\\textless{}/em\\textgreater{} \\& more}\n"
        "\\begin{tabular}{lrr}\n"
        "\\toprule\n"
        "Score & Letters & a\\_b|c \\\\\n"
        "\\midrule\n"
        "\\multicolumn{3}{l}{\\textbf{AUROC}} \\\\\n"
        "\\textless{}script\\textgreater{}x\\textless{}/script\\textgreater{} & "
        "\\textbf{97.81 (0.03)} $\\mid$ 97.82 & 1.00 $\\mid$ 2.00$^\\dagger$ \\\\\n"
        "\\midrule\n"
        "last & 5 & 6 \\\\\n"
        "\\bottomrule\n"
        "\\end{tabular}\n"
        "\\par\\smallskip\\footnotesize A note \\& more.\n"
        "\\end{table}\n"
    )


@pytest.mark.parametrize(
    ("text", "escaped"),
    [("\\", r"\textbackslash{}"), ("~^", r"\textasciitilde{}\textasciicircum{}"), ("{#$}", r"\{\#\$\}")],
)
def test_latex_escapes_what_would_be_a_command(text, escaped):
    assert f"\\caption{{{escaped}}}" in to_latex(Grid(text, "", (), ()))


def test_a_name_of_two_lines_stays_in_its_row():
    grid = Grid("a\nb", "c", ("d\r\ne",), (Block("f\n\ng", (("h\ni", (Cell("1\n2"),)),)),))
    rows = [line for line in to_markdown(grid).splitlines() if line.startswith("|")]
    assert [row.count("|") for row in rows] == [3] * 4
    assert all(row.endswith("|") for row in rows)
    assert len(to_latex(grid).splitlines()) == len(to_latex(GRID).splitlines()) - 3


def test_html_is_well_formed_scoped_and_escaped():
    root = ElementTree.fromstring(f"<div>{to_html(GRID)}</div>")
    assert root.findtext(".//caption/span") == GRID.caption
    assert [head.text for head in root.iterfind(".//thead//th[@scope='col']")] == ["Score", "Letters", "a_b|c"]
    assert [head.text for head in root.iterfind(".//th[@scope='rowgroup']")] == ["AUROC"]
    assert [head.text for head in root.iterfind(".//th[@scope='row']")] == ["<script>x</script>", "last"]
    assert ["".join(cell.itertext()) for cell in root.iter("td")] == ["97.81 (0.03) 97.82", "1.00 2.00†", "5", "6"]
    assert [cell.text for cell in root.iterfind(".//td/b")] == ["97.81 (0.03)"]
    assert root.findtext("p[@class='note']") == "A note & more."
