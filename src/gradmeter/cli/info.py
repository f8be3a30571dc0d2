"""gradmeter info: what is installed, and which kernel is in use."""

from __future__ import annotations

import json
import platform
from typing import Annotated

import typer


def info(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Show the versions, the kernel in use and why, and the number of threads."""
    # The command line starts faster without PyTorch.
    import torch

    import gradmeter
    from gradmeter import kernels

    facts = {
        "gradmeter": gradmeter.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "kernel": kernels.description(),
        "threads": torch.get_num_threads(),
    }
    if as_json:
        typer.echo(json.dumps(facts, indent=2))
    else:
        width = max(map(len, facts))
        for name, value in facts.items():
            typer.echo(f"{name:<{width}}  {value}")
