from pathlib import Path

import pytest

from research.ood_benchmark.real.archives import write_real_archives


@pytest.fixture(scope="session")
def real_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the archives, and the networks in networks/."""
    folder = tmp_path_factory.mktemp("real")
    (folder / "networks").mkdir()
    write_real_archives(folder, folder / "networks")
    return folder
