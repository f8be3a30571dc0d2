"""The output folder of a study: the paths of its files."""

from __future__ import annotations

import shutil
from pathlib import Path

from gradmeter.runs.store import Store, StoreKind

# Everything that a study writes; --fresh removes these and nothing else. Derived files are removed before the files
# that they are made from, and the manifest last: after a killed removal the folder is still recognised as a study.
_FOLDERS = ("figures", "tables", "results", "readings", "networks")
_FILES = ("report.html", "results.md", "readings.md", "claims.csv", "manifest.json")
EXPLORATION = "results/00-exploration.json"
_KIND = StoreKind(
    "manifest.json", "a study", "gradmeter reproduce", {"gradmeter": str, "options": dict, "data_hashes": dict}
)


class StudyStore(Store):
    """The output folder of a study, on this machine.

    Attributes:
        folder: its path.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, _KIND)
        self.folder = folder

    def network(self, run: int) -> Path:
        """The trained network of a run."""
        return self.folder / "networks" / f"{run:02d}.safetensors"

    def readings(self, run: int) -> Path:
        """The folder of a run's readings."""
        return self.folder / "readings" / f"{run:02d}"

    def regressions(self, run: int) -> Path:
        """The fitted regressions of a run."""
        return self.folder / "results" / f"{run:02d}-regressions.json"

    def results(self, run: int) -> Path:
        """The results of the thresholds and regressions of a run."""
        return self.folder / "results" / f"{run:02d}.csv"

    def own_results(self, run: int) -> Path:
        """The results of gradmeter's TrustModel in a run."""
        return self.folder / "results" / f"{run:02d}-gradmeter.csv"

    @property
    def exploration(self) -> Path:
        """The data of the interactive part of the report, of the first run."""
        return self.folder / EXPLORATION

    def network_results(self, run: int) -> Path:
        """The results of the neural meta classifiers of a run."""
        return self.folder / "results" / f"{run:02d}-neural.csv"

    def all_results(self, run: int) -> tuple[Path, ...]:
        """All result files of a run."""
        return self.results(run), self.network_results(run), self.own_results(run)

    @property
    def bank(self) -> Path:
        """The neural meta classifiers of all runs."""
        return self.folder / "networks" / "meta.safetensors"

    @property
    def report(self) -> Path:
        """The report."""
        return self.folder / "report.html"

    def clear(self) -> None:
        """Remove the files of the study, and nothing else."""
        if manifest := self.read():
            # If the removal is killed, the remaining files must not be taken for a finished study.
            self.write({key: value for key, value in manifest.items() if key != "finished"})
        for name in _FOLDERS:
            shutil.rmtree(self.folder / name, ignore_errors=True)
        for name in _FILES:
            (self.folder / name).unlink(missing_ok=True)
