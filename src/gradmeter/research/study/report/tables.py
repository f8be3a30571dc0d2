"""The study's tables as grids, with the paper's numbers beside ours."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from gradmeter.errors import InputError
from gradmeter.report.grid import Block, Cell, Grid
from gradmeter.report.writers import to_html, to_latex, to_markdown
from gradmeter.research.study.names import CONCEPTS, MEASURES, SCORES, in_order, signed
from gradmeter.research.study.report.records import NOTHING, Record, mean_and_sem, number, share

__all__ = [
    "ablation_grid",
    "departure_grid",
    "difference_grid",
    "matched_grid",
    "penalty_grid",
    "table_grid",
    "to_html",
    "to_latex",
    "to_markdown",
]

Names = Mapping[str, str]

SUBJECTS = {
    1: "thresholds on the baselines and on statistics of the whole gradient",
    2: "regressions on entropy and the statistics of all layers, fitted to validation digits",
    3: "neural networks fitted to (a) validation digits; (b) and {uniform}; (c) and {cifar10}; (d) and {omniglot}; "
    "and gradmeter's judge, which is not the paper's, fitted to validation digits",
    4: "results that the paper gives in words: the LASSO on the same training sets, and normal noise as the known "
    "unknown; and gradmeter's judge",
}
TRANSPOSED = (3, 4)
# A difference to the paper is bold from this number of our standard errors.
_CLEAR = 3


def table_grid(table: int, records: Sequence[Record], names: Names | None = None) -> Grid:
    """Lay out one of the paper's three tables, or Table 4 with results that the paper gives in words.

    Args:
        table: 1 to 4. Tables 1 and 2 have scores as rows and concepts as columns, Tables 3 and 4 the reverse.
        records: rows of tables/tableN.csv: measure, row, column, mean, sem, n, base_rate, paper, paper_scanned (in
            percent, base_rate as a share; numbers or strings). Rows may be missing.
        names: display names of concepts, if they differ from the usual names.

    Returns:
        A grid with one block per measure, the number of images and the base rate of each concept, and notes. The best
        values of each column (Tables 3 and 4: of each row), rounded to two decimals, are bold.

    Raises:
        InputError: there is no such table, or a cell is not a number.
    """
    down, across = _axes(table, names)
    best = _best(records, "row" if table in TRANSPOSED else "column")

    def cell(record: Record) -> Cell:
        paper = number(record, "paper")
        scanned = number(record, "paper_scanned")
        return Cell(
            mean_and_sem(record),
            "" if paper is None else f"{paper:.2f}",
            bold=id(record) in best,
            mark="†" if None not in (paper, scanned) and paper != scanned else "",
        )

    blocks = _blocks(records, down, across, cell)
    columns = [across.get(key, key) for key in in_order(_keys(records, "column"), across)]
    line, concepts = ("row", down) if table in TRANSPOSED else ("column", across)
    sizes = [_sizes(records, line, concept) for concept in in_order(_keys(records, line), concepts)]
    if table in TRANSPOSED:
        columns = ["Images", "Base rate", *columns]
        blocks = [_with_sizes(block, sizes) for block in blocks]
    elif sizes:
        images, rates = zip(*sizes, strict=True)
        blocks.append(Block("Images compared", (("Images", images), ("Base rate", rates))))
    note = (
        "Ours in percent: mean over runs (standard error), the best in bold. Then the paper's number, "
        "for EMNIST digits, EMNIST letters, CIFAR-10, Omniglot and notMNIST. "
        "Base rate: the share of wrong or unknown images among the images compared."
    )
    return Grid(
        f"Table {table}: {SUBJECTS[table].format_map(CONCEPTS | dict(names or {}))}",
        "Wrong or unknown" if table in TRANSPOSED else "Score",
        tuple(columns),
        tuple(blocks),
        (note, *_misread(records, down, across)),
    )


def difference_grid(table: int, records: Sequence[Record], names: Names | None = None) -> Grid:
    """Lay out the paired differences to the softmax baseline of one table.

    Args:
        table: 1 to 4; the layout is that of `table_grid`.
        records: rows of tables/differences.csv: table, measure, row, column, mean, low, high (percentage points).
        names: display names of concepts.

    Returns:
        A grid of "mean [low, high]", bold if the interval excludes zero.

    Raises:
        InputError: there is no such table, or a cell is not a number.
    """
    down, across = _axes(table, names)

    def cell(record: Record) -> Cell:
        mean, low, high = (number(record, column) for column in ("mean", "low", "high"))
        if mean is None:
            return Cell(NOTHING)
        if low is None or high is None:
            return Cell(signed(mean))
        return Cell(f"{signed(mean)} [{signed(low)}, {signed(high)}]", bold=low > 0 or high < 0)

    rows = [record for record in records if str(record.get("table", "")).removeprefix("table") == str(table)]
    return _grid(
        f"Table {table}, difference to the softmax baseline in percentage points",
        "Wrong or unknown" if table in TRANSPOSED else "Score",
        rows,
        (down, across),
        cell,
        "Mean of the differences within each run [95 % interval, Student's t]; bold if the interval excludes zero.",
    )


def departure_grid(table: int, records: Sequence[Record], names: Names | None = None) -> Grid:
    """Lay out the differences of one table to the paper.

    Args:
        table: 1 to 3; the layout is that of `table_grid`.
        records: as for `table_grid`; records without a number of the paper are skipped.
        names: display names of concepts.

    Returns:
        A grid of differences in percentage points, bold if larger than three of our standard errors.

    Raises:
        InputError: there is no such table, or a cell is not a number.
    """
    down, across = _axes(table, names)

    def cell(record: Record) -> Cell:
        mean, sem, paper = (number(record, column) for column in ("mean", "sem", "paper"))
        if mean is None or paper is None:
            return Cell(NOTHING)
        return Cell(signed(mean - paper), bold=sem is not None and abs(mean - paper) > _CLEAR * sem)

    printed = [record for record in records if number(record, "paper") is not None]
    grid = _grid(
        f"Table {table}, ours minus the paper's in percentage points",
        "Wrong or unknown" if table in TRANSPOSED else "Score",
        printed,
        (down, across),
        cell,
        "",
    )
    cells = [cell for block in grid.blocks for _, row in block.rows for cell in row if cell.text != NOTHING]
    clear = sum(cell.bold for cell in cells)
    note = f"{clear} of {len(cells)} cells differ by more than {_CLEAR} of our standard errors (bold)."
    return replace(grid, notes=(note,))


def matched_grid(records: Sequence[Record], names: Names | None = None) -> Grid:
    """Lay out the AUPR-Out re-weighted to the paper's base rates.

    Args:
        records: rows of tables/matched_base_rate.csv: row, column, base_rate (a share), mean, sem, paper (percent).
        names: display names of concepts.
    """
    concepts = CONCEPTS | dict(names or {})
    rates = list(dict.fromkeys((str(record.get("column")), share(record)) for record in records))
    across = {
        f"{key} {rate}": f"{concepts.get(key, key)} at {rate}"
        for key in in_order((key for key, _ in rates), concepts)
        for rate in (rate for other, rate in rates if other == key)
    }
    keyed = [{**record, "measure": "", "column": f"{record.get('column')} {share(record)}"} for record in records]
    return _grid(
        "AUPR-Out at the paper's base rates",
        "Score",
        keyed,
        (SCORES, across),
        _beside_paper,
        "Percent, mean over runs (standard error), re-weighted to the base rate shown; then the paper's number.",
    )


def penalty_grid(records: Sequence[Record], names: Names | None = None) -> Grid:
    """Lay out the AUROC of the LASSO by its penalty.

    Args:
        records: rows of tables/penalties.csv: penalty, column, mean, sem (percent), paper.
        names: display names of concepts.
    """
    keyed = [{**record, "measure": "", "row": f"{record.get('penalty')}"} for record in records]
    return _grid(
        "AUROC of the LASSO by its penalty on the summed loss",
        "Penalty",
        keyed,
        ({}, CONCEPTS | dict(names or {})),
        _beside_paper,
        "Percent, mean over runs (standard error); then the paper's number, for a penalty of 1.",
    )


def _beside_paper(record: Record) -> Cell:
    paper = number(record, "paper")
    return Cell(mean_and_sem(record), "" if paper is None else f"{paper:.2f}")


def ablation_grid(measure: str, records: Sequence[Record], names: Names | None = None) -> Grid:
    """Lay out the layer ablation for one measure: classifiers as blocks, layers as rows, concepts as columns.

    Args:
        measure: auroc, aupr_in or aupr_out.
        records: rows of tables/ablation.csv: classifier, layers, column, measure, mean, sem (percent).
        names: display names of concepts.
    """
    rows = [
        {**record, "measure": record.get("classifier", ""), "row": record.get("layers", "")}
        for record in records
        if record.get("measure") == measure
    ]
    return _grid(
        f"{MEASURES.get(measure, measure)} by the layers whose statistics the meta classifier uses",
        "Layers",
        rows,
        ({}, CONCEPTS | dict(names or {})),
        lambda record: Cell(mean_and_sem(record)),
        "Percent, mean over runs (standard error).",
    )


def _grid(
    caption: str,
    corner: str,
    records: Sequence[Record],
    axes: tuple[Names, Names],
    cell: Callable[[Record], Cell],
    note: str,
) -> Grid:
    down, across = axes
    columns = tuple(across.get(key, key) for key in in_order(_keys(records, "column"), across))
    return Grid(caption, corner, columns, tuple(_blocks(records, down, across, cell)), (note,))


def _axes(table: int, names: Names | None) -> tuple[Names, Names]:
    if table not in SUBJECTS:
        raise InputError(f"table={table!r}; expected 1 to 4")
    concepts = CONCEPTS | dict(names or {})
    # The paper's Table 3 names entropy before softmax.
    if table in TRANSPOSED:
        return concepts, {"entropy": SCORES["entropy"], **SCORES}
    return SCORES, concepts


def _blocks(records: Sequence[Record], down: Names, across: Names, cell: Callable[[Record], Cell]) -> list[Block]:
    """Return one block per measure, all with the same rows and columns; a missing record gives an empty cell."""
    rows, columns = in_order(_keys(records, "row"), down), in_order(_keys(records, "column"), across)
    by_cell = {(record.get("measure", ""), record["row"], record["column"]): record for record in records}
    titles = MEASURES | SCORES
    blocks = []
    for measure in in_order(_keys(records, "measure"), titles):
        lines = []
        for row in rows:
            line = (by_cell.get((measure, row, column)) for column in columns)
            cells = tuple(Cell(NOTHING) if record is None else cell(record) for record in line)
            lines.append((down.get(row, row), cells))
        blocks.append(Block(titles.get(measure, measure), tuple(lines)))
    return blocks


def _with_sizes(block: Block, sizes: Sequence[tuple[Cell, ...]]) -> Block:
    """Put the sizes of each concept before its row."""
    rows = ((name, size + cells) for size, (name, cells) in zip(sizes, block.rows, strict=True))
    return Block(block.title, tuple(rows))


def _best(records: Sequence[Record], line: str) -> set[int]:
    """Return the ids of the records with the highest mean, at two decimals, in their measure and line."""
    means = {id(record): round(mean, 2) for record in records if (mean := number(record, "mean")) is not None}
    rivals: dict[tuple[object, object], list[int]] = {}
    for record in records:
        if id(record) in means:
            rivals.setdefault((record.get("measure"), record.get(line)), []).append(id(record))
    return {key for group in rivals.values() for key in group if means[key] == max(means[other] for other in group)}


def _sizes(records: Sequence[Record], line: str, concept: str) -> tuple[Cell, Cell]:
    first = next(record for record in records if record.get(line) == concept)
    count = number(first, "n")
    return Cell(NOTHING if count is None else f"{count:,.0f}"), Cell(share(first))


def _misread(records: Sequence[Record], down: Names, across: Names) -> list[str]:
    cells = []
    for record in records:
        paper, scanned = number(record, "paper"), number(record, "paper_scanned")
        if paper is not None and scanned is not None and paper != scanned:
            names = (MEASURES, record["measure"]), (down, record["row"]), (across, record["column"])
            where = ", ".join(table.get(str(key), str(key)) for table, key in names)
            cells.append(f"{where}: {scanned:.2f}")
    return (
        [f"† Misread in the scanned paper; the likely value is shown. The scan has: {'; '.join(cells)}."]
        if cells
        else []
    )


def _keys(records: Sequence[Record], column: str) -> list[str]:
    return [str(record.get(column, "")) for record in records]
