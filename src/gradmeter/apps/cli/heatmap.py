"""gradmeter heatmap: draw how much each pixel of an image would change a segmentation network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from gradmeter.apps.cli.command import needs_extra
from gradmeter.apps.cli.parameters import (
    AsJson,
    Data,
    Device,
    Grey,
    Mean,
    PixelLayers,
    Quiet,
    Segmenter,
    ShorterSide,
    Std,
    Weights,
    image_options,
)
from gradmeter.apps.cli.terminal import Terminal
from gradmeter.errors import InputError
from gradmeter.names import encode_name


def heatmap(
    model: Segmenter,
    data: Data,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the maps.")] = Path("maps"),
    weights: Weights = None,
    layer: PixelLayers = None,
    statistic: Annotated[str, typer.Option(help="Statistic of the gradient, such as l2, l1 or std.")] = "l2",
    low: Annotated[
        float | None,
        typer.Option(
            help="Smallest value of the scale, with --high, for maps that can be compared (default: the 1st and 99th "
            "percentile of each image).",
            show_default=False,
        ),
    ] = None,
    high: Annotated[float | None, typer.Option(help="Largest value of the scale.", show_default=False)] = None,
    npz: Annotated[bool, typer.Option("--npz", help="Also write all readings of each image as NAME.npz.")] = False,
    image_size: ShorterSide = None,
    mean: Mean = None,
    std: Std = None,
    grey: Grey = False,
    device: Device = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start over, even if --out holds maps.")] = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Draw, over each image in DATA, the gradient of every pixel's prediction: where MODEL would have to re-learn most.

    If the command is interrupted, run it again: it continues where it stopped.
    """
    # Imported here so that --help does not wait for PyTorch.
    from gradmeter.apps.cli.progress import bars, trial_device

    with needs_extra("report", "a map"):
        from gradmeter.apps.workflows.heatmap import Maps, heatmaps
    from gradmeter.sources.models.segmenters import open_segmenter
    from gradmeter.sources.samples import open_source, require_outside
    from gradmeter.stages import stage

    if (low is None) != (high is None):
        raise InputError("only one of --low and --high is given; expected both or none")
    maps = Maps(tuple(layer or ()), statistic, None if low is None or high is None else (low, high), npz)
    require_outside(out, [data])
    options = image_options(image_size, mean, std, grey=grey)
    with bars(out, quiet=quiet) as shown:
        with stage(f"opening {model}"):
            segmenter = open_segmenter(model, weights, options)
        source = open_source(data, segmenter.image, labels=False)
        source.send_note(shown.show_note)
        shown.begin(f"drawing {source.name}", len(source))
        drawn = heatmaps(
            segmenter,
            source,
            out,
            maps,
            device=trial_device(device),
            fresh=fresh,
            on_progress=shown.advance,
            on_skip=shown.show_skipped,
        )
        if drawn.others:
            which = "1 map is" if drawn.others == 1 else f"{drawn.others:,} maps are"
            shown.show_note(
                f"{out}: {which} of images that {source.name} does not hold, or that were skipped; they stay"
            )
    if as_json:
        skipped = [{"id": sample.id, "reason": sample.reason} for sample in drawn.skipped]
        record = {"out": encode_name(str(out)), "maps": drawn.maps, "others": drawn.others, "skipped": skipped}
        typer.echo(json.dumps(record, indent=2))
        return
    skipped_count = f", skipped {len(drawn.skipped):,}" if drawn.skipped else ""
    Terminal().say(f"{drawn.maps:,} maps{skipped_count}: {out}")
