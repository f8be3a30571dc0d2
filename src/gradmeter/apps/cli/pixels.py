"""gradmeter pixels: experiments on the pixels of segmentation networks."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from gradmeter.apps.cli.command import Command
from gradmeter.apps.cli.parameters import (
    AsJson,
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
from gradmeter.apps.cli.terminal import Terminal, typed_command
from gradmeter.names import encode_name

pixels = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Experiments on the pixels of segmentation networks."
)


@pixels.command("study", cls=Command)
def study(
    data: Annotated[Path, typer.Option(help="Folder that holds camvid.npz.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", "-o", help="Output folder.")] = Path("runs/street"),
    networks: Annotated[int, typer.Option(help="Networks that are trained for each set of classes.", min=1)] = 3,
    workers: Annotated[int, typer.Option(help="Networks in parallel.", min=1)] = 1,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start over, even if --out holds a study.")] = False,
    quiet: Quiet = False,
) -> None:
    """Measure what gradients add on pixels and segments of street scenes, and write street.md.

    If the command is interrupted, run it again: it continues where it stopped.
    """
    # Imported here so that --help is fast.
    from gradmeter.apps.cli.progress import working
    from gradmeter.research.street.study import StreetStudy, run_study

    experiment = StreetStudy(typed_command(), data, networks)
    with working(out):
        page = run_study(experiment, out, workers=workers, console=Terminal(stderr=True, quiet=quiet), fresh=fresh)
    Terminal().say(f"The study is finished. Results: {page}")


@pixels.command("anomalies", cls=Command)
def anomalies(
    model: Segmenter,
    folder: Annotated[
        Path,
        typer.Argument(
            help="Folder in the form of SegmentMeIfYouCan: images/NAME.jpg, .png or .webp, "
            "and labels_masks/NAME_labels_semantic.png with 0 for normal, 1 for anomaly, 255 for void.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Output folder.")] = Path("anomalies"),
    weights: Weights = None,
    layer: PixelLayers = None,
    image_size: ShorterSide = None,
    mean: Mean = None,
    std: Std = None,
    grey: Grey = False,
    device: Device = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start over, even if --out holds scores.")] = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Score every pixel of the images in FOLDER, and write how well each score finds anomalies: AUPR, FPR95, AUROC.

    Logits are upsampled to the size of the mask, and the gradients are those of the upsampled pixels.

    If the command is interrupted, run it again: it continues where it stopped.
    """
    # Imported here so that --help does not wait for PyTorch.
    from gradmeter.apps.cli.progress import bars, trial_device
    from gradmeter.apps.workflows.anomalies import MASKS, TABLE, anomaly_images, score_anomalies
    from gradmeter.apps.workflows.records import interval_record
    from gradmeter.sources.models.segmenters import open_segmenter
    from gradmeter.sources.samples import require_outside
    from gradmeter.stages import stage

    require_outside(out, [str(folder)])
    options = image_options(image_size, mean, std, grey=grey)
    with bars(out, quiet=quiet) as shown:
        with stage(f"opening {model}"):
            segmenter = open_segmenter(model, weights, options)
        source = anomaly_images(folder, segmenter)
        source.send_note(shown.show_note)
        shown.begin(f"scoring {source.name}", len(source))
        found = score_anomalies(
            segmenter,
            source,
            folder / MASKS,
            out,
            layers=tuple(layer or ()),
            device=trial_device(device),
            fresh=fresh,
            on_progress=shown.advance,
            on_skip=shown.show_skipped,
        )
    if as_json:
        scores = {
            name: {measure: interval_record(interval) for measure, interval in of_score.items()}
            for name, of_score in found.scores.items()
        }
        typer.echo(json.dumps({"out": encode_name(str(out)), **asdict(found), "scores": scores}, indent=2))
        return
    skipped_count = f", skipped {len(found.skipped):,}" if found.skipped else ""
    Terminal().say(f"Scored {found.images:,} images{skipped_count}: {out / f'{TABLE}.md'}")
