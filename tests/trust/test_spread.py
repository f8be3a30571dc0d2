"""Networks whose parameters are spread over processes, here a single one."""

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

from gradmeter import GradientMeter, PixelMeter, TrustModel, UnsupportedModelError
from gradmeter.reading.network import weights_hash
from trust.trained import digits, loader, trained

pytestmark = pytest.mark.skipif(
    torch.__version__.startswith("2.6."),
    reason="PyTorch 2.6 fails itself, or warns, where it spreads a network over CPUs",
)
SPREAD: dict[str, Callable[[nn.Module, DeviceMesh], object]] = {
    "FSDP": lambda network, mesh: fully_shard(network, mesh=mesh),
    "tensor parallelism": lambda network, mesh: parallelize_module(
        network, mesh, {"4": ColwiseParallel(), "6": RowwiseParallel()}
    ),
}


@pytest.fixture(scope="module")
def mesh() -> Iterator[DeviceMesh]:
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    dist.destroy_process_group()


@pytest.mark.parametrize("way", SPREAD)
def test_the_weights_are_those_of_the_whole_network(mesh: DeviceMesh, way: str) -> None:
    network = trained()
    SPREAD[way](network, mesh)
    assert weights_hash(network) == weights_hash(trained())
    with pytest.raises(UnsupportedModelError, match=r"DTensor.*forward"):
        GradientMeter(network)(torch.rand(3, 1, 8, 8))


@pytest.mark.filterwarnings("ignore:FSDP is switching:UserWarning")
@pytest.mark.parametrize("own_parameters", [False, True])
def test_the_parameters_of_the_earlier_fsdp_have_no_gradient(mesh: DeviceMesh, own_parameters: bool) -> None:
    network = nn.Sequential(
        FullyShardedDataParallel(trained(), device_id=torch.device("cpu"), use_orig_params=own_parameters)
    )
    with pytest.raises(UnsupportedModelError, match=r"'0' is wrapped in FullyShardedDataParallel.*gradients=False"):
        GradientMeter(network)(torch.rand(3, 1, 8, 8))
    with pytest.raises(UnsupportedModelError, match="FullyShardedDataParallel"):
        GradientMeter(network, gradients=False, probes=["odin"])(digits()[0][:3])
    with pytest.raises(UnsupportedModelError, match="FullyShardedDataParallel"):
        PixelMeter(network)(torch.rand(2, 1, 8, 8))
    readings = GradientMeter(network, gradients=False)(digits()[0][:3])
    expected = GradientMeter(trained(), gradients=False)(digits()[0][:3])
    torch.testing.assert_close(readings.logits, expected.logits)


def test_a_fit_of_a_network_with_fsdp_is_one_of_the_network(mesh: DeviceMesh, quick_fits: None, tmp_path: Path) -> None:
    network = trained()
    fully_shard(network, mesh=mesh)
    trust = TrustModel(GradientMeter(network), reads="forward").fit(loader(300, 900))
    trust.save(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        expected = trust.predict_proba(digits()[0][900:920])
    actual = TrustModel.load(tmp_path, trained()).predict_proba(digits()[0][900:920])
    torch.testing.assert_close(actual, expected)
