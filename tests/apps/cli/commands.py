"""Runs the command line in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

# Progress lines must not depend on the speed of the machine.
MAIN = (
    "import gradmeter.runs.progress; gradmeter.runs.progress.EVERY = 3600; from gradmeter.apps.cli import main; main()"
)
COMMAND = (sys.executable, "-c", MAIN)
# Width and colours must not depend on the environment of the tests.
ENVIRONMENT = {**os.environ, "COLUMNS": "160", "NO_COLOR": "1", "OMP_NUM_THREADS": "1"}


def gradmeter(*arguments: object, cwd: Path, env: dict[str, str] = ENVIRONMENT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *map(str, arguments)], capture_output=True, text=True, env=env, cwd=cwd, timeout=300
    )
