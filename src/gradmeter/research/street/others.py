"""Published results for gradients of pixels, quoted as context."""

from __future__ import annotations

from collections.abc import Iterator

from gradmeter.report.markdown import markdown_table

_SOURCE = (
    "https://github.com/SegmentMeIfYouCan/segment-me-if-you-can/blob/011bb8382537435177d103c676cd5ea15cee971d/assets/"
    "leaderboard.json"
)
_HEAD = ("method", "RoadAnomaly21: AUPR", "FPR95", "RoadObstacle21: AUPR", "FPR95")
# The entries PixBinaryClass-area_PRC and PixBinaryClass-tpr95_fpr of the test images, in percent.
_LEADERBOARD = (
    ("PGN (Maag and Riedlinger)", "36.70", "61.41", "16.52", "19.69"),
    ("maximum softmax", "27.97", "72.05", "15.72", "16.60"),
    ("ODIN", "33.06", "71.68", "22.12", "15.28"),
    ("Mahalanobis", "20.04", "86.99", "20.90", "13.08"),
    ("MC dropout", "28.87", "69.47", "4.88", "50.31"),
)


def others() -> Iterator[str]:
    """Lines of Markdown with the results of others and their source."""
    yield (
        "Gradients of pixels for segmentation are due to Maag and Riedlinger (Pixel-wise Gradient Uncertainty for "
        "Convolutional Neural Networks applied to Out-of-Distribution Segmentation, VISAPP 2024, arXiv 2303.06920): "
        "norms of the last layer's gradient for the predicted class and for the uniform distribution, on networks for "
        "Cityscapes. They are evaluated on SegmentMeIfYouCan (Chan et al., NeurIPS Datasets and Benchmarks 2021, arXiv "
        f"2104.14812), whose [leaderboard]({_SOURCE}) lists for the test images, among methods that learn from no "
        "anomalies:"
    )
    yield ""
    yield from markdown_table(_HEAD, _LEADERBOARD)
    yield ""
    yield (
        "There, the gradients find anomalies anywhere in an image (RoadAnomaly21) better than the maximum softmax. On "
        "obstacles on the road (RoadObstacle21), their FPR95 is higher than the maximum softmax's. The methods may use "
        "different networks. All have the resolution and the training data of a car; the networks of this page do not, "
        "and its numbers say nothing about that benchmark. `gradmeter pixels anomalies MODEL FOLDER` evaluates a "
        "network of yours on a folder in the benchmark's form; see [Pixels](pixels.md)."
    )
