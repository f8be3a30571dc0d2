"""Runs the command line, in a process of its own or in this one."""

import contextlib
import io
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

import forked
from gradmeter.apps.cli import main
from gradmeter.research.study.options import StudyOptions
from gradmeter.runs import progress
from gradmeter.runs.engines import processes
from gradmeter.runs.engines.processes import _prepare as prepare
from gradmeter.runs.measuring import on_ray, synthetic
from trust.quick import fit_quickly

# Progress lines must not depend on the speed of the machine.
MAIN = (
    "import gradmeter.runs.progress; gradmeter.runs.progress.EVERY = 3600; from gradmeter.apps.cli import main; main()"
)
# Enough for a network that knows the digits.
EPOCHS = 8
COMMAND = (sys.executable, "-c", MAIN)
# Width and colours must not depend on the environment of the tests.
ENVIRONMENT = {**os.environ, "COLUMNS": "160", "NO_COLOR": "1", "OMP_NUM_THREADS": "1"}


def patient_main() -> None:
    """The command line, whose progress and notes do not depend on the speed of the machine."""
    progress.EVERY = synthetic._LONG = 3600.0
    main()


def gradmeter(
    *arguments: object, cwd: Path, env: dict[str, str] = ENVIRONMENT, main: Callable[[], None] = patient_main
) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process in which its modules are loaded."""
    return forked.run(main, [*map(str, arguments)], cwd=cwd, env=env)


def started(*arguments: object, cwd: Path, own_group: bool = False) -> forked.Forked:
    """Start the command line in a process in which its modules are loaded."""
    return forked.Forked(patient_main, [*map(str, arguments)], cwd=cwd, env=ENVIRONMENT, own_group=own_group)


def forking_main() -> None:
    """The same, with worker processes that are forked, too; see `forked.fork_server`. They make small fits."""
    processes.get_context = lambda method: forked.fork_server()  # type: ignore[assignment]
    processes._prepare = _prepare_quickly
    patient_main()


def _prepare_quickly(*channels: Any) -> None:
    fit_quickly(pytest.MonkeyPatch())
    prepare(*channels)


def unpainted_main() -> None:
    """The same, for a report whose figures nobody looks at: they are blank, because painting takes seconds."""
    _do_not_paint()
    patient_main()


def unpainted_study_main() -> None:
    """The same for a study."""
    _do_not_paint()
    forking_main()


def _do_not_paint() -> None:
    from gradmeter.report.figures import saving

    saving.save = leave_blank


def leave_blank(figure: object, stem: Path) -> None:
    """Write the files of a figure without painting it, in place of `gradmeter.report.figures.saving.save`."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    stem.with_name(f"{stem.name}.svg").write_text("<svg/>")
    stem.with_name(f"{stem.name}.png").touch()


def main_without(package: str) -> None:
    """The command line where a package is not installed; what has imported it is imported again."""
    for name in [*sys.modules]:
        if name.partition(".")[0] in ("gradmeter", package):
            del sys.modules[name]
    sys.modules[package] = None  # type: ignore[assignment]
    from gradmeter.apps.cli import main

    main()


def brief_demo_main() -> None:
    """The command line, whose demo trains its network for a few epochs, and fits a small judge."""
    from gradmeter.research import demo

    fit_quickly(pytest.MonkeyPatch())
    demo.StudyOptions = partial(StudyOptions, max_epochs=EPOCHS)  # type: ignore[misc]
    main()


def small_parts_main() -> None:
    """The command line, for which a part of a run on a Ray cluster has eight samples."""
    on_ray.PART = 8
    patient_main()


def eager_main() -> None:
    """The command line, which reports its progress more than twice a second."""
    progress.EVERY = 0.4
    main()


def anew(*arguments: object, cwd: Path, env: dict[str, str] = ENVIRONMENT) -> subprocess.CompletedProcess[str]:
    """Run the command line in a new Python."""
    return subprocess.run(
        [*COMMAND, *map(str, arguments)], capture_output=True, text=True, env=env, cwd=cwd, timeout=300
    )


def in_this_process(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run the command line here: no time for imports, but what it imports and registers stays."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    settings = {name: ENVIRONMENT[name] for name in ("COLUMNS", "NO_COLOR")}
    with (
        contextlib.chdir(cwd),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        mock.patch.object(sys, "argv", ["gradmeter", *map(str, arguments)]),
        mock.patch.dict(os.environ, settings),
    ):
        try:
            main()
        except SystemExit as exit_:
            code = int(exit_.code or 0)
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())
