"""The workflow of `gradmeter export`: a network and its TrustModel as one ONNX file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from PIL import Image
from torch import Tensor
from torch.fx import GraphModule

from gradmeter.apps.onnx.checksum import checksum_of
from gradmeter.apps.onnx.describing import image_steps
from gradmeter.apps.onnx.graph import require_exporter, set_properties, to_graph
from gradmeter.apps.onnx.judged_model import INPUT, OUTPUTS, JudgedModel, is_exported
from gradmeter.apps.onnx.metadata import CHECKSUM, Metadata
from gradmeter.errors import GradmeterError, InputError, OutputError, UnsupportedModelError
from gradmeter.files import atomic_write, require_short_name, sweep_beside
from gradmeter.locks import locked
from gradmeter.sources.models import Classifier
from gradmeter.stages import stage
from gradmeter.trust.model import TrustModel
from gradmeter.trust.traced import JudgedNetwork
from gradmeter.version import __version__

# Inputs of noise on which the file is compared with the TrustModel, and the largest difference of a probability: the
# same network gives logits that differ in the last digits of float32 in PyTorch and in onnxruntime.
_CHECKED = 8
_TOLERANCE = 1e-3
# A graph of protobuf messages cannot be larger.
_LARGEST = 2**31 - 2**20


@dataclass(frozen=True)
class Exported:
    """A written file.

    Attributes:
        bytes: its size.
        metadata: what it says about the network and its judge.
        difference: largest difference of a probability between the file and the TrustModel, on inputs of noise.
    """

    bytes: int
    metadata: Metadata
    difference: float


def export(trust: TrustModel, classifier: Classifier, out: Path) -> Exported:
    """Write a TrustModel and its network to an ONNX file, and compare the file with them on noise.

    Args:
        trust: a fitted TrustModel.
        classifier: its network and preprocessing.
        out: path of an .onnx file; one that `export` wrote is replaced.

    Raises:
        OutputError: as `require_name`.
        InputError, UnsupportedModelError: if the network or the judge cannot be written to ONNX.
        GradmeterError: if the file gives other verdicts than the TrustModel.
    """
    require_name(out)
    require_exporter()
    inputs = _noise(classifier)
    with stage("tracing the network and its judge"), _traced_before(classifier):
        judged = JudgedNetwork(trust, inputs)
        graph = to_graph(judged, inputs, INPUT, [*OUTPUTS], classifier.name)
    metadata = _metadata(trust, classifier, judged)
    properties = metadata.to_properties()
    checksum = checksum_of(graph.SerializeToString(), properties)
    set_properties(graph, {**properties, CHECKSUM: json.dumps(checksum)})
    if graph.ByteSize() > _LARGEST:
        raise InputError(f"{classifier.name} takes {graph.ByteSize():,} bytes; an ONNX file holds at most {_LARGEST:,}")
    with locked(out):
        sweep_beside(out)
        with atomic_write(out) as temporary:
            temporary.write_bytes(graph.SerializeToString())
            with stage("comparing the file with the TrustModel"):
                difference = _difference(trust, JudgedModel.open(temporary), inputs)
    return Exported(out.stat().st_size, metadata, difference)


@contextmanager
def _traced_before(classifier: Classifier) -> Iterator[None]:
    """Say which network to give if one cannot be written because PyTorch has already traced it.

    Raises:
        UnsupportedModelError: if the block raises one.
    """
    try:
        yield
    except UnsupportedModelError as error:
        if not any(isinstance(module, torch.jit.ScriptModule | GraphModule) for module in classifier.network.modules()):
            raise
        raise UnsupportedModelError(
            f"{classifier.name} was made by torch.jit.trace, torch.export or torch.fx; give the network that it was "
            f"made of as --model ({error})"
        ) from error


def require_name(out: Path) -> None:
    """Check the name of an output.

    Raises:
        OutputError: if it does not end in .onnx, is a folder, or is a file that `export` did not write.
    """
    if out.suffix.lower() != ".onnx":
        raise OutputError(f"{out}: expected a name that ends in .onnx")
    require_short_name(out)
    if out.is_dir():
        raise OutputError(f"{out} is a folder; expected the name of a file")
    if out.exists() and not is_exported(out):
        raise OutputError(f"{out} exists and was not written by gradmeter export; choose another name")


def _noise(classifier: Classifier) -> Tensor:
    """Return inputs of noise, [n, ...].

    Raises:
        InputError: if the network takes something else than one tensor of float32.
    """
    random = np.random.default_rng(0)
    if classifier.arrays is not None:
        batch = classifier.batch(classifier.arrays.noise(_CHECKED))
    elif classifier.image is None:
        raise InputError(f"{classifier.name} takes texts; an ONNX file can hold a classifier of images or of one array")
    else:
        side = classifier.image.side
        shape = (_CHECKED, side, side) if classifier.image.mode == "L" else (_CHECKED, side, side, 3)
        batch = classifier.batch([Image.fromarray(image) for image in random.integers(0, 256, shape, np.uint8)])
    values: list[Tensor] = [batch] if isinstance(batch, Tensor) else list(batch.values())
    if len(values) != 1 or values[0].dtype != torch.float32:
        given = ", ".join(f"{value.dtype} {tuple(value.shape)}" for value in values)
        raise InputError(f"{classifier.name} takes {given}; an ONNX file can hold a network of one float32 tensor")
    return values[0]


def _metadata(trust: TrustModel, classifier: Classifier, judged: JudgedNetwork) -> Metadata:
    assert trust.judge is not None
    return Metadata(
        classifier.name,
        classifier.classes,
        image_steps(classifier),
        classifier.arrays,
        None if trust.guarantee is None else asdict(trust.guarantee),
        trust.judge.meaning,
        judged.layers,
        trust.fingerprint(),
        {
            "gradmeter": __version__,
            "torch": torch.__version__,
            "onnx": onnx.__version__,
            "onnxruntime": onnxruntime.__version__,
        },
    )


def _difference(trust: TrustModel, model: JudgedModel, inputs: Tensor) -> float:
    """Return the largest difference of a probability.

    Raises:
        GradmeterError: if it is too large, or a prediction differs.
    """
    expected, given = trust.verdicts(inputs), model(inputs.numpy())
    names = ("p_known", "p_correct_if_known", "p_correct")
    # Unlike `max`, `np.max` returns NaN if one difference is NaN, which then is not small.
    difference = float(np.max([np.abs(given[name] - expected[name].to_numpy()) for name in names]))
    if not difference <= _TOLERANCE or (given["prediction"] != expected["prediction"].to_numpy()).any():
        raise GradmeterError(
            f"onnxruntime gives other verdicts than the TrustModel (probabilities differ by {difference:.2g}), as for "
            "a layer whose outputs are equal but for rounding; nothing was written: expected a trained network"
        )
    return difference
