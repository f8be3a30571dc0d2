"""Reader of a finished study's output folder: tables, claims, manifest and figures."""

import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gradmeter.errors import DataError
from gradmeter.names import printable
from gradmeter.report.figures.saving import drawings
from gradmeter.research.study.names import CONCEPTS
from gradmeter.research.study.store import EXPLORATION

MANIFEST = "manifest.json"
PAPER_COLUMNS = ("measure", "row", "column", "mean", "sem", "runs", "n", "base_rate", "paper", "paper_scanned")
TABLES = {
    "tables/table1.csv": PAPER_COLUMNS,
    "tables/table2.csv": PAPER_COLUMNS,
    "tables/table3.csv": PAPER_COLUMNS,
    "tables/table4.csv": PAPER_COLUMNS,
    "tables/differences.csv": ("table", "measure", "row", "column", "mean", "low", "high", "runs"),
    "tables/matched_base_rate.csv": ("row", "column", "base_rate", "mean", "sem", "runs", "paper"),
    "tables/penalties.csv": ("penalty", "column", "mean", "sem", "runs", "paper"),
    "tables/ablation.csv": ("classifier", "layers", "column", "measure", "mean", "sem", "runs"),
    "tables/lasso_weights.csv": ("layer", "metric", "mean", "sd", "runs"),
    "tables/networks.csv": ("run", "epochs", "restarts", "dead_filters", "damaged", "validation_error", "test_error"),
    "claims.csv": ("claim", "statement", "numbers", "verdict"),
}
FIGURES = ("gallery", "violins", "roc", "precision_recall", "risk_coverage", "stress")

Rows = list[dict[str, str]]


@dataclass(frozen=True)
class StudyResults:
    """The results of a study.

    Attributes:
        manifest: the content of manifest.json.
        rows: stem of a CSV file ("table1", "claims") to its rows; an empty list if the study wrote no such file.
        figures: figures by name, as `drawings` returns them; only those that the study drew.
        explored: the data of the interactive part, with the display names of concepts; None if the study was begun by
            an earlier version.
    """

    manifest: Mapping[str, Any]
    rows: Mapping[str, Rows]
    figures: Mapping[str, str]
    explored: Mapping[str, Any] | None = None

    @property
    def names(self) -> dict[str, str]:
        """Display name of each concept: the study's name, or else the usual name."""
        return CONCEPTS | dict(self.manifest.get("names", {}))


def read_results(folder: Path) -> StudyResults:
    """Read the output folder of a study.

    Raises:
        DataError: the folder has no manifest, or a file has an unexpected format.
    """
    rows = {Path(name).stem: _read_rows(folder / name, columns) for name, columns in TABLES.items()}
    manifest = _read_manifest(folder / MANIFEST)
    results = StudyResults(manifest, rows, drawings(folder / "figures", FIGURES))
    return replace(results, explored=_read_exploration(folder / EXPLORATION, results.names))


def _read_exploration(path: Path, names: Mapping[str, str]) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        explored: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        groups = [
            group if group["known"] else {**group, "name": printable(names.get(group["name"], group["name"]))}
            for group in explored["groups"]
        ]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is damaged ({error}); remove it and run the study again") from error
    return {**explored, "groups": groups}


def _read_manifest(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise DataError(f"{path.parent} has no {MANIFEST}; expected the output folder of a finished study")
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path} is not valid JSON ({error}); run the study again") from error
    if not isinstance(manifest, dict):
        raise DataError(f"{path} holds a {type(manifest).__name__}; expected a JSON object; run the study again")
    return manifest


def _read_rows(path: Path, columns: tuple[str, ...]) -> Rows:
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        missing = [column for column in columns if column not in (reader.fieldnames or ())]
        if missing:
            raise DataError(f"{path} lacks the columns {', '.join(missing)}; run the study again")
        return list(reader)
