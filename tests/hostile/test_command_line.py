"""Arbitrary command lines end with one line of error, never with a traceback, and write nothing outside --out."""

import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from gradmeter.apps.cli import main

many = settings(max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
ODD = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
MODELS = [
    "",
    ":",
    "timm:",
    "timm:../../x",
    "torchvision:",
    "torchvision:__init__",
    "hf:",
    "hf:..",
    "mine",
    "a:b:c",
    "net:",
]
MODELS += ["net:", "net:no", "net:number", "net:broken", "json:loads", "timm:no_such", "../net:make", "net:make()"]
DATA = ["", ".", "..", "/dev/null", "/dev/zero", "noise:", "noise:uniform:-1", "noise:uniform:x", "noise:no:3", "s3://"]
DATA += ["file://", "nowhere://x", "images", "images/a.png", "net.py", "images/../net.py", "readings"]
NUMBERS = ["0", "-1", "1e9", "nan", "inf", "x", "", "3,4", "0.5"]
NETWORK = '''"""Functions that return networks, and other objects."""

from torch import nn

number = 3


def make():
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 2))


def broken():
    raise KeyError("mine")
'''


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("around") / "place"
    (folder / "images").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(folder / "images/a.png")
    (folder / "net.py").write_text(NETWORK)
    return folder


def run(arguments: list[str], place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a command: its exit code is documented, and it reports an error if the code is not 0."""
    monkeypatch.chdir(place)
    monkeypatch.setattr(sys, "argv", ["gradmeter", *arguments])
    before = {path: path.stat().st_mtime_ns for path in place.parent.rglob("*") if "out" not in path.parts}
    with pytest.raises(SystemExit) as ended:
        main()
    output = capsys.readouterr()
    assert ended.value.code in (None, 0, 1, 2), output.err
    assert not ended.value.code or output.err
    assert "Traceback" not in output.err
    after = {path: path.stat().st_mtime_ns for path in place.parent.rglob("*") if "out" not in path.parts}
    assert {path for path in after if "__pycache__" not in path.parts} <= {*before}


@many
@given(
    model=st.sampled_from(MODELS) | ODD,
    data=st.sampled_from(DATA) | ODD,
    options=st.dictionaries(
        st.sampled_from(["--image-size", "--mean", "--std", "--workers", "--classes", "--weights"]),
        st.sampled_from(NUMBERS),
        max_size=2,
    ),
)
def test_measure(
    model: str,
    data: str,
    options: dict[str, str],
    place: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given_options = [f"{name}={value}" for name, value in options.items() if (name, value) != ("--workers", "1e9")]
    run(["measure", *given_options, "--out=out", "--device=cpu", "--", model, data], place, capsys, monkeypatch)


@many
@given(
    command=st.sampled_from(
        ["judge", "evaluate", "fit", "serve", "demo", "reproduce", "compare", "gain", "bench", "info", "no"]
    ),
    words=st.lists(st.sampled_from([*DATA, "--out", "--known", "--risk", "--data", "--json", *NUMBERS]), max_size=4),
)
def test_the_others(
    command: str,
    words: list[str],
    place: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The long studies get an invalid option, so that they never start."""
    if command in ("demo", "reproduce", "compare", "gain", "bench"):
        words = ["--port=x" if command == "demo" else "--runs=x", *words]
    run([command, *words], place, capsys, monkeypatch)
