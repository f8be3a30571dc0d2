"""One grid, three writers: Markdown, LaTeX (booktabs) and HTML."""

from html import escape

from gradmeter.report.grid import Cell, Grid

# A cell is a line.
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

    def cell(one: Cell) -> str:
        ours = f"**{_md(one.text)}**" if one.bold else _md(one.text)
        return rf"{ours} \| {_md(one.paper)}{one.mark}" if one.paper else ours

    lines = [f"**{_md(grid.caption)}**", "", _md_row([_md(grid.corner), *map(_md, grid.columns)])]
    lines.append("|:--|" + "--:|" * len(grid.columns))
    for block in grid.blocks:
        if block.title:
            lines.append(_md_row([f"**{_md(block.title)}**", *[""] * len(grid.columns)]))
        lines += [_md_row([_md(name), *map(cell, cells)]) for name, cells in block.rows]
    lines += [line for note in grid.notes for line in ("", _md(note))]
    return "\n".join(lines) + "\n"


def to_latex(grid: Grid) -> str:
    """Return the grid as a LaTeX table environment; the document needs ``\\usepackage{booktabs}``."""

    def cell(one: Cell) -> str:
        ours = rf"\textbf{{{_tex(one.text)}}}" if one.bold else _tex(one.text)
        return rf"{ours} $\mid$ {_tex(one.paper + one.mark)}" if one.paper else ours

    width = len(grid.columns) + 1
    lines = [r"\begin{table}", r"\centering", rf"\caption{{{_tex(grid.caption)}}}"]
    lines += [rf"\begin{{tabular}}{{l{'r' * len(grid.columns)}}}", r"\toprule"]
    lines.append(_tex_row([_tex(grid.corner), *map(_tex, grid.columns)]))
    for block in grid.blocks:
        lines.append(r"\midrule")
        if block.title:
            lines.append(rf"\multicolumn{{{width}}}{{l}}{{\textbf{{{_tex(block.title)}}}}} \\")
        lines += [_tex_row([_tex(name), *map(cell, cells)]) for name, cells in block.rows]
    lines += [r"\bottomrule", r"\end{tabular}"]
    lines += [rf"\par\smallskip\footnotesize {_tex(note)}" for note in grid.notes]
    return "\n".join([*lines, r"\end{table}"]) + "\n"


def to_html(grid: Grid) -> str:
    """Return the grid as an HTML figure: a table that scrolls in its own box, notes below; all text escaped."""

    def cell(one: Cell) -> str:
        ours = f"<b>{escape(one.text)}</b>" if one.bold else escape(one.text)
        paper = f' <span class="paper">{escape(one.paper + one.mark)}</span>' if one.paper else ""
        return f"<td>{ours}{paper}</td>"

    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in (grid.corner, *grid.columns))
    bodies = []
    for block in grid.blocks:
        title = (
            f'<tr class="block"><th colspan="{len(grid.columns) + 1}" scope="rowgroup">{escape(block.title)}</th></tr>'
        )
        rows = [
            f'<tr><th scope="row">{escape(name)}</th>{"".join(map(cell, cells))}</tr>' for name, cells in block.rows
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
