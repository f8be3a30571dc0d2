from pathlib import Path

import pytest

from research.ood_benchmark.archives import write_archives


@pytest.fixture(scope="session")
def small_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_archives(folder)
    return folder
