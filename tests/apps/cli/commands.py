"""The command line as people type it, in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

# Lines of progress must not depend on how fast the machine is.
MAIN = (
    "import gradmeter.runs.progress; gradmeter.runs.progress.EVERY = 3600; from gradmeter.apps.cli import main; main()"
)
COMMAND = (sys.executable, "-c", MAIN)
# Width and colours must not depend on who runs the tests.
ENVIRONMENT = {**os.environ, "COLUMNS": "160", "NO_COLOR": "1", "OMP_NUM_THREADS": "1"}


def gradmeter(*arguments: object, cwd: Path, env: dict[str, str] = ENVIRONMENT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *map(str, arguments)], capture_output=True, text=True, env=env, cwd=cwd, timeout=300
    )
