from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gradmeter.errors import DataError
from gradmeter.sources.samples import ImageKind, open_source
from gradmeter.sources.samples.arrays import ImageArchive
from gradmeter.sources.samples.folders import ImageFolder
from gradmeter.sources.samples.noise import Noise
from gradmeter.sources.samples.opening import MANIFEST
from gradmeter.sources.samples.tables import ParquetTable
from gradmeter.trust.main_file import TRUST
from sources.samples.pictures import save

KIND = ImageKind("L", 6)


def test_every_kind_of_source(tmp_path: Path) -> None:
    save(tmp_path / "folder/a.png")
    np.savez(tmp_path / "a.npz", images=np.zeros((1, 2, 2), np.uint8))
    (tmp_path / "tables").mkdir()
    pq.write_table(pa.table({"image": [(tmp_path / "folder/a.png").read_bytes()]}), tmp_path / "tables/a.parquet")
    expected = {
        "folder": ImageFolder,
        "a.npz": ImageArchive,
        "tables": ParquetTable,
        "tables/a.parquet": ParquetTable,
    }
    for name, kind in expected.items():
        source = open_source(str(tmp_path / name), KIND)
        assert isinstance(source, kind)
        assert source.read(0).content.mode == "L"  # type: ignore[union-attr]
    noise = open_source("noise:uniform:3", KIND)
    assert isinstance(noise, Noise)
    assert noise.read(0).content.size == (6, 6)  # type: ignore[union-attr]


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="absent"):
        open_source("absent", KIND)
    (tmp_path / "a.csv").write_text("")
    with pytest.raises(DataError, match=r"\.csv"):
        open_source(str(tmp_path / "a.csv"), KIND)


def test_texts_and_images_are_not_mixed_up(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["a"]}), tmp_path / "a.parquet")
    assert open_source(str(tmp_path / "a.parquet"), None).read(0).content == "a"
    with pytest.raises(DataError, match=r"a\.parquet .*texts; .*images"):
        open_source(str(tmp_path / "a.parquet"), KIND)
    with pytest.raises(DataError, match=r"noise:uniform .*images; .*texts"):
        open_source("noise:uniform", None)


def test_a_folder_above_parquet_files(tmp_path: Path) -> None:
    """As a data set of the Hugging Face hub is downloaded."""
    (tmp_path / "data").mkdir()
    (tmp_path / "README.md").write_text("")
    pq.write_table(pa.table({"text": ["a"]}), tmp_path / "data/test-00000-of-00001.parquet")
    for kind in (KIND, None):
        with pytest.raises(DataError, match=r"no images, but data/test-00000-of-00001\.parquet; give this file or its"):
            open_source(str(tmp_path), kind)


@pytest.mark.parametrize("name", ["data-00000-of-00001.arrow", "test/data-00000-of-00001.arrow"])
def test_arrow_files_of_hugging_face(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(b"")
    (tmp_path / "state.json").write_text("{}")
    with pytest.raises(DataError, match=rf"no images, but {name}, as save_to_disk .* expected Parquet"):
        open_source(str(tmp_path), KIND)


def test_readings_are_no_samples(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": ["a"]}), tmp_path / "part-00000.parquet")
    (tmp_path / MANIFEST).write_text("{}")
    with pytest.raises(DataError, match=f"{tmp_path.name} .*readings"):
        open_source(str(tmp_path), KIND)


def test_a_trust_model_is_no_samples(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": ["a"]}), tmp_path / "readings.parquet")
    (tmp_path / TRUST).write_text("{}")
    with pytest.raises(DataError, match=f"{tmp_path.name} holds a TrustModel; expected the samples themselves"):
        open_source(str(tmp_path), KIND)
