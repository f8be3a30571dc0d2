"""Commands that write to an output while another process writes to it."""

import json
import signal
import time
from pathlib import Path

import pandas as pd
import pytest

from apps.cli.commands import gradmeter, started, unpainted_main
from apps.workflows.digits import make
from gradmeter.files import LOCK
from research.ood_benchmark.archives import write_archives
from runs.measuring.test_faults import SLOW
from sources.samples.pictures import save
from test_locks import holder

pytestmark = pytest.mark.slow

NETWORK = ("digits_network:network", "--weights", "weights.safetensors", "--classes", "0,1,2,3,4,5,6,7,8,9")
FIT = ("fit", *NETWORK, "--image-size", "8", "--grey", "--known", "validation", "--repetitions", "100")
RIDGE = ("--classifier", "ridge_cv")
NAMED = ("--model", "digits_network:network")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with digits, a network, and a TrustModel in trust/."""
    folder = tmp_path_factory.mktemp("place")
    make(folder)
    process = gradmeter(*FIT, *RIDGE, "-o", "trust", cwd=folder)
    assert process.returncode == 0, process.stderr
    (folder / "data").mkdir()
    write_archives(folder / "data")
    return folder


COMMANDS = {
    "measure": ("measure", *NETWORK, "test", "--image-size", "8", "--grey"),
    "fit": (*FIT, *RIDGE),
    "evaluate": ("evaluate", "trust", *NAMED, "--known", "test", "--repetitions", "100"),
    "judge": ("judge", "trust", "test", *NAMED),
    "judge to CSV": ("judge", "trust", "test", *NAMED),
    "reproduce": ("reproduce",),
    "compare": ("compare", "--data", "data"),
    "gain": ("gain", "--data", "data", "--subject", "perceptron"),
    "bench": ("bench", "--models", "paper-cnn", "--methods", "loop", "--quick"),  # other methods need more packages
}


def named(name: str) -> str:
    return f"{name.replace(' ', '-')}{'.csv' if 'CSV' in name else ''}"


def listed(place: Path) -> dict[Path, int]:
    """Return every file with its time of modification, without lock files, which their owner updates."""
    files = [path for path in place.rglob("*") if path.is_file() and path.suffix not in (".lock", ".pyc")]
    return {path: path.stat().st_mtime_ns for path in files}


@pytest.fixture(params=COMMANDS)
def command(request: pytest.FixtureRequest) -> tuple[str, ...]:
    return (*COMMANDS[request.param], "--out", named(request.param))


def test_the_second_is_refused(command: tuple[str, ...], place: Path) -> None:
    with holder(place / command[-1]) as other:
        before = listed(place)
        process = gradmeter(*command, cwd=place)
        assert process.returncode == 2, process.stderr
        assert process.stdout == ""
        assert process.stderr.count("\n") == 1
        assert command[-1] in process.stderr
        assert f"process {other.pid} " in process.stderr
        assert listed(place) == before
        other.communicate()
    assert not list(place.rglob(f"*{LOCK}"))


@pytest.mark.exhaustive
def test_a_killed_owner_is_taken_over_and_nothing_remains_of_it(place: Path) -> None:
    """Files that a killed process left are not mistaken for files of the user."""
    for name, arguments in COMMANDS.items():
        if name in ("reproduce", "compare", "gain", "bench"):  # these take minutes and are tested in tests/research
            continue
        out = f"taken-{named(name)}"
        with holder(place / out) as other:
            other.kill()
            other.wait()
        process = gradmeter(*arguments, "-o", out, cwd=place, main=unpainted_main)
        assert process.returncode == 0, (name, process.stderr)
    assert not list(place.rglob(f"*{LOCK}"))


def test_ctrl_c_leaves_no_lock(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(SLOW)
    save(tmp_path / "data/one.png")
    command = ("measure", "mine:make", "data", "--image-size", "8", "--grey", "--device", "cpu", "--out", "r")
    with started(*command, cwd=tmp_path) as process:
        until = time.monotonic() + 60
        while not (tmp_path / "r/_measurement.json").exists():
            assert time.monotonic() < until
            time.sleep(0.01)
        assert (tmp_path / "r" / LOCK).exists()
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert (output, errors.splitlines()[-1]) == ("", "Interrupted. Run the same command again to continue.")
    assert not (tmp_path / "r" / LOCK).exists()


@pytest.mark.parametrize(
    ("arguments", "out"),
    [(COMMANDS["judge"], "two.csv"), (COMMANDS["measure"], "two"), ((*FIT, "--risk", "0.2", *RIDGE), "twice")],
)
def test_two_real_commands_at_once(arguments: tuple[str, ...], out: str, place: Path) -> None:
    """One does the work; the other is refused, or finds the work done if it starts later."""
    with (
        started(*arguments, "--out", out, cwd=place) as first,
        started(*arguments, "--out", out, cwd=place) as second,
    ):
        both = first, second
        errors = [process.communicate(timeout=120)[1] for process in both]
    assert 0 in [process.returncode for process in both], errors
    for process, error in zip(both, errors, strict=True):
        assert process.returncode == 0 or (process.returncode == 2 and " process " in error), error
    assert not list(place.rglob(f"*{LOCK}"))
    if out == "two.csv":
        assert pd.read_csv(place / out)["id"].is_unique
        assert len(pd.read_csv(place / out)) == sum(1 for _ in (place / "test").rglob("*.png"))
    if out == "twice":
        assert json.loads((place / out / "trust.json").read_text())["guarantee"] is not None
