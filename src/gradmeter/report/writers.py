"""Write a grid as Markdown, LaTeX (booktabs) or HTML."""

from html import escape

from gradmeter.report.grid import Cell, Grid

# Cells must not contain line breaks.
_SPACES = dict.fromkeys("\n\r", " ")
_LATEX = str.maketrans(
    _SPACES
    | {character: f"\\{character}" for character in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    | {"†": r"$^\dagger$", "\N{EN DASH}": "--", "<": r"\textless{}", ">": r"\textgreater{}"}
)
_MARKDOWN = str.maketrans(_SPACES | {character: f"\\{character}" for character in "\\|*_`<>[]"})


def to_markdown(grid: Grid) -> str:
    """Return the grid as a GitHub Markdown table with the caption above and the notes below."""

    def format_cell(cell: Cell) -> str:
        ours = f"**{_md(cell.text)}**" if cell.bold else _md(cell.text)
        return rf"{ours} \| {_md(cell.paper)}{cell.mark}" if cell.paper else ours

    lines = [f"**{_md(grid.caption)}**", "", _md_row([_md(grid.corner), *map(_md, grid.columns)])]
    lines.append("|:--|" + "--:|" * len(grid.columns))
    for block in grid.blocks:
        if block.title:
            lines.append(_md_row([f"**{_md(block.title)}**", *[""] * len(grid.columns)]))
        lines += [_md_row([_md(name), *map(format_cell, cells)]) for name, cells in block.rows]
    lines += [line for note in grid.notes for line in ("", _md(note))]
    return "\n".join(lines) + "\n"


def to_latex(grid: Grid) -> str:
    """Return the grid as a LaTeX table environment; the document needs ``\\usepackage{booktabs}``."""

    def format_cell(cell: Cell) -> str:
        ours = rf"\textbf{{{_tex(cell.text)}}}" if cell.bold else _tex(cell.text)
        return rf"{ours} $\mid$ {_tex(cell.paper + cell.mark)}" if cell.paper else ours

    width = len(grid.columns) + 1
    lines = [r"\begin{table}", r"\centering", rf"\caption{{{_tex(grid.caption)}}}"]
    lines += [rf"\begin{{tabular}}{{l{'r' * len(grid.columns)}}}", r"\toprule"]
    lines.append(_tex_row([_tex(grid.corner), *map(_tex, grid.columns)]))
    for block in grid.blocks:
        lines.append(r"\midrule")
        if block.title:
            lines.append(rf"\multicolumn{{{width}}}{{l}}{{\textbf{{{_tex(block.title)}}}}} \\")
        lines += [_tex_row([_tex(name), *map(format_cell, cells)]) for name, cells in block.rows]
    lines += [r"\bottomrule", r"\end{tabular}"]
    lines += [rf"\par\smallskip\footnotesize {_tex(note)}" for note in grid.notes]
    return "\n".join([*lines, r"\end{table}"]) + "\n"


def to_html(grid: Grid) -> str:
    """Return the grid as HTML: a table in a scrollable box with notes below; all text is escaped."""

    def format_cell(cell: Cell) -> str:
        ours = f"<b>{escape(cell.text)}</b>" if cell.bold else escape(cell.text)
        paper = f' <span class="paper">{escape(cell.paper + cell.mark)}</span>' if cell.paper else ""
        return f"<td>{ours}{paper}</td>"

    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in (grid.corner, *grid.columns))
    bodies = []
    for block in grid.blocks:
        title = (
            f'<tr class="block"><th colspan="{len(grid.columns) + 1}" scope="rowgroup">{escape(block.title)}</th></tr>'
        )
        rows = [
            f'<tr><th scope="row">{escape(name)}</th>{"".join(map(format_cell, cells))}</tr>'
            for name, cells in block.rows
        ]
        bodies.append("\n".join(["<tbody>", *([title] if block.title else []), *rows, "</tbody>"]))
    notes = "".join(f'<p class="note">{escape(note)}</p>' for note in grid.notes)
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(grid.caption)}"><table>'
        f"<caption><span>{escape(grid.caption)}</span></caption>\n<thead><tr>{head}</tr></thead>\n"
        + "\n".join(bodies)
        + f"\n</table></div>{notes}\n"
    )


def _md(text: str) -> str:
    return text.translate(_MARKDOWN)


def _md_row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _tex(text: str) -> str:
    return text.translate(_LATEX)


def _tex_row(cells: list[str]) -> str:
    return " & ".join(cells) + r" \\"
