from pathlib import Path

import pytest

from gradmeter import DataError
from gradmeter.research.inputs import require_files


def test_files_before_the_folder_of_networks(tmp_path: Path) -> None:
    archive = tmp_path / "cifar10_test.npz"
    with pytest.raises(DataError, match=r"resnet20 needs cifar10_test\.npz"):
        require_files("resnet20", ["resnet20.safetensors"], None, [archive])
    archive.touch()
    with pytest.raises(DataError, match=r"resnet20\.safetensors; give it as --networks"):
        require_files("resnet20", ["resnet20.safetensors"], None, [archive])
    require_files("paper", [None], None, [archive])
    require_files("resnet20", ["resnet20.safetensors"], tmp_path, [archive])
