"""Bad input is reported in one line with exit code 2, and nothing is written."""

import importlib
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import gradmeter
from apps.cli.commands import ENVIRONMENT, anew, main_without
from apps.cli.commands import gradmeter as gradmeter_command
from gradmeter.apps.cli import main
from gradmeter.apps.cli.commands import COMMANDS, app
from gradmeter.errors import TRACEBACK, DataError

pytestmark = pytest.mark.slow

Spoil = Callable[[Path], None]


def truncated(folder: Path) -> None:
    path = folder / "emnist_digits.npz"
    path.write_bytes(path.read_bytes()[:100_000])


def with_digits(images: np.ndarray, labels: np.ndarray) -> Spoil:
    return lambda folder: np.savez(folder / "emnist_digits.npz", images=images, labels=labels)


IMAGES = np.random.default_rng(0).integers(0, 256, (400, 28, 28), np.uint8)
LABELS = np.arange(400) % 10
NOT_A_NUMBER = np.where(np.arange(400)[:, None, None] == 7, np.nan, IMAGES / 255)

BAD_DATA: dict[str, tuple[Spoil, str]] = {
    "truncated": (truncated, "emnist_digits.npz"),
    "no digits": (lambda folder: (folder / "emnist_digits.npz").unlink(), "emnist_digits.npz"),
    "shape": (with_digits(IMAGES[:, :27], LABELS), "(400, 27, 28)"),
    "type": (with_digits(IMAGES.astype(np.int32), LABELS), "int32"),
    "NaN": (with_digits(NOT_A_NUMBER, LABELS), "NaN"),
    "labels": (with_digits(IMAGES, LABELS + 1), "1 to 10"),
    "too few": (with_digits(IMAGES[:99], LABELS[:99]), "99"),
    "objects": (with_digits(IMAGES, LABELS.astype(object)), "emnist_digits.npz"),
}


def refused(code: object, out: str, err: str, message: str) -> None:
    assert code == 2, err
    assert out == ""
    assert err.startswith("gradmeter: ")
    assert err.count("\n") == 1, err
    assert message in err


@pytest.fixture
def refuses(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[[str, tuple[object, ...]], None]:
    """Check that `gradmeter reproduce` in an empty folder refuses these arguments with a line that names a value."""
    (tmp_path / "here").mkdir()

    def check(message: str, arguments: tuple[object, ...]) -> None:
        monkeypatch.setattr(sys, "argv", ["gradmeter", "reproduce", *map(str, arguments)])
        monkeypatch.chdir(tmp_path / "here")
        with pytest.raises(SystemExit) as caught:
            main()
        refused(caught.value.code, *capsys.readouterr(), message)
        assert list((tmp_path / "here").iterdir()) == []

    return check


Refuses = Callable[[str, tuple[object, ...]], None]


@pytest.mark.parametrize("case", BAD_DATA)
def test_bad_images(case: str, refuses: Refuses, archives: Path, tmp_path: Path) -> None:
    spoil, named = BAD_DATA[case]
    folder = shutil.copytree(archives, tmp_path / "data")
    spoil(folder)
    refuses(named, ("--data", folder, "--out", tmp_path / "out"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--data", "nowhere"), "--data nowhere"),
        (("--data", "emnist"), "--root"),
        (("--data", "emnist", "--root", "nowhere"), "EMNIST"),
        (("--root", "nowhere"), "--data emnist"),
        (("--runs", 0), "runs=0"),
        (("--seed", -1), "seed=-1"),
        (("--padding", "foo"), "padding='foo'"),
        (("--aupr", "foo"), "aupr='foo'"),
        (("--workers", 0), "workers=0"),
        (("--runs", "many"), "--runs"),
        (("--nonsense",), "--nonsense"),
    ],
)
def test_bad_options(arguments: tuple[object, ...], named: str, refuses: Refuses) -> None:
    refuses(named, arguments)


def test_no_download_possible(refuses: Refuses, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for scheme in ("http", "https"):
        monkeypatch.setenv(f"{scheme}_proxy", "http://127.0.0.1:9")  # a port on which nothing listens
    monkeypatch.setattr(urllib.request, "_opener", None)  # it would keep the proxies of its first use
    refuses("EMNIST", ("--data", "emnist", "--root", tmp_path / "root", "--download"))


def test_a_new_process_does_the_same(archives: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(archives, tmp_path / "data")
    truncated(folder)
    process = anew("reproduce", "--data", folder, "--out", tmp_path / "out", cwd=tmp_path)
    refused(process.returncode, process.stdout, process.stderr, "emnist_digits.npz")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["thesis.docx", "manifest.json"])
def test_a_folder_of_something_else(name: str, refuses: Refuses, archives: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / name).write_text("{}")
    refuses(str(folder), ("--data", archives, "--out", folder, "--fresh"))
    assert [path.name for path in folder.iterdir()] == [name]
    assert (folder / name).read_text() == "{}"


def test_a_file_for_a_folder(refuses: Refuses, archives: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    refuses(str(tmp_path / "out"), ("--data", archives, "--out", tmp_path / "out"))
    refuses(str(tmp_path / "out" / "deep"), ("--data", archives, "--out", tmp_path / "out" / "deep"))
    assert (tmp_path / "out").read_text() == "mine"


def test_a_message_of_several_lines_becomes_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(**options: Any) -> None:
        raise DataError("first [bold]line :x:\n  second line\x1b[31m\u202e\udcff")

    monkeypatch.setattr(importlib.import_module("gradmeter.apps.cli.commands"), "app", fail)
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    assert capsys.readouterr().err == ("gradmeter: first [bold]line :x:\\n  second line\\x1b[31m\\u202e\\xff\n")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (KeyError("x\ny"), 3),
        (FileNotFoundError(2, "No such file", "gone\n.txt"), 2),
        (MemoryError(), 2),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9437184 bytes."), 2),
        (RuntimeError("can't start new thread"), 2),
        (ImportError("cannot import name 'x' from 'y'"), 3),
        # With too little memory for the library.
        (ImportError("libtorch_cpu.so: failed to map segment from shared object"), 2),
    ],
)
def test_an_error_that_nobody_foresaw_is_one_line_too(
    error: Exception, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(**options: Any) -> None:
        raise error

    monkeypatch.setattr(importlib.import_module("gradmeter.apps.cli.commands"), "app", fail)
    for shown in ("", "1"):
        monkeypatch.setenv(TRACEBACK, shown)
        with pytest.raises(SystemExit) as caught:
            main()
        assert caught.value.code == code
        output = capsys.readouterr().err
        assert ("Traceback" in output) == bool(shown)
        line = output.splitlines()[-1]
        assert line.startswith("gradmeter: ")
        assert (str(getattr(error, "filename", None) or "").replace("\n", "\\n")) in line
        assert shown or output.count("\n") == 1


def test_nothing_is_imported_before_it_is_needed() -> None:
    """PyTorch takes a second to import, scikit-learn another."""
    late = ("torch", "scipy", "pyarrow")
    commands = (
        "import gradmeter.apps.cli.commands as cli, importlib, sys; "
        "[*map(importlib.import_module, cli.COMMANDS.values())]; "
        f"print([name for name in {late} if name in sys.modules])"
    )
    measuring = "import gradmeter.runs.measuring, gradmeter.sources.models, sys; print('sklearn' in sys.modules)"
    for program, expected in ((commands, "[]"), (measuring, "False")):
        process = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert process.stdout.strip() == expected


def test_ctrl_c_while_modules_are_imported_leaves_no_traceback() -> None:
    code = """
import builtins, os, signal, time
imported = builtins.__import__
def slow(name, *rest):
    if name == "typer":
        print("importing", flush=True)
        for _ in range(600):  # a signal just before a sleep does not end it
            time.sleep(0.1)
    return imported(name, *rest)
from gradmeter.apps.cli import main
builtins.__import__ = slow
main()
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"importing\n"
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=30) == (b"", b"")
    assert process.returncode == 130


def test_ctrl_c_while_numpy_is_imported_ends_info() -> None:
    """PyTorch imports NumPy, too, but swallows the interrupt and goes on without NumPy."""
    code = """
import os, signal, sys
class Interrupting:
    def find_spec(self, name, path, target=None):
        if name == "numpy.lib":
            sys.meta_path.remove(self)
            os.kill(os.getpid(), signal.SIGINT)
from gradmeter.apps.cli import main
sys.meta_path.insert(0, Interrupting())
main()
"""
    ended = subprocess.run([sys.executable, "-c", code, "info"], capture_output=True, env=ENVIRONMENT, timeout=300)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, b"", b"")


def test_a_current_folder_that_was_deleted(tmp_path: Path) -> None:
    code = "import os; os.rmdir(os.getcwd()); from gradmeter.apps.cli import main; main()"
    folder = tmp_path / "gone"
    folder.mkdir()
    command = [sys.executable, "-c", code, "info"]
    ended = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, cwd=folder, timeout=300)
    assert ended.returncode == 2
    assert ended.stderr == "gradmeter: the current folder was deleted; change to another one\n"
    assert not ended.stdout


def test_the_package_runs_as_a_module() -> None:
    process = subprocess.run(
        [sys.executable, "-m", "gradmeter", "--version"], capture_output=True, text=True, check=True
    )
    assert process.stdout == f"gradmeter {gradmeter.__version__}\n"


@pytest.mark.parametrize(("arguments", "code"), [(("judge", "no-such-folder", "known"), 2), (("judge", "--help"), 0)])
def test_a_width_of_zero_hides_nothing(arguments: tuple[str, ...], code: int, tmp_path: Path) -> None:
    """Some shells without a terminal set COLUMNS=0."""
    ended = gradmeter_command(*arguments, cwd=tmp_path, env={**ENVIRONMENT, "COLUMNS": "0"})
    assert ended.returncode == code
    assert ("no-such-folder" if code else "--out") in ended.stdout + ended.stderr


def test_version_and_help() -> None:
    version = CliRunner().invoke(app, ["--version"])
    assert (version.exit_code, version.output) == (0, f"gradmeter {gradmeter.__version__}\n")
    shown = CliRunner().invoke(app, ["reproduce", "--help"])
    assert shown.exit_code == 0
    assert "--compare-readings" in shown.output
    lines = CliRunner().invoke(app, ["--help"]).output.splitlines()
    assert {*COMMANDS} <= {line.strip("│ ").partition(" ")[0] for line in lines}


@pytest.mark.parametrize("package", ["jinja2", "matplotlib"])
def test_without_the_demo_extra_the_package_and_the_way_out_are_named(package: str, tmp_path: Path) -> None:
    process = gradmeter_command("reproduce", cwd=tmp_path, main=partial(main_without, package))
    refused(process.returncode, process.stdout, process.stderr, f"package {package}")
    assert 'pip install "gradmeter[demo]"' in process.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_pixel_benchmark_without_torchvision(tmp_path: Path) -> None:
    process = gradmeter_command("bench", "--pixels", cwd=tmp_path, main=partial(main_without, "torchvision"))
    refused(process.returncode, process.stdout, process.stderr, "package torchvision")
    assert 'pip install "gradmeter[bench]"' in process.stderr
    assert list(tmp_path.iterdir()) == []
