"""The command line as people type it, in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

COMMAND = (sys.executable, "-c", "from gradmeter.cli import main; main()")
# Width and colours must not depend on who runs the tests.
ENVIRONMENT = {**os.environ, "COLUMNS": "160", "NO_COLOR": "1", "OMP_NUM_THREADS": "1"}


def gradmeter(*arguments: object, cwd: Path, env: dict[str, str] = ENVIRONMENT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *map(str, arguments)], capture_output=True, text=True, env=env, cwd=cwd, timeout=300
    )
