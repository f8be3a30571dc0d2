"""Kinds of sources that a module outside of gradmeter registers: they are opened and measured as the built-in ones."""

import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from torch import nn

from gradmeter import GradientMeter
from gradmeter.apps.cli import main
from gradmeter.errors import DataError
from gradmeter.runs.measuring import MeasuredSet, measure
from gradmeter.sources.models import Classifier
from gradmeter.sources.models.preprocessing import ResizeAndNormalise, Stacked
from gradmeter.sources.samples import (
    Encoded,
    ImageKind,
    Noise,
    Source,
    open_source,
    register_scheme,
    require_outside,
    scheme_of,
)
from gradmeter.sources.samples.registry import FILE_TYPES, SCHEMES

SIDE = 8


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Forget what a test registers."""
    with mock.patch.dict(SCHEMES), mock.patch.dict(FILE_TYPES):
        yield


def decode_shade(content: bytes) -> Image.Image:
    return Image.new("L", (SIDE, SIDE), int(content))


class Shades(Source):
    """Grey images from black to white; "shades:N" has N of them, labelled dark or light."""

    labelled = True
    classes = ("dark", "light")

    def __init__(self, text: str, side: int, mode: str, seed: int) -> None:
        assert (side, mode) == (SIDE, "L")
        self.name, self.decoder = text, decode_shade
        self._shades = np.linspace(0, 255, int(text.partition(":")[2])).astype(int)

    def __len__(self) -> int:
        return len(self._shades)

    def id(self, index: int) -> str:
        return f"shade-{self._shades[index]}"

    def fetch(self, index: int) -> Encoded:
        shade = int(self._shades[index])
        return Encoded(self.id(index), str(shade).encode(), shade // 128)

    def fingerprint(self) -> str:
        return hashlib.sha256(self._shades.tobytes()).hexdigest()


def classifier() -> Classifier:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(SIDE * SIDE, 2)).eval()
    batch = Stacked(ResizeAndNormalise(SIDE, (0.5,), (0.5,)))
    return Classifier("two shades", network, ("light", "dark"), ImageKind("L", SIDE), batch)


def test_a_new_scheme_is_measured(tmp_path: Path) -> None:
    register_scheme("shades")(Shades)
    two_shades = classifier()
    source = open_source("shades:70", two_shades.image)
    assert measure(two_shades, source, tmp_path / "readings").rows == 70
    table = pq.read_table(tmp_path / "readings")
    assert table["id"].to_pylist() == [source.id(index) for index in range(70)]
    assert table["label"].to_pylist() == [1] * 35 + [0] * 35  # the network's order of the classes
    images = two_shades.batch([source.read(index).content for index in range(70)])
    expected = GradientMeter(two_shades.network)(images)  # type: ignore[arg-type]
    assert table["prediction"].to_pylist() == expected.logits.argmax(1).tolist()
    np.testing.assert_allclose(np.stack(table["logits"].to_numpy()), expected.logits, rtol=1e-4, atol=1e-6)


def test_a_measurement_of_a_new_scheme_continues(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The scheme is not taken for a path, so the source is the same in another working directory."""
    register_scheme("shades")(Shades)
    two_shades = classifier()
    measure(two_shades, open_source("shades:5", two_shades.image), tmp_path / "readings")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert measure(two_shades, open_source("shades:5", two_shades.image), tmp_path / "readings").rows == 5
    assert MeasuredSet(tmp_path / "readings").finished


MODULE = """
import hashlib

import torch
from PIL import Image
from torch import nn

from gradmeter.sources.samples import Encoded, Source, register_file_type


def decode(content):
    return Image.frombytes("L", (8, 8), content)


@register_file_type(".idx")
class IdxFile(Source):
    classes, labelled, decoder = None, False, staticmethod(decode)

    def __init__(self, location, mode):
        self.name = location.name
        self._pixels = location.read()[16:]

    def __len__(self):
        return len(self._pixels) // 64

    def id(self, index):
        return str(index)

    def fetch(self, index):
        return Encoded(self.id(index), self._pixels[64 * index : 64 * (index + 1)], None)

    def fingerprint(self):
        return hashlib.sha256(self._pixels).hexdigest()


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
"""


def test_the_module_of_a_network_adds_a_file_type_to_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "network_for_idx.py").write_text(MODULE)
    (tmp_path / "digits.IDX").write_bytes(bytes(16) + np.arange(6 * 64, dtype=np.uint8).tobytes())
    monkeypatch.chdir(tmp_path)
    options = ["--image-size", "8", "--grey", "--device", "cpu", "--out", "readings"]
    monkeypatch.setattr(sys, "argv", ["gradmeter", "measure", "network_for_idx:network", "digits.IDX", *options])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code in (None, 0), capsys.readouterr().err
    assert pq.read_table(tmp_path / "readings").num_rows == 6


def test_built_in_sources_are_registered_likewise() -> None:
    assert SCHEMES["noise"] is Noise
    assert {".npz", ".parquet", ".png", ".jpg"} <= FILE_TYPES.keys()


def test_only_registered_schemes_are_schemes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="shades:5"):
        open_source("shades:5", ImageKind("L", SIDE))
    register_scheme("shades")(Shades)
    names = ("shades:5", "shades", "./shades:5", "s3://bucket/shades:5")
    assert [scheme_of(name) for name in names] == ["shades", None, None, None]
    require_outside("shades:5/out", ["shades:5"])
