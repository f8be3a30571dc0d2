"""Manipulated TrustModels with valid checksums: loading runs no code, and ends with a clear error or verdicts."""

import hashlib
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from gradmeter import GradientMeter, TrustModel
from gradmeter.errors import DataError, GradmeterError
from hostile.mutations import JSON, assert_clear, mutated

many = settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 3)).eval()


class Files(dict[str, bytes]):
    """The content of files by name; the repr shows only names, since contents are long."""

    def __repr__(self) -> str:
        return f"Files({', '.join(self)})"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """The files of a TrustModel by name."""
    folder = tmp_path_factory.mktemp("saved") / "trust"
    images = torch.randn(300, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    trust = TrustModel(GradientMeter(network()), "ridge").fit([(images, torch.arange(300) % 3)])
    trust.set_risk(0.9, [(torch.randn(300, 1, 4, 4), torch.arange(300) % 3)], least_probability=0)
    trust.save(folder)
    return Files({path.name: path.read_bytes() for path in folder.iterdir()})


def load(folder: Path, files: dict[str, bytes], change: Callable[[dict[str, Any]], None]) -> None:
    """Change trust.json, update its checksum and load it; it must raise a clear error or return verdicts."""
    folder.mkdir(exist_ok=True)
    content = json.loads(files["trust.json"])
    del content["checksum"]
    change(content)
    content["checksum"] = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    (folder / "trust.json").write_text(json.dumps(content))
    try:
        TrustModel.load(folder, network()).verdicts(torch.zeros(2, 1, 4, 4))
    except GradmeterError as error:
        assert_clear(error)


# Keys in trust.json.
KEYS = [
    *[(name,) for name in ("format", "gradmeter", "features", "guarantee", "notes", "meter", "learned_contents")],
    *[(name,) for name in ("held_out", "held_out_unfamiliar", "held_out_p_known", "fallback")],
    *[("meter", name) for name in ("pseudo_label", "activations", "embedding", "probes", "biases")],
    *[("network",), ("network", "parameters"), ("network", "hash")],
    *[("learned_from",), *[("learned_from", name) for name in ("right", "wrong", "unknown", "synthetic")]],
    *[("guarantee", name) for name in ("threshold", "risk", "confidence", "coverage", "errors", "accepted", "score")],
    *[("estimator",), ("estimator", "file"), ("estimator", "sha256")],
]


@many
@given(key=st.sampled_from(KEYS), value=JSON)
def test_changed_values(key: tuple[str, ...], value: Any, saved: dict[str, bytes], tmp_path: Path) -> None:
    def change(content: dict[str, Any]) -> None:
        assert key[0] in content
        if len(key) == 1:
            content[key[0]] = value
        else:
            assert key[1] in content[key[0]]
            content[key[0]][key[1]] = value

    load(tmp_path / "t", saved, change)


@pytest.mark.parametrize("threshold", ["0.5", None, float("nan"), float("inf"), [0.5]], ids=str)
def test_a_threshold_that_is_no_number(threshold: Any, saved: dict[str, bytes], tmp_path: Path) -> None:
    def change(content: dict[str, Any]) -> None:
        content["guarantee"]["threshold"] = threshold

    load(tmp_path / "t", saved, change)
    with pytest.raises(DataError):
        TrustModel.load(tmp_path / "t", network())


@pytest.mark.parametrize("change", ["fewer", "more", "others", "of no source"])
def test_features_that_its_meta_classifier_does_not_know(change: str, saved: dict[str, bytes], tmp_path: Path) -> None:
    def changed(content: dict[str, Any]) -> None:
        names = content["features"]
        content["features"] = {
            "fewer": names[:-1],
            "more": [*names, "entropy"],
            "others": ["9/l2", "activation:9/l2", "logit:99", *names[3:]],
            "of no source": [["x", *names[0][1:]], *names[1:]],
        }[change]

    load(tmp_path / "t", saved, changed)


@many
@given(data=st.data())
def test_its_meta_classifier(data: st.DataObject, saved: dict[str, bytes], tmp_path: Path) -> None:
    """Changes either the archive or the schema in it."""
    name = next(name for name in saved if name.endswith(".skops"))
    if data.draw(st.booleans()):
        changed = data.draw(mutated(saved[name]))
    else:
        with zipfile.ZipFile(io.BytesIO(saved[name])) as archive:
            members = {member: archive.read(member) for member in archive.namelist()}
        members["schema.json"] = data.draw(mutated(members["schema.json"]))
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w") as archive:
            for member, content in members.items():
                archive.writestr(member, content)
        changed = stream.getvalue()

    def change(content: dict[str, Any]) -> None:
        content["estimator"]["sha256"] = hashlib.sha256(changed).hexdigest()

    load(tmp_path / "t", {**saved, name: changed}, change)


@pytest.mark.parametrize("kind", ["os.system", "builtins.eval", "subprocess.Popen", "gradmeter.files.write_text"])
def test_a_type_that_could_run_code_is_not_made(kind: str, saved: dict[str, bytes], tmp_path: Path) -> None:
    name = next(name for name in saved if name.endswith(".skops"))
    module, _, function = kind.rpartition(".")
    schema = {
        "__class__": function,
        "__module__": module,
        "__loader__": "FunctionNode",
        "content": {"module_path": module, "function": function},
        "protocol": 2,
        "_skops_version": "0.13",
    }
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("schema.json", json.dumps(schema))
    folder = tmp_path / "t"
    folder.mkdir()

    def change(content: dict[str, Any]) -> None:
        content["estimator"]["sha256"] = hashlib.sha256(stream.getvalue()).hexdigest()

    content = json.loads(saved["trust.json"])
    del content["checksum"]
    change(content)
    content["checksum"] = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    (folder / "trust.json").write_text(json.dumps(content))
    (folder / name).write_bytes(stream.getvalue())
    with pytest.raises(DataError, match=rf"holds {kind}\b|is damaged"):
        TrustModel.load(folder, network())


@pytest.mark.parametrize("place", ["../estimator.skops", "/etc/passwd", "a/../../x.skops"])
def test_a_file_elsewhere_is_not_read(place: str, saved: dict[str, bytes], tmp_path: Path) -> None:
    def change(content: dict[str, Any]) -> None:
        content["estimator"]["file"] = place

    load(tmp_path / "t", saved, change)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["t"]
