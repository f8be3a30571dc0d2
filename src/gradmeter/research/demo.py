"""What `gradmeter demo` serves: the paper's network on the embedded digits, a TrustModel for it, and examples."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from gradmeter.apps.workflows.fit import fit
from gradmeter.errors import GradmeterError
from gradmeter.files import atomic_write
from gradmeter.research.study.data import Draw, load
from gradmeter.research.study.data.concept import Concept
from gradmeter.research.study.network import PaperCNN
from gradmeter.research.study.options import StudyOptions
from gradmeter.research.study.run import train_run
from gradmeter.research.study.store import StudyStore
from gradmeter.research.study.tensors import read_tensors, write_tensors
from gradmeter.research.study.training import best_of
from gradmeter.research.threads import torch_threads
from gradmeter.runs.measuring import Work
from gradmeter.runs.store import Store, StoreKind
from gradmeter.sources.models import ImageOptions, Recipe
from gradmeter.stages import stage
from gradmeter.trust.reads import GRADIENTS
from gradmeter.version import __version__

MODEL = f"{PaperCNN.__module__}:{PaperCNN.__name__}"
"""MODEL of the demo's network, for every command that takes one."""
RISK = 0.02
"""At most this share of the accepted predictions is wrong."""

_KIND = StoreKind("manifest.json", "a demo", "gradmeter demo", {"gradmeter": str, "digits": str})
_FOLDERS = ("examples", "trust")
_CLASSES = tuple(map(str, range(10)))
# The last digits of the test set are examples; the TrustModel is fitted to all others that the network has not seen.
_EXAMPLE_DIGITS = 100
_EXAMPLES_OF = {"letters": ("letter", 8), "cifar10": ("photograph", 4), "uniform": ("noise", 2)}
# Options of a study that its network and its split depend on.
_OF_NETWORK = (
    *("seed", "padding", "weight_decay", "decayed", "first_dropout"),
    *("patience", "max_epochs", "weights", "loss", "inputs"),
)
# The comparison of `fit` is not shown.
_REPETITIONS = 100


class DemoStore(Store):
    """The output folder of a demo, on this machine.

    Attributes:
        folder: its path.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, _KIND)
        self.folder = folder

    @property
    def network(self) -> Path:
        """The trained network."""
        return self.folder / "network.safetensors"

    @property
    def validation(self) -> Path:
        """The digits that the TrustModel is fitted to."""
        return self.folder / "validation.npz"

    @property
    def trust(self) -> Path:
        """The folder of the TrustModel."""
        return self.folder / "trust"

    @property
    def examples(self) -> Path:
        """The folder of examples, with one folder for each class or kind."""
        return self.folder / "examples"

    @property
    def is_complete(self) -> bool:
        """Whether no file or folder of a finished demo was removed."""
        return all(path.exists() for path in (self.network, self.validation, self.trust, self.examples))

    def clear(self) -> None:
        """Remove the files of the demo, and nothing else; the manifest last."""
        for name in _FOLDERS:
            shutil.rmtree(self.folder / name, ignore_errors=True)
        for path in (self.network, best_of(self.network), self.network.with_suffix(".training"), self.validation):
            path.unlink(missing_ok=True)
        super().clear()


def make_demo(folder: Path, study: Path, work: Work) -> DemoStore:
    """Make what the demo serves; continue an earlier run that was interrupted, and leave a finished demo as it is.

    A finished demo of which a part was removed is made again.

    Args:
        folder: the output folder.
        study: folder of a study of the embedded digits, whose first network is taken if it is trained; otherwise a
            network is trained.
        work: device and callbacks of the measurement, and whether to start over.

    Returns:
        The folder.

    Raises:
        DataError: if the digits are missing or damaged.
        OutputError: if the folder holds something else, or a demo of another version.
    """
    store = DemoStore(folder)
    store.require_free()
    with stage("reading the digits"):
        collection = load("embedded")
        digits = collection.hashes()["digits"]
    with store.locked():
        identity = {"gradmeter": __version__, "digits": digits}
        recorded = store.begin(identity, fresh=work.fresh)
        if "finished" in recorded:
            if store.is_complete:
                return store
            recorded = store.begin(identity, fresh=True)
        manifest = recorded or identity
        store.write(manifest)
        options = StudyOptions()
        draw = collection.draw(0, options.seed)
        if not store.network.exists() and not _take_network(store, study, options, digits):
            _train(store, draw, options)
        _write_digits(store, draw)
        _write_examples(store, draw)
        # The page shows the re-learning stress, so gradients are read whether they pay or not.
        fit(
            recipe_of(store),
            str(store.validation),
            [],
            store.trust,
            reads=GRADIENTS,
            risk=RISK,
            repetitions=_REPETITIONS,
            work=work,
        )
        store.write({**manifest, "finished": True})
    return store


def recipe_of(store: DemoStore) -> Recipe:
    """Return how to open the demo's network.

    Raises:
        DataError: if the network is missing or damaged.
    """
    _, metadata = read_tensors(store.network)
    mean, std = metadata["network"]["standard"] or (0.0, 1.0)
    options = ImageOptions(28, mean=(mean,), std=(std,), grey=True)
    return Recipe(MODEL, store.network, _CLASSES, options)


def _take_network(store: DemoStore, study: Path, options: StudyOptions, digits: str) -> bool:
    """Copy the first network of a study with these options and digits; return whether there is one."""
    try:
        earlier = StudyStore(study)
        manifest = earlier.read() or {"options": {}, "data_hashes": {}}
        chosen = options.to_dict()
        if manifest["data_hashes"].get("digits") != digits or any(
            manifest["options"].get(name) != chosen[name] for name in _OF_NETWORK
        ):
            return False
        tensors, metadata = read_tensors(earlier.network(0))
    except GradmeterError:  # a study of another version or one that has no network yet
        return False
    write_tensors(store.network, tensors, metadata)
    return True


def _train(store: DemoStore, draw: Draw, options: StudyOptions) -> None:
    # The network is small, and on a busy machine several threads wait for each other.
    with (
        stage(f"training the network, at most {options.max_epochs} epochs", options.max_epochs) as advance,
        torch_threads(1),
    ):
        train_run(store.network, draw, 0, options, lambda epoch, accuracy: advance(1))


def _write_digits(store: DemoStore, draw: Draw) -> None:
    """Write the digits that the network was not trained on, without the examples."""
    if store.validation.exists():
        return
    test = draw.test.take(slice(None, -_EXAMPLE_DIGITS))
    images = np.concatenate([draw.validation.images, test.images])
    labels = np.concatenate([_labels(draw.validation), _labels(test)])
    with atomic_write(store.validation) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, images=images, labels=labels, class_names=np.array(_CLASSES))


def _write_examples(store: DemoStore, draw: Draw) -> None:
    """Write one digit of each class, and letters, photographs and noise, each in the folder of its name."""
    digits = draw.test.take(slice(-_EXAMPLE_DIGITS, None))
    for label in range(len(_CLASSES)):
        rows = np.flatnonzero(_labels(digits) == label)[:1]
        _write_images(store.examples / _CLASSES[label], digits.take(rows))
    for role, (name, count) in _EXAMPLES_OF.items():
        _write_images(store.examples / name, draw.unknowns[role].take(slice(count)))


def _write_images(folder: Path, concept: Concept) -> None:
    levels = concept.images if concept.images.dtype == np.uint8 else np.rint(255 * concept.images.clip(0, 1))
    for number, image in enumerate(levels.astype(np.uint8)):
        path = folder / f"{number}.png"
        if not path.exists():
            with atomic_write(path) as temporary:
                Image.fromarray(image).save(temporary, "PNG")


def _labels(digits: Concept) -> np.ndarray:
    assert digits.labels is not None
    return digits.labels
