"""Where the study finds and keeps its files."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Place:
    """The folders of a study.

    Attributes:
        data: folder of the archives.
        networks: folder of trained ResNets; None if no subject needs it.
        folder: output folder.
        share: share of the samples to use.
    """

    data: Path
    networks: Path | None
    folder: Path
    share: float = 1.0

    def count(self, samples: int) -> int:
        """Return the share of a number of samples."""
        return math.ceil(self.share * samples)

    def weights(self, name: str) -> Path:
        """Return the path of the weights of a network that is trained here."""
        return self.folder / "networks" / f"{name}.safetensors"

    def readings(self, subject: str, network: int) -> Path:
        """Return the folder of the readings of a network."""
        return self.folder / "readings" / f"{subject}-{network}"

    def scores(self, subject: str, seed: int, name: str) -> Path:
        """Return the path of the scores of a set of labels; `name` says how they were corrupted."""
        return self.folder / "scores" / subject / f"{seed}-{name}.parquet"

    def results(self, group: str) -> Path:
        """Return the path of the results of a group of subjects."""
        return self.folder / "results" / f"{group}.json"
