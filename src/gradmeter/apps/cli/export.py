"""gradmeter export: write a network and its TrustModel to one ONNX file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from gradmeter.apps.cli.command import needs_extra
from gradmeter.apps.cli.parameters import AsJson, OtherModel, OtherWeights, Quiet, Trust
from gradmeter.apps.cli.terminal import Terminal
from gradmeter.names import encode_name


def export(
    trust: Trust,
    out: Annotated[Path, typer.Option("--out", "-o", help="The .onnx file to write.", show_default=False)],
    model: OtherModel = None,
    weights: OtherWeights = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Write the network of TRUST and its judge to one ONNX file, from a preprocessed input to the verdict.

    The file is compared with the TrustModel before it is kept. gradmeter judge runs it without PyTorch, as does
    onnxruntime in Python, C++ and JavaScript.
    """
    # Imported here so that --help does not wait for PyTorch.
    from gradmeter.apps.cli.progress import bars

    with needs_extra("onnx", "an export"):
        import onnxscript  # noqa: F401

        from gradmeter.apps.onnx.exporting import export as run
        from gradmeter.apps.onnx.exporting import require_name
    from gradmeter.apps.workflows.open_trust import open_trust

    require_name(out)
    with bars(out, quiet=quiet):
        opened, classifier = open_trust(trust, model=model, weights=weights)
        exported = run(opened, classifier, out)
    metadata = exported.metadata
    if as_json:
        record: dict[str, Any] = {
            "out": encode_name(str(out)),
            "bytes": exported.bytes,
            "difference": exported.difference,
            "classes": metadata.classes,
            "preprocessing": None if metadata.preprocessing is None else metadata.preprocessing.to_json(),
            "guarantee": metadata.guarantee,
        }
        typer.echo(json.dumps(record))
        return
    console = Terminal()
    console.say(f"Wrote {out}, {exported.bytes / 1e6:,.1f} MB.")
    console.say(f"On noise its probabilities differ from those of the TrustModel by at most {exported.difference:.1g}.")
    if metadata.guarantee is None:
        console.say("The TrustModel has no risk guarantee, so the file accepts no prediction.")
    if metadata.preprocessing is None and metadata.arrays is None:
        console.say("The preprocessing is not one that the file can describe; give it preprocessed inputs.")
