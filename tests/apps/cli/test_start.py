"""The start of the command line."""

import os
import subprocess
import sys
from pathlib import Path

COMMAND = """
import os, subprocess, sys
from gradmeter.apps.cli.start import main
sys.argv = ["gradmeter", "--version"]
try:
    main()
except SystemExit:
    child = subprocess.call([sys.executable, "-S", "-c", "import os; os._exit(os.open(os.devnull, os.O_RDONLY))"])
    os._exit(min(child, os.open(os.devnull, os.O_RDONLY)))
"""


def test_files_do_not_take_the_place_of_closed_streams(tmp_path: Path) -> None:
    """Libraries in C would write their messages into an output."""
    process = subprocess.run(
        [sys.executable, "-c", COMMAND],
        preexec_fn=lambda: os.closerange(0, 3),
        cwd=tmp_path,
        check=False,
    )
    assert process.returncode > 2
