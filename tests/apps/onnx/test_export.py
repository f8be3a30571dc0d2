"""onnxruntime gives the verdicts of the TrustModel, for any number of inputs."""

import contextlib
import copy
import dataclasses
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from apps.onnx.exported import CLASSES, classifier, exported, images, needs_exporter, opened, trust
from docs.code import blocks
from gradmeter import (
    DataError,
    GradientMeter,
    GradmeterError,
    InputError,
    OutputError,
    TrustModel,
    UnsupportedModelError,
)
from gradmeter.apps.onnx import exporting as workflow
from gradmeter.apps.onnx.exporting import export, require_name
from gradmeter.apps.onnx.graph import to_graph
from gradmeter.apps.onnx.judged_model import OUTPUTS, JudgedModel
from gradmeter.reading.network import owning_modules
from gradmeter.reading.pseudo_labels import PSEUDO_LABELS
from gradmeter.reading.traced import LabelGradients, TracedForward, TracedGradients
from gradmeter.sources.samples import ArrayKind
from gradmeter.sources.samples.array_kind import ArrayField
from gradmeter.trust.confidence import softmax_log_odds
from gradmeter.trust.meta_classifier import SCORES
from gradmeter.trust.reasons import UNFAMILIAR, split_reason
from gradmeter.trust.traced import Verdicts
from gradmeter.trust.traced.arithmetic import log_above
from trust.trained import digits, loader, train, trained

pytestmark = [pytest.mark.slow, needs_exporter]

TOLERANCE = 1e-4


def require_same(model: JudgedModel, expected_of: TrustModel, inputs: Tensor) -> None:
    expected, given = expected_of.verdicts(inputs), model(inputs.numpy())
    assert given["prediction"].tolist() == expected["prediction"].to_pylist()
    for name in SCORES:
        np.testing.assert_allclose(given[name], expected[name].to_numpy(), atol=TOLERANCE)
    np.testing.assert_allclose(given["probabilities"].max(1), expected["probability"].to_numpy(), atol=TOLERANCE)
    assert given["accepted"].tolist() == expected["accepted"].to_pylist()
    for accepted, unfamiliar, numbers, reason in zip(
        *(given[name].tolist() for name in ("accepted", "unfamiliar", "unfamiliar_layers")),
        expected["reason"].to_pylist(),
        strict=True,
    ):
        if not accepted:
            kind, layers = split_reason(reason)
            assert unfamiliar == (kind == UNFAMILIAR)
            if unfamiliar:
                assert tuple(model.metadata.layers[number] for number in numbers if number >= 0) == layers


@pytest.mark.parametrize("samples", [1, 2, 5, 320])
def test_the_verdicts_of_the_trust_model(samples: int) -> None:
    require_same(opened(), trust(), images()[:samples])


@pytest.mark.parametrize("factor", [255.0, 1e4, 1e30])
def test_inputs_far_from_all_known_ones(factor: float) -> None:
    # One logit is so much larger than the others that the entropy is 0.
    require_same(opened(), trust(), images()[:40] * factor)


@pytest.mark.exhaustive
def test_a_layer_that_shows_only_zeros(tmp_path: Path) -> None:
    network = trained()
    with torch.no_grad():
        network[0].bias.fill_(-0.3)  # type: ignore[union-attr,operator]
    trust_model = TrustModel(GradientMeter(network), reads="forward").fit(loader(300, 900), synthetic=[])
    trust_model.set_risk(0.5, loader(900, 1400))
    zeros = torch.zeros(2, 1, 8, 8)
    assert (trust_model.meter(zeros).activations["0", "std"] == 0).all()
    path = tmp_path / "\udcff.onnx"  # onnxruntime takes no path that is not valid UTF-8
    export(trust_model, classifier(network), path)
    require_same(JudgedModel.open(path), trust_model, zeros)


def test_what_the_file_says() -> None:
    assert Verdicts._fields == (*OUTPUTS,)
    model = opened()
    metadata = model.metadata
    assert model.shape == (1, 8, 8)
    assert (metadata.model, metadata.classes) == ("digits", CLASSES)
    expected = dataclasses.asdict(trust().guarantee)  # type: ignore[arg-type]
    assert metadata.guarantee == {**expected, "unknown_shares": list(expected["unknown_shares"])}
    assert metadata.fingerprint == trust().fingerprint()
    assert metadata.versions["torch"] == torch.__version__
    assert trust().judge is not None
    assert metadata.meaning == trust().judge.meaning  # type: ignore[union-attr]
    graph = onnx.load(exported())
    assert [entry.dim_param for entry in graph.graph.output[0].type.tensor_type.shape.dim] == ["N"]
    # No paths of this machine.
    assert b".py" not in exported().read_bytes()


@pytest.mark.parametrize("shape", [(3, 1, 8, 9), (1, 8, 8), (2, 3, 8, 8), (0, 1, 8, 8), (4,), ()])
def test_inputs_of_another_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"expected|takes \(N >= 1, 1, 8, 8\)") as caught:
        opened()(np.zeros(shape))
    assert str(shape) in str(caught.value)


def test_inputs_that_are_no_numbers() -> None:
    with pytest.raises(InputError, match="expected numbers"):
        opened()([["a"]])


def test_files_that_hold_something_else(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        JudgedModel.open(tmp_path / "absent.onnx")
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(exported().read_bytes()[:5000])
    with pytest.raises(DataError, match="cannot be opened"):
        JudgedModel.open(broken)
    graph = onnx.load(exported())
    written = {entry.key: entry.value for entry in graph.metadata_props}
    changes: list[tuple[dict[str, str], str]] = [
        ({}, "without a judge"),
        ({"gradmeter.format": "7"}, "format 7"),
        ({"gradmeter.format": "2", "gradmeter.model": "{"}, "damaged"),
        ({"gradmeter.format": "2", "gradmeter.model": 100_000 * "["}, "damaged"),
        ({"gradmeter.format": "2"}, "damaged"),
        (written | {"gradmeter.classes": '["a", "b"]'}, "name 2"),
        (written | {"gradmeter.model": '"another"'}, "checksum"),
        ({key: value for key, value in written.items() if key != "gradmeter.checksum"}, "checksum"),
    ]
    for properties, message in changes:
        onnx.helper.set_model_props(graph, properties)
        onnx.save(graph, broken)
        with pytest.raises(DataError, match=message):
            JudgedModel.open(broken)


def test_damaged_weights(tmp_path: Path) -> None:
    """onnxruntime opens such a file, and computes with what it finds."""
    content = bytearray(exported().read_bytes())
    weights = trained().state_dict()["4.weight"].numpy().tobytes()
    start = content.find(weights[:64])
    assert start > 0
    content[start + 3] ^= 1
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(content)
    with pytest.raises(DataError, match="damaged") as caught:
        JudgedModel.open(damaged)
    assert str(damaged) in str(caught.value)
    assert "\n" not in str(caught.value)
    require_name(damaged)  # it can be exported again


def two_layers() -> nn.Module:
    """A network of two layers, of which the last is trained on the first 300 digits."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 24), nn.ReLU(), nn.Linear(24, 10))
    train(network)
    return network.eval()


def test_a_judge_that_reads_gradients(tmp_path: Path, quick_fits: None) -> None:
    """Also where one logit is so much larger that all gradients are nearly zero."""
    network = two_layers()
    with torch.no_grad():
        network[3].weight.mul_(8)  # type: ignore[union-attr,operator]
    logits = network(images()).topk(2, 1).values
    assert (logits[:, 0] - logits[:, 1] > 40).float().mean() > 0.2
    assert (logits[:, 0] - logits[:, 1] < 5).float().mean() > 0.1
    # Each parameter makes the graph larger; the test below reads those of biases and of a convolution, too.
    stressed = TrustModel(GradientMeter(network, biases=False), reads="gradients").fit(loader(300, 900))
    stressed.set_risk(0.08, loader(900, 1400))
    out = tmp_path / "stressed.onnx"
    written = export(stressed, classifier(network), out)
    assert written.difference < TOLERANCE
    model = JudgedModel.open(out, threads=1)
    for inputs in (images()[:1], images()[::5], images()):
        require_same(model, stressed, inputs)


class StartVectors(nn.Module):
    """The start vectors of all pseudo-labels, [N, labels, C], and their sizes."""

    def forward(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        starts = [start(logits.double()) for start in PSEUDO_LABELS.values()]
        return torch.stack([one.direction for one in starts], 1), torch.stack([one.log_scale for one in starts], 1)


class Bare(nn.Module):
    """A network that uses its weights itself, without layers whose outputs could be read."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(10, 64, generator=torch.Generator().manual_seed(0)))

    def forward(self, inputs: Tensor) -> Tensor:
        return nn.functional.linear(inputs.flatten(1), self.weight)


@pytest.mark.filterwarnings("ignore:the outputs of the network's layers cannot be read")
def test_a_network_without_layers_that_can_be_read(tmp_path: Path, quick_fits: None) -> None:
    network = Bare()
    train(network)
    fitted = TrustModel(GradientMeter(network), reads="forward").fit(loader(300, 900))
    fitted.set_risk(0.5, loader(900, 1400))
    out = tmp_path / "judged.onnx"
    export(fitted, classifier(network), out)
    require_same(JudgedModel.open(out, threads=1), fitted, images()[:40])


@pytest.mark.parametrize("largest", [1.0, 34.5, 40.0, 300.0])
def test_start_vectors_of_certain_predictions(largest: float) -> None:
    # For x < -37, onnxruntime's sigmoid in float64 is 0.
    logits = torch.tensor([[largest, 0.0, -1.0], [-2.0, 0.5, largest + 1.0], [largest, largest + 2.0, largest + 1.0]])
    graph = to_graph(StartVectors(), logits, "logits", ("direction", "log_scale"), "start vectors")
    direction, log_scale = onnxruntime.InferenceSession(graph.SerializeToString()).run(None, {"logits": logits.numpy()})
    expected_direction, expected_scale = StartVectors()(logits)
    np.testing.assert_allclose(log_scale, expected_scale, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(direction, expected_direction, atol=1e-6)


LEAST = 1e-12, 1e-304


class Logarithms(nn.Module):
    """Logarithms of sizes, which are 0 where a layer shows only zeros."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([log_above(x, least) for least in LEAST])


def test_logarithms_of_zeros() -> None:
    sizes = torch.tensor([0.0, 1e-13, 1e-3, 1.0], dtype=torch.float64)
    graph = to_graph(Logarithms(), sizes, "sizes", ("logarithms",), "sizes")
    (logarithms,) = onnxruntime.InferenceSession(graph.SerializeToString()).run(None, {"sizes": sizes.numpy()})
    np.testing.assert_allclose(logarithms, np.log(sizes.numpy() + np.array(LEAST)[:, None]), atol=1e-12)


class Transformer(nn.Module):
    """A small vision transformer: a convolution, pooling, a class token, positions, attention and LayerNorm."""

    def __init__(self, blocks: int) -> None:
        super().__init__()
        self.patches = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
        self.token, self.places = nn.Parameter(torch.zeros(1, 1, 16)), nn.Parameter(torch.randn(1, 17, 16) / 4)
        layer = nn.TransformerEncoderLayer(16, 2, 32, 0.0, "gelu", batch_first=True, norm_first=True)
        self.blocks = nn.TransformerEncoder(layer, blocks, enable_nested_tensor=False)
        self.norm, self.last = nn.LayerNorm(16), nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.places
        return self.last(self.norm(self.blocks(x))[:, 0])


class Gradients(nn.Module):
    """Statistics of the gradients of a network, without a judge."""

    def __init__(self, network: nn.Module, inputs: Tensor) -> None:
        super().__init__()
        forward = TracedForward(network, inputs, (), embedding=False)
        self.reader = TracedGradients(forward, inputs, ["predicted"], [*owning_modules(network)])

    def forward(self, inputs: Tensor) -> LabelGradients:
        return self.reader(inputs).gradients["predicted"]


class Attention(nn.Module):
    """What a transformer consists of, once: few operations, because their number makes an export take long."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.norm = nn.Conv2d(1, 4, 4, stride=4), nn.LayerNorm(4)
        self.attention, self.last = nn.MultiheadAttention(4, 1, batch_first=True), nn.Linear(4, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.patches(x).flatten(2).transpose(1, 2))
        return self.last(self.attention(x, x, x, need_weights=False)[0][:, 0])


@pytest.mark.exhaustive
@pytest.mark.parametrize("make", [Attention, pytest.param(partial(Transformer, 1), id="transformer")])
def test_gradients_of_attention(make: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    network, inputs = make().eval(), images()[::40]
    graph = to_graph(Gradients(network, inputs[:3]), inputs[:3], "inputs", LabelGradients._fields, "a transformer")
    session = onnxruntime.InferenceSession(graph.SerializeToString())
    for part in (inputs, inputs[:1]):
        values, log_scale = session.run(None, {"inputs": part.numpy()})
        readings = GradientMeter(network)(part)
        np.testing.assert_allclose(log_scale, readings.log_scale, atol=1e-5)
        values[:, :, :6] *= np.exp(log_scale)[:, None, None]
        np.testing.assert_allclose(values, readings.values[:, :-1], rtol=1e-3, atol=1e-4)


@pytest.mark.exhaustive
def test_a_judge_that_reads_gradients_of_a_transformer(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network, (inputs, labels) = Transformer(2), (part[:300] for part in digits())
    optimiser = torch.optim.Adam(network.parameters(), 0.01)
    for _ in range(60):
        optimiser.zero_grad()
        nn.functional.cross_entropy(network(inputs), labels).backward()
        optimiser.step()
    stressed = TrustModel(GradientMeter(network.eval()), reads="gradients").fit(loader(300, 900))
    stressed.set_risk(0.3, loader(900, 1400))
    out = tmp_path / "transformer.onnx"
    export(stressed, classifier(network), out)
    model = JudgedModel.open(out, threads=1)
    for part in (images()[:1], images()):
        require_same(model, stressed, part)


def test_a_second_look_is_a_branch() -> None:
    assert [node.op_type for node in onnx.load(exported()).graph.node].count("If") == 1
    above = trust().meter.second_look
    doubtful = torch.from_numpy(softmax_log_odds(trust().meter(images()).log_scale.numpy()) > above)
    assert 0 < doubtful.sum() < len(images())
    require_same(opened(), trust(), images()[~doubtful])
    require_same(opened(), trust(), images()[doubtful])


def test_arrays_instead_of_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workflow, "to_graph", lambda *_: onnx.load(exported()))
    kind = ArrayKind((ArrayField("", "float32", (1, 8, 8), 0.0, 1.0),))
    network = trust().meter.model
    export(trust(), classifier(network).for_arrays(kind), tmp_path / "arrays.onnx")
    model = JudgedModel.open(tmp_path / "arrays.onnx")
    assert model.metadata.arrays == kind
    assert model.metadata.preprocessing is None
    require_same(model, trust(), images()[:20])


class Branching(nn.Sequential):
    """A network whose operations depend on the input's values, which cannot be traced."""

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = super().forward(x)
        return logits if float(x.sum()) > 0 else -logits


def test_a_network_that_pytorch_has_exported(tmp_path: Path) -> None:
    """It has no training mode, which the exporter sets; the network that it was made of can be written."""
    shapes = ({0: torch.export.Dim("n")},)
    network = torch.export.export(trained(), (digits()[0][:2],), dynamic_shapes=shapes).module()
    judged = copy.copy(trust())
    judged.meter = GradientMeter(network).for_trust_model(gradients=False, second_look=trust().meter.second_look)
    with pytest.raises(UnsupportedModelError, match=r"^digits was made by .*; give the network .* as --model"):
        export(judged, classifier(network), tmp_path / "out.onnx")


def test_networks_that_onnx_cannot_hold(tmp_path: Path) -> None:
    network = Branching(*trained().children()).eval()
    branching = copy.copy(trust())
    branching.meter = GradientMeter(network).for_trust_model(gradients=False, second_look=trust().meter.second_look)
    with pytest.raises(UnsupportedModelError, match="digits cannot be written to ONNX") as caught:
        export(branching, classifier(network), tmp_path / "out.onnx")
    assert "\n" not in str(caught.value)

    def doubled(images: Any) -> Tensor:
        return torch.zeros(len(images), 1, 8, 8, dtype=torch.float64)

    with pytest.raises(InputError, match="float32"):
        export(trust(), dataclasses.replace(classifier(), batch=doubled), tmp_path / "out.onnx")
    with pytest.raises(InputError, match="texts"):
        export(trust(), dataclasses.replace(classifier(), image=None), tmp_path / "out.onnx")
    assert not any(tmp_path.iterdir())


def test_a_file_of_someone_else_is_not_replaced(tmp_path: Path) -> None:
    mine = tmp_path / "mine.onnx"
    mine.write_bytes(b"mine")
    with pytest.raises(OutputError, match=r"mine\.onnx.*was not written by gradmeter export"):
        export(trust(), classifier(), mine)
    assert mine.read_bytes() == b"mine"


def test_outputs_that_are_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"\.onnx"):
        export(trust(), classifier(), tmp_path / "out.txt")
    (tmp_path / "folder.onnx").mkdir()
    with pytest.raises(OutputError, match="folder"):
        export(trust(), classifier(), tmp_path / "folder.onnx")


@pytest.mark.parametrize("name", ["p_known", "p_correct"])
@pytest.mark.parametrize("factor", [0.5, float("nan")])
def test_a_file_that_gives_other_verdicts_is_not_kept(
    name: str, factor: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    verdicts = JudgedModel.__call__

    def wrong(self: JudgedModel, inputs: Any) -> dict[str, Any]:
        given = verdicts(self, inputs)
        return {**given, name: factor * (1 - given[name])}

    graph = onnx.load(exported())
    monkeypatch.setattr(JudgedModel, "__call__", wrong)
    monkeypatch.setattr(workflow, "to_graph", lambda *_: graph)
    with pytest.raises(GradmeterError, match="other verdicts"):
        export(trust(), classifier(), tmp_path / "out.onnx")
    assert not any(tmp_path.iterdir())


def test_leftovers_of_a_killed_export_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".out.onnx.12345-0123abcd.partial").write_bytes(b"half")
    (tmp_path / ".other.onnx.12345-0123abcd.partial").write_bytes(b"of another output")
    graph = onnx.load(exported())
    monkeypatch.setattr(workflow, "to_graph", lambda *_: graph)
    export(trust(), classifier(), tmp_path / "out.onnx")
    assert {path.name for path in tmp_path.iterdir()} == {"out.onnx", ".other.onnx.12345-0123abcd.partial"}


def test_the_python_of_the_documentation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (program,) = [content for language, content in blocks("docs/onnx.md") if language == "python"]
    assert len(program.strip().splitlines()) <= 10
    pixels = (images()[0, 0] * 255).round().byte().numpy()
    Image.fromarray(pixels).save(tmp_path / "seven.png")
    (tmp_path / "judged.onnx").write_bytes(exported().read_bytes())
    monkeypatch.chdir(tmp_path)
    exec(program.replace("(28, 28)", "(8, 8)"), {})
    expected = opened()(pixels[None, None] / 255)
    decision = "accept" if expected["accepted"][0] else "abstain"
    printed = capsys.readouterr().out.split()
    assert (int(printed[0]), printed[2]) == (expected["prediction"][0], decision)
    assert float(printed[1]) == pytest.approx(float(expected["p_correct"][0]), abs=1e-6)


@pytest.mark.parametrize("swallows", [True, False])
def test_ctrl_c_while_tracing_ends_the_export(swallows: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """torch.export ignores it in callbacks of weak references, and elsewhere turns it into an error of its own."""

    def trace(*_: object, **__: object) -> None:
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        if not swallows:
            raise RuntimeError("Use tlparse to see full graph")

    monkeypatch.setattr(torch.onnx, "export", trace)
    with pytest.raises(KeyboardInterrupt):
        to_graph(nn.Flatten(), torch.zeros(2, 3), "inputs", [*OUTPUTS], "a network")
