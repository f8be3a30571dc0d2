"""What all commands share: the table of commands, single-valued options, and errors in one line."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gradmeter.apps.cli import main
from gradmeter.apps.cli.commands import COMMANDS

# A command as another package would add it.
MODULE = """
from typing import Annotated

import typer

from gradmeter.apps.cli.command import needs_extra
from gradmeter.errors import DataError, warn


def greet(
    name: str,
    out: Annotated[str, typer.Option("--out", "-o")] = "out",
    tag: Annotated[list[str] | None, typer.Option()] = None,
    loud: Annotated[bool, typer.Option("--loud")] = False,
) -> None:
    if name == "bad":
        raise DataError("bad: a name\\nof two lines")
    if name == "gone":
        open("gone")
    if name == "extra":
        with needs_extra("greetings", "a greeting"):
            import package_that_is_not_installed
    if name == "bug":
        with needs_extra("greetings", "a greeting"):
            import gradmeter.module_that_does_not_exist
    if name == "stop":
        raise KeyboardInterrupt
    for warning in ["hoarse", "hoarse", "tired"] if name == "ill" else []:
        warn(warning)
    typer.echo(f"hello {name} {out} {tag or []} {loud}")
"""

Type = Callable[..., tuple[int, str, str]]


@pytest.fixture
def greet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Type:
    """Run `gradmeter greet` with some arguments, and return its exit code and output."""
    (tmp_path / "greeting.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "greeting", raising=False)
    monkeypatch.setitem(COMMANDS, "greet", "greeting")
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["gradmeter", *arguments])
        with pytest.raises(SystemExit) as caught:
            main()
        assert caught.value.code is None or isinstance(caught.value.code, int)
        output = capsys.readouterr()
        return caught.value.code or 0, output.out, output.err

    return run


def test_an_entry_in_the_table_adds_a_command(greet: Type) -> None:
    assert greet("greet", "you", "-o", "there") == (0, "hello you there [] False\n", "")
    code, output, _ = greet("--help")
    assert code == 0
    assert all(name in output for name in COMMANDS)


@pytest.mark.parametrize(
    ("arguments", "code", "named"),
    [
        (("greet", "bad"), 2, "bad: a name"),
        (("greet", "gone"), 2, "gone"),
        (("greet", "extra"), 2, 'pip install "gradmeter[greetings]"'),
        (("greet", "bug"), 3, "gradmeter.module_that_does_not_exist"),
        (("greet",), 2, "name"),
        (("greet", "you", "--nosuch"), 2, "--nosuch"),
        (("great", "you"), 2, "greet"),
        (("greet", "you", "--out", "a", "-o", "b"), 2, "--out is given 2 times"),
        (("greet", ""), 2, "the argument NAME is empty"),
        (("greet", "you", "-o", ""), 2, "--out is empty"),
        (("greet", "you", "--tag", "a", "--tag", ""), 2, "--tag is empty"),
    ],
)
def test_errors_of_an_added_command_are_one_line(
    arguments: tuple[str, ...], code: int, named: str, greet: Type
) -> None:
    ended, output, error = greet(*arguments)
    assert (ended, output) == (code, "")
    assert error.startswith("gradmeter: ")
    assert error.count("\n") == 1
    assert named in error


@pytest.mark.filterwarnings("always")
def test_a_warning_is_shown_once(greet: Type) -> None:
    assert greet("greet", "ill")[2].splitlines() == ["gradmeter: hoarse", "gradmeter: tired"]


def test_lists_and_flags_may_be_repeated(greet: Type) -> None:
    assert greet("greet", "you", "--tag", "a", "--tag", "b", "--loud", "--loud") == (
        0,
        "hello you out ['a', 'b'] True\n",
        "",
    )


def test_ctrl_c_has_an_exit_code_of_its_own(greet: Type) -> None:
    assert greet("greet", "stop") == (130, "", "")


def test_a_command_imports_no_other_command() -> None:
    program = """
import sys
sys.argv = ["gradmeter", "info", "--help"]
from gradmeter.apps.cli import main
try:
    main()
finally:
    print([name for name in ("measure", "fit", "info") if f"gradmeter.apps.cli.{name}" in sys.modules])
"""
    process = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert process.stdout.splitlines()[-1] == "['info']"
