"""The output folder of a study: where everything lies, and what it was made with."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradmeter.errors import OutputError
from gradmeter.files import is_temporary, write_text

# All that a study writes; --fresh removes these and nothing else. What is made from other parts goes before them, the
# manifest last: if it is killed meanwhile, the folder still is a study's, and nothing in it is made from missing parts.
_FOLDERS = ("figures", "tables", "results", "readings", "networks")
_FILES = ("report.html", "results.md", "readings.md", "claims.csv", "manifest.json")
# What each manifest holds, and of which type.
_MANIFEST = {"gradmeter": str, "options": dict, "data_hashes": dict}


@dataclass(frozen=True)
class Store:
    """Paths in the output folder of a study."""

    folder: Path

    def network(self, run: int) -> Path:
        """A trained network."""
        return self.folder / "networks" / f"{run:02d}.safetensors"

    def readings(self, run: int) -> Path:
        """The folder of a run's readings."""
        return self.folder / "readings" / f"{run:02d}"

    def regressions(self, run: int) -> Path:
        """A run's fitted regressions."""
        return self.folder / "results" / f"{run:02d}-regressions.json"

    def results(self, run: int) -> Path:
        """What a run's thresholds and regressions reach."""
        return self.folder / "results" / f"{run:02d}.csv"

    def own_results(self, run: int) -> Path:
        """What gradmeter's own judge reaches in a run."""
        return self.folder / "results" / f"{run:02d}-gradmeter.csv"

    def network_results(self, run: int) -> Path:
        """What a run's neural meta classifiers reach."""
        return self.folder / "results" / f"{run:02d}-neural.csv"

    def all_results(self, run: int) -> tuple[Path, ...]:
        """All that a run reaches."""
        return self.results(run), self.network_results(run), self.own_results(run)

    @property
    def bank(self) -> Path:
        """The neural meta classifiers of all runs."""
        return self.folder / "networks" / "meta.safetensors"

    @property
    def manifest(self) -> Path:
        """What the study was made with."""
        return self.folder / "manifest.json"

    @property
    def report(self) -> Path:
        """The report."""
        return self.folder / "report.html"

    def read_manifest(self) -> dict[str, Any] | None:
        """The manifest, None where there is none.

        Raises:
            OutputError: if it is damaged.
        """
        try:
            found = json.loads(self.manifest.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (ValueError, OSError) as error:
            raise OutputError(
                f"{self.manifest} is not readable ({error}); choose another --out or remove the folder"
            ) from error
        if not isinstance(found, dict) or any(not isinstance(found.get(k), kind) for k, kind in _MANIFEST.items()):
            raise OutputError(f"{self.manifest} was not written by gradmeter; choose another --out")
        return found

    def write_manifest(self, content: dict[str, Any]) -> None:
        """Write the manifest, whole or not at all."""
        write_text(self.manifest, json.dumps(content, indent=2, ensure_ascii=False) + "\n")

    def clear(self) -> None:
        """Remove what a study wrote here, and nothing else."""
        for name in _FOLDERS:
            shutil.rmtree(self.folder / name, ignore_errors=True)
        for name in _FILES:
            (self.folder / name).unlink(missing_ok=True)

    def require_own(self) -> None:
        """Check that the folder is new, empty or a study's; nothing is written yet.

        Raises:
            OutputError: if it holds something else or cannot be written.
        """
        if not self.folder.exists():
            return
        if not self.folder.is_dir():
            raise OutputError(f"{self.folder} is a file; expected a folder: choose another --out")
        try:
            # A study that was killed at its very start leaves a lock and perhaps an unfinished manifest.
            entries = {path.name for path in self.folder.iterdir() if not is_temporary(path)}
        except OSError as error:
            raise OutputError(f"{self.folder} cannot be read: {error.strerror}; choose another --out") from error
        if not os.access(self.folder, os.W_OK | os.X_OK):
            raise OutputError(f"{self.folder} is not writable; choose another --out")
        if entries and not self.manifest.exists():
            raise OutputError(
                f"{self.folder} holds files that are no gradmeter study ({sorted(entries)[0]}, ...); "
                "choose another --out"
            )
