"""gradmeter export, and gradmeter judge without PyTorch."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import onnx
import pandas as pd
import pytest

from apps.cli.commands import ENVIRONMENT, gradmeter, in_this_process
from apps.onnx.exported import needs_exporter
from apps.workflows.digits import make
from trust.quick import fit_quickly

pytestmark = [pytest.mark.slow, needs_exporter]

NAMED = ("--model", "digits_network:network")
FIT = (
    *("fit", "digits_network:network", "--weights", "weights.safetensors", "--classes", "0,1,2,3,4,5,6,7,8,9"),
    *("--image-size", "8", "--grey", "--known", "validation", "--risk", "0.08", "--repetitions", "100", "-q"),
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with digits, a TrustModel in trust/ and judged.onnx."""
    folder = tmp_path_factory.mktemp("place")
    make(folder)
    with pytest.MonkeyPatch.context() as patch:
        fit_quickly(patch)
        fitted = in_this_process(*FIT, "--reads", "forward", "-o", "trust", cwd=folder)
    assert fitted.returncode == 0, fitted.stderr
    process = in_this_process("export", "trust", *NAMED, "-o", "judged.onnx", cwd=folder)
    assert process.returncode == 0, process.stderr
    first, second = process.stdout.splitlines()
    assert re.fullmatch(r"Wrote judged\.onnx, \d\.\d MB\.", first)
    assert float(second.split()[-1].rstrip(".")) < 1e-4
    return folder


def test_the_verdicts_of_the_folder(place: Path) -> None:
    for name, arguments in (("trust", NAMED), ("judged.onnx", ())):
        process = gradmeter("judge", name, "test", *arguments, "-o", f"{name}.csv", cwd=place)
        assert process.returncode == 0, process.stderr
    expected, given = (pd.read_csv(place / f"{name}.csv") for name in ("trust", "judged.onnx"))
    assert [*given.columns] == [*expected.columns]
    for column in ("id", "prediction", "accepted"):
        assert given[column].tolist() == expected[column].tolist()
    for column in ("probability", "p_known", "p_correct_if_known", "p_correct"):
        assert (given[column] - expected[column]).abs().max() < 1e-4
    assert given["reason"].fillna("").tolist() == expected["reason"].fillna("").tolist()
    assert given["reason"].str.startswith("unfamiliar: ").any()
    again = gradmeter("judge", "judged.onnx", "test", "-o", "judged.onnx.csv", cwd=place)
    assert "897 of 897 samples were done before" in again.stderr


def test_verdicts_are_continued_and_refused(place: Path, tmp_path: Path) -> None:
    out = tmp_path / "verdicts"
    assert gradmeter("judge", "judged.onnx", "test/3", "-o", out, cwd=place).returncode == 0
    changed = gradmeter("judge", "judged.onnx", "test/4", "-o", out, cwd=place)
    assert changed.returncode == 2
    assert "--fresh" in changed.stderr
    (place / "test/3/broken.png").write_bytes(b"no image")
    lines = gradmeter("judge", "judged.onnx", "test/3", "--json", cwd=place).stdout.splitlines()
    (place / "test/3/broken.png").unlink()
    rows = [json.loads(line) for line in lines]
    assert [row["id"] for row in rows if "skipped" in row] == ["broken.png"]
    assert {*map(type, (row["accepted"] for row in rows if "skipped" not in row))} == {bool}


def test_a_new_subfolder_adds_samples(place: Path, tmp_path: Path) -> None:
    for day in ("monday", "tuesday"):
        shutil.copytree(place / "test/3", tmp_path / "inbox" / day)
        process = in_this_process("judge", place / "judged.onnx", "inbox", "-o", "out", cwd=tmp_path)
        assert process.returncode == 0, process.stderr


def test_pytorch_is_not_loaded(place: Path) -> None:
    program = (
        "import sys; sys.argv = ['gradmeter', 'judge', 'judged.onnx', 'test/3']\n"
        "from gradmeter.apps.cli import main\n"
        "try: main()\n"
        "finally: print([name for name in sys.modules if name.partition('.')[0] in ('torch', 'sklearn')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=place, env=ENVIRONMENT, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"
    assert len(done.stdout.splitlines()) > 50


def test_mistakes_are_one_line(place: Path, tmp_path: Path) -> None:
    bare = onnx.load(place / "judged.onnx")
    onnx.helper.set_model_props(bare, {})
    onnx.save(bare, tmp_path / "bare.onnx")
    for arguments, message in (
        (("judge", "absent.onnx", "test"), "no such file"),
        (("judge", "judged.onnx", "absent"), "no such file"),
        (("judge", tmp_path / "bare.onnx", "test"), "without a judge"),
        (("judge", "judged.onnx", "test", *NAMED), "--model"),
        (("judge", "judged.onnx", "test", "--engine", "ray", "-o", "out"), "--engine"),
        (("export", "trust", *NAMED, "-o", "judged.txt"), ".onnx"),
        (("export", "trust", "-o", "other.onnx"), "--model"),
        (("export", "absent", "-o", "other.onnx"), "holds no TrustModel"),
        (("export", "trust", *NAMED, "-o", "/proc/other.onnx"), "No such file"),
    ):
        process = in_this_process(*arguments, cwd=place)
        assert process.returncode == 2, arguments
        assert process.stderr.count("\n") == 1
        assert message in process.stderr


def test_a_damaged_file(place: Path, tmp_path: Path) -> None:
    content = bytearray((place / "judged.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "damaged.onnx").write_bytes(content)
    process = gradmeter("judge", tmp_path / "damaged.onnx", "test", cwd=place)
    assert process.returncode == 2
    assert process.stderr.count("\n") == 1
    assert "damaged.onnx" in process.stderr
