"""Which segments of a predicted mask hit nothing? The drawn streets of pixels.py, judged segment by segment.

    python examples/segments.py --out docs/images

trains the network of pixels.py, fits a SegmentTrust to the segments of 150 scenes, with and without gradients, sets a
risk with 200 more, and judges 200 others. A third of all scenes has a balloon, which the network has never seen. It
writes the figure segments.png, and prints how well wrong segments are found (AUROC) and the IoU is predicted (R^2).
Intervals are bootstrapped over scenes.
"""

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pixels import batch, trained
from sklearn.metrics import r2_score, roc_auc_score
from torch import Tensor

from gradmeter import PixelMeter
from gradmeter.files import atomic_write
from gradmeter.report.figures import heatmap
from gradmeter.trust.evaluation import bootstrap
from gradmeter.trust.segments import SegmentFeatures, SegmentTrust, SegmentVerdicts, segments

SCENES, RISK = 10, 0.05
Measure = Callable[[SegmentFeatures, SegmentVerdicts, NDArray[np.int64]], float]


def scenes(random: np.random.Generator, count: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of scenes and their classes; every third batch has balloons."""
    for number in range(count // SCENES):
        yield batch(random, SCENES, balloon=number % 3 == 0)


def auroc(new: SegmentFeatures, verdicts: SegmentVerdicts, rows: NDArray[np.int64]) -> float:
    """AUROC of segments that hit, in per cent."""
    return 100 * float(roc_auc_score(new.adjusted_iou[rows] > 0, verdicts.p_hit[rows]))


def r2(new: SegmentFeatures, verdicts: SegmentVerdicts, rows: NDArray[np.int64]) -> float:
    """Explained share of the variance of the IoU, in per cent."""
    return 100 * float(r2_score(new.adjusted_iou[rows], verdicts.iou[rows]))


def compared(new: SegmentFeatures, both: SegmentVerdicts, forward: SegmentVerdicts, measure: Measure) -> str:
    """A measure with and without gradients, and the difference with its interval over scenes."""
    rows_of = [np.flatnonzero(new.image == number) for number in range(new.images)]

    def gain(images: NDArray[np.int64]) -> float:
        rows = np.concatenate([rows_of[number] for number in images])
        return measure(new, both, rows) - measure(new, forward, rows)

    rows, difference = np.arange(len(new)), bootstrap(gain, np.arange(new.images))
    values = f"{measure(new, both, rows):.1f} with gradients, {measure(new, forward, rows):.1f} without"
    return f"{values}, difference {difference.value:+.1f} ({difference.low:+.1f} to {difference.high:+.1f})"


def main() -> None:
    """Train, fit, judge, print and draw."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    meter = PixelMeter(trained(random), ["head", "body.3.0"])
    fitting, calibration = (
        SegmentFeatures.concatenate(segments(meter(images), masks) for images, masks in scenes(random, count))
        for count in (150, 200)
    )
    trust = SegmentTrust().fit(fitting)
    guarantee = trust.set_risk(RISK, calibration)
    print(guarantee)
    shown = list(scenes(random, 200))
    new = SegmentFeatures.concatenate(segments(meter(images), masks) for images, masks in shown)
    verdicts, forward = trust.predict(new), SegmentTrust("forward").fit(fitting).predict(new)
    print(f"{len(new):,} segments of {new.images} scenes, {new.wrong.mean():.1%} hit nothing")
    print(f"AUROC of segments that hit: {compared(new, verdicts, forward, auroc)}")
    print(f"R^2 of the IoU: {compared(new, verdicts, forward, r2)}")
    accepted = verdicts.accepted
    counts = [np.bincount(new.image[kept], minlength=new.images) for kept in (accepted & new.wrong, accepted)]
    share = np.mean(counts[0][counts[1] > 0] / counts[1][counts[1] > 0])
    print(f"{accepted.mean():.1%} of the segments are accepted; of an image's, {share:.2%} hit nothing, in the mean")
    number = int(np.argmax(np.bincount(new.image[new.wrong], minlength=new.images)))
    image = shown[number // SCENES][0][number % SCENES]
    maps = {
        "1 - P(hit) of each segment": new.on_pixels(1 - verdicts.p_hit)[number],
        "1 - expected IoU": new.on_pixels(1 - verdicts.iou)[number],
    }
    figure = heatmap((255 * image).byte().permute(1, 2, 0).numpy(), maps)
    with atomic_write(out / "segments.png") as path:
        figure.savefig(path, format="png", dpi=100, metadata={"Software": None})


if __name__ == "__main__":
    main()
