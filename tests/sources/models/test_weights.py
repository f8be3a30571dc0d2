import json
import pickle
from argparse import Namespace
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file, save_model
from torch import nn

from driven.privileges import unprivileged
from gradmeter.errors import DataError
from gradmeter.sources.models.weights import build_with, read_weights


def build(classes: int | None) -> nn.Module:
    return nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 1000 if classes is None else classes))


@pytest.fixture
def state() -> dict[str, torch.Tensor]:
    return build(3).state_dict()


def same(network: nn.Module, state: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, state[name]) for name, value in network.state_dict().items())


def test_safetensors_with_the_names_of_the_classes(state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_file(state, path, metadata={"classes": json.dumps(["a", "b", "c"])})
    tensors, classes = read_weights(path)
    assert classes == ("a", "b", "c")
    assert same(build_with(build, tensors, path), state)


@pytest.mark.parametrize("note", [None, {}, {"classes": "not JSON"}, {"classes": "[1]"}, {"classes": "3"}])
def test_safetensors_without(note: dict[str, str] | None, state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    save_file(state, tmp_path / "a.safetensors", metadata=note)
    assert read_weights(tmp_path / "a.safetensors")[1] is None


@pytest.mark.parametrize("nest", [None, "state_dict", "model_state_dict", "model"])
@pytest.mark.parametrize(
    "prefix", ["", "module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.", "model.", "0.module."]
)
def test_what_training_programs_save(
    nest: str | None, prefix: str, state: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    path = tmp_path / "a.pt"
    prefixed = {prefix + name: value for name, value in state.items()}
    torch.save(prefixed if nest is None else {nest: prefixed, "epoch": 3}, path)
    tensors, classes = read_weights(path)
    assert classes is None
    assert same(build_with(build, tensors, path), state)


def test_a_network_that_is_itself_called_model() -> None:
    """A prefix that belongs to the names of the network is kept."""
    network = nn.Sequential()
    network.add_module("model", build(3))
    for prefix in ("", "module."):
        given = {prefix + name: value for name, value in network.state_dict().items()}
        assert same(build_with(lambda classes: network, given, Path("a.pt")), network.state_dict())


@pytest.mark.parametrize("name", ["2.bias", "scale"])
def test_a_single_number_in_place_of_a_vector_and_a_vector_in_place_of_a_number(name: str) -> None:
    def scaled(classes: int | None) -> nn.Module:
        network = build(classes)
        network.register_buffer("scale", torch.tensor(1.0))
        return network

    given = scaled(3).state_dict()
    given[name] = torch.ones(()) if name == "2.bias" else torch.ones(3)
    with pytest.raises(DataError, match=rf"a\.pt does not fit Sequential: .*{name} .* instead of "):
        build_with(scaled, given, Path("a.pt"))


def test_a_moving_average(state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    torch.save(torch.optim.swa_utils.AveragedModel(build(3)).state_dict(), path)
    averaged, _ = read_weights(path)
    assert same(
        build_with(build, averaged, path), {name.removeprefix("module."): value for name, value in averaged.items()}
    )
    with pytest.raises(DataError, match=r"a\.pt .*n_averaged"):
        build_with(build, averaged | {"other.weight": torch.zeros(1)}, path)


def test_a_lightning_module_with_a_loss_and_a_metric(state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    beside = {"loss.weight": torch.ones(3), "class_weights": torch.ones(3), "metric.total": torch.zeros(())}
    inside = {f"model.net.{name}": value for name, value in state.items()}
    torch.save({"state_dict": beside | inside, "epoch": 3}, path)
    assert same(build_with(build, read_weights(path)[0], path), state)
    for more in ({f"teacher.{name}": value for name, value in state.items()}, {"decoder": torch.ones(1000)}):
        with pytest.raises(DataError, match="unknown"):
            build_with(build, beside | inside | more, path)


def test_an_average_deep_in_a_file(state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    saved: dict[str, object] = {"model": state, "ema": {"decay": 0.9, "shadow": state}}
    saved["self"] = saved
    torch.save(saved, path)
    with pytest.raises(DataError, match=r"'model' and 'ema\.shadow'.*\['ema'\]\['shadow'\]"):
        read_weights(path)


@pytest.mark.parametrize(("key", "average"), [("model", "model_ema"), ("state_dict", "state_dict_ema")])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_weights_and_their_average_in_one_file(
    key: str, average: str, prefix: str, state: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    """To take either without a word would judge another network than the one that is used."""
    path = tmp_path / "a.pt"
    other = {prefix + name: value + 1 for name, value in state.items()}
    torch.save({key: state, average: other, "optimizer": {"state": {}}, "loss": {"weight": torch.ones(3)}}, path)
    with pytest.raises(DataError, match=rf"'{key}' and '{average}'"):
        read_weights(path)
    torch.save(torch.load(path)[average], path)
    assert torch.equal(build_with(build, read_weights(path)[0], path).state_dict()["0.bias"], state["0.bias"] + 1)


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("beside", [{"criterion.weight": torch.ones(3)}, {"metric.total": torch.zeros(())}])
def test_an_average_beside_the_weights_of_a_lightning_module(
    prefix: str, beside: dict[str, torch.Tensor], state: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    path = tmp_path / "a.ckpt"
    inside = {f"model.{name}": value for name, value in state.items()}
    average = {prefix + name: value + 1 for name, value in state.items()}
    torch.save({"state_dict": inside | beside, "state_dict_ema": average}, path)
    with pytest.raises(DataError, match="'state_dict' and 'state_dict_ema'"):
        read_weights(path)
    for other in ({"weight": torch.ones(3)}, build(7).state_dict(), {"0.weight": torch.ones(9, 8)}):
        torch.save({"state_dict": inside | beside, "other": other}, path)
        assert same(build_with(build, read_weights(path)[0], path), state)


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_counters_of_batches_may_be_missing(suffix: str, tmp_path: Path) -> None:
    """PyTorch before 0.4.1 did not save them."""

    def build(classes: int | None) -> nn.Module:
        return nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))

    state = build(None).state_dict()
    state["1.running_mean"] += 1
    state["0.weight"] = state["0.weight"].clone()
    del state["1.num_batches_tracked"]
    path = tmp_path / f"a{suffix}"
    save_file(dict(state), path) if suffix == ".safetensors" else torch.save(state, path)
    network = build_with(build, read_weights(path)[0], path)
    assert same(network, state | {"1.num_batches_tracked": torch.tensor(0)})


class Payload:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, ("raise SystemExit('ran')",)


class Versioned(nn.Linear):
    """A layer that requires the version of its saved weights, as those of torchvision's mnasnet do."""

    _version = 2

    def _load_from_state_dict(self, state: Any, prefix: str, metadata: dict[str, Any], *others: Any) -> None:
        if metadata.get("version") != 2:
            raise ValueError(f"version {metadata.get('version')}")
        super()._load_from_state_dict(state, prefix, metadata, *others)


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_a_layer_that_requires_a_version(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    state = nn.Sequential(Versioned(4, 3)).state_dict()
    (save_file if suffix == ".safetensors" else torch.save)(state, path)
    loaded = build_with(lambda count: nn.Sequential(Versioned(4, 3)), read_weights(path)[0], path)
    assert same(loaded, state)


def test_a_shared_weight_that_is_saved_once(tmp_path: Path) -> None:
    def shared(classes: int | None) -> nn.Sequential:
        layers = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 2))
        layers[1].weight = layers[0].weight
        return layers

    network = shared(None)
    save_model(network, str(tmp_path / "a.safetensors"))
    tensors, _ = read_weights(tmp_path / "a.safetensors")
    assert same(build_with(shared, tensors, tmp_path / "a.safetensors"), network.state_dict())
    del tensors["2.weight"]
    with pytest.raises(DataError, match=r"lacks 2\.weight"):
        build_with(shared, tensors, tmp_path / "a.safetensors")


@pytest.mark.parametrize(
    "beside",
    [
        Namespace(lr=0.1, data_dir=Path("data")),
        SimpleNamespace(lr=0.1),
        np.float64(0.9),
        np.int64(3),
        np.zeros((2, 2), np.int64),
        np.random.default_rng(0).standard_normal(3).mean(),
        datetime(2026, 1, 1),
    ],
)
def test_what_training_programs_save_beside_weights(
    beside: object, state: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    """As timm's and torchvision's training programs do, whose options are a namespace."""
    torch.save({"epoch": 3, "state_dict": state, "args": beside}, tmp_path / "a.pth")
    tensors, _ = read_weights(tmp_path / "a.pth")
    assert same(build_with(build, tensors, tmp_path / "a.pth"), state)


def test_nothing_beside_weights_is_created(
    state: dict[str, torch.Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save({"state_dict": state, "args": Namespace(lr=0.1)}, tmp_path / "a.pth")
    monkeypatch.delattr("argparse.Namespace")
    assert same(build_with(build, read_weights(tmp_path / "a.pth")[0], tmp_path / "a.pth"), state)


def test_weights_under_another_key(state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    torch.save({"net": state, "acc": 93.2, "epoch": 3}, tmp_path / "ckpt.pth")
    with pytest.raises(DataError, match=r"'net', 'acc', 'epoch'.*torch\.load\('ckpt\.pth'\)\['net'\]"):
        read_weights(tmp_path / "ckpt.pth")


def test_no_code_is_run(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    torch.save({"a": torch.zeros(1), "b": Payload()}, path)
    with pytest.raises(DataError, match=r"a\.pt"):
        read_weights(path)
    path.write_bytes(pickle.dumps(Payload()))
    with pytest.raises(DataError, match=r"a\.pt"):
        read_weights(path)


@pytest.mark.parametrize("held", [torch.zeros(2), [1, 2], {}, {"a": 1}])
def test_no_state_dict(held: object, tmp_path: Path) -> None:
    torch.save(held, tmp_path / "a.pt")
    with pytest.raises(DataError, match=rf"a\.pt .*{type(held).__name__}.*state_dict"):
        read_weights(tmp_path / "a.pt")


def test_objects_that_are_refused_are_named(state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    for content, name in (
        ({"model": state, "loss": Decimal(1)}, r"it holds decimal\.Decimal\);"),
        (build(3), r"it holds torch\.nn\.[\w.]+\);"),
        (Namespace(model=state), "holds a single object;"),
    ):
        torch.save(content, tmp_path / "a.pt")
        with pytest.raises(DataError, match=rf"a\.pt .*{name} expected a state_dict"):
            read_weights(tmp_path / "a.pt")


def test_names_that_are_none(tmp_path: Path) -> None:
    torch.save({1: torch.zeros(2)}, tmp_path / "a.pt")
    with pytest.raises(DataError, match=r"a\.pt .*state_dict"):
        read_weights(tmp_path / "a.pt")


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (lambda value: value.to_sparse(), "sparse_coo"),
        (lambda value: value.to_sparse_csr(), "sparse_csr"),
        (lambda value: value.to("meta"), "meta"),
        (lambda value: torch.quantize_per_tensor(value, 0.1, 0, torch.qint8), "quantised"),
        # PyTorch 2.15 does not load nested tensors as weights only.
        (lambda value: torch.nested.nested_tensor(list(value)), "nested|weights only"),
    ],
)
def test_tensors_that_are_not_dense(
    make: Callable[[torch.Tensor], torch.Tensor], kind: str, state: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    torch.save({**state, "0.weight": make(state["0.weight"])}, tmp_path / "a.pt")
    with pytest.raises(DataError, match=kind if "|" in kind else rf"0\.weight .*{kind}"):
        read_weights(tmp_path / "a.pt")


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.bool, torch.complex64])
def test_weights_of_another_kind_of_numbers(dtype: torch.dtype, state: dict[str, torch.Tensor]) -> None:
    with pytest.raises(DataError, match=rf"0\.weight {str(dtype).removeprefix('torch.')} .*float32"):
        build_with(build, {**state, "0.weight": state["0.weight"].to(dtype)}, Path("a.pt"))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_another_precision(dtype: torch.dtype, state: dict[str, torch.Tensor]) -> None:
    network = build_with(build, {name: value.to(dtype) for name, value in state.items()}, Path("a.pt"))
    assert all(value.dtype == torch.float32 for value in network.state_dict().values())


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_missing_and_damaged(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    with pytest.raises(DataError, match=path.name):
        read_weights(path)
    path.write_bytes(b"\x08\0\0\0\0\0\0\0garbage")
    with pytest.raises(DataError, match=path.name):
        read_weights(path)


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_a_file_that_may_not_be_read(suffix: str, state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    """safetensors gives its files to their owner alone, and says of those of others that they do not exist."""
    path = tmp_path / f"weights{suffix}"
    (torch.save if suffix == ".pt" else save_file)(state, path)
    path.chmod(0)
    with unprivileged(), pytest.raises(DataError, match="Permission denied"):
        read_weights(path)


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_a_file_whose_name_is_no_utf_8(suffix: str, state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    plain = tmp_path / f"plain{suffix}"
    save_file(state, plain) if suffix == ".safetensors" else torch.save(state, plain)
    tensors, _ = read_weights(plain.rename(tmp_path / f"\udcff\n{suffix}"))
    assert tensors.keys() == state.keys()


@pytest.mark.parametrize("content", [b"", b"epoch 1, loss 0.3\n", b"\x89PNG"])
def test_what_torch_save_cannot_have_written(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "weights.txt"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"weights\.txt .*\.safetensors"):
        read_weights(path)


def test_another_networks_weights(state: dict[str, torch.Tensor]) -> None:
    state["2.gain"] = state.pop("2.bias")
    with pytest.raises(DataError, match=r"a\.pt .*Sequential.*2\.bias.*2\.gain"):
        build_with(build, state, Path("a.pt"))
    other = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)).state_dict()
    with pytest.raises(DataError, match=r"0\.weight \(6, 4\) .*\(5, 4\)"):
        build_with(build, other, Path("a.pt"))


@pytest.mark.parametrize(
    ("given", "expected", "advice"), [(1, 3, "of timm, give --grey"), (3, 1, "of timm, remove --grey")]
)
def test_grey_and_coloured_are_not_the_same(given: int, expected: int, advice: str) -> None:
    def network(channels: int) -> nn.Module:
        return nn.Sequential(nn.Conv2d(channels, 4, 3))

    with pytest.raises(DataError, match=rf"0\.weight .*{advice}"):
        build_with(lambda classes: network(expected), network(given).state_dict(), Path("w.pt"))
