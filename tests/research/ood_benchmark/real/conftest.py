from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gradmeter.research.cifar_resnets import CifarResNet
from research.ood_benchmark.real.archives import write_real_archives

LAYERS = 8


@contextmanager
def shallow() -> Iterator[None]:
    """Give every residual network 8 layers."""
    make = CifarResNet.__init__
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CifarResNet, "__init__", lambda network, depth: make(network, LAYERS))
        yield


@pytest.fixture(scope="module", autouse=True)
def shallow_networks() -> Iterator[None]:
    with shallow():
        yield


@pytest.fixture(scope="session")
def real_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the archives, and the networks in networks/."""
    folder = tmp_path_factory.mktemp("real")
    (folder / "networks").mkdir()
    with shallow():
        write_real_archives(folder, folder / "networks")
    return folder
