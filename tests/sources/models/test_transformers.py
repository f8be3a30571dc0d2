import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import timm
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file, save_file
from timm.data import create_transform, resolve_model_data_config
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import Whitespace
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertForMaskedLM,
    BertForSequenceClassification,
    BertTokenizerFast,
    FNetConfig,
    FNetForSequenceClassification,
    GPT2Config,
    GPT2ForSequenceClassification,
    PretrainedConfig,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaForSequenceClassification,
    T5Config,
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessor,
)

from gradmeter import GradientMeter
from gradmeter.errors import DataError, GradmeterWarning, InputError
from gradmeter.runs.measuring import Work, measure_synthetic
from gradmeter.runs.measuring.loading import batch_of
from gradmeter.sources.models import ImageOptions, open_model, transformers_models
from gradmeter.sources.models.answering import explained, trial_logits
from gradmeter.sources.models.downloads import download
from gradmeter.sources.samples import ImageKind, Sample, arrays_of, open_source
from gradmeter.trust.synthetic import KINDS
from sources.samples.pictures import gradient, save

IMAGES = [Image.fromarray(gradient(40, 30)), Image.fromarray(gradient(20, 20)[::-1])]
TEXTS = ["good film", "a bad bad film", "film"]
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "good", "bad", "film"]
SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}

makes_empty_tokenizers = pytest.mark.skipif(
    int(transformers.__version__.partition(".")[0]) < 5, reason="transformers 4 refuses such a folder itself"
)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    names = {"id2label": {0: "cat", 1: "dog", 2: "bird"}, "label2id": {"cat": 0, "dog": 1, "bird": 2}}
    ViTForImageClassification(ViTConfig(image_size=16, patch_size=8, **SMALL, **names)).save_pretrained(tmp_path)
    ViTImageProcessor(size={"height": 16, "width": 16}).save_pretrained(tmp_path)
    return tmp_path


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    config = BertConfig(vocab_size=len(WORDS), max_position_embeddings=12, num_labels=2, **SMALL)
    BertForSequenceClassification(config).save_pretrained(tmp_path)
    (tmp_path / "vocab.txt").write_text("\n".join(WORDS))
    BertTokenizerFast(str(tmp_path / "vocab.txt"), model_max_length=12).save_pretrained(tmp_path)
    return tmp_path


@pytest.mark.parametrize("code", ["AutoConfig", "AutoModelForImageClassification", "AutoImageProcessor"])
def test_code_of_a_repository_is_never_run(code: str, images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By default, transformers asks on standard input whether to run it."""
    monkeypatch.setattr("builtins.input", lambda question: "y")
    (images / "evil.py").write_text(f"open({str(images / 'was run')!r}, 'w')\n")
    file = images / ("preprocessor_config.json" if code == "AutoImageProcessor" else "config.json")
    content = json.loads(file.read_text()) | {"auto_map": {code: "evil.Evil"}}
    unknown = {"image_processor_type": "Evil"} if code == "AutoImageProcessor" else {"model_type": "evil"}
    file.write_text(json.dumps(content | unknown))
    with pytest.raises(InputError):
        open_model(f"hf:{images}")
    assert not (images / "was run").exists()


def test_images(images: Path) -> None:
    classifier = open_model(f"hf:{images}")
    assert classifier.classes == ("cat", "dog", "bird")
    assert classifier.image is not None
    assert classifier.image.side == 16
    batch = classifier.batch(IMAGES)
    expected = ViTImageProcessor.from_pretrained(images)(IMAGES, return_tensors="pt")["pixel_values"]
    assert torch.equal(batch["pixel_values"], expected)  # type: ignore[call-overload]
    network = ViTForImageClassification.from_pretrained(images).eval()
    torch.testing.assert_close(
        GradientMeter(classifier.network)(batch).logits,  # type: ignore[arg-type]
        network(expected).logits,
        rtol=1e-4,
        atol=1e-5,
    )


def test_images_for_a_network_in_half_precision(images: Path) -> None:
    """transformers 5 opens it in the type of its weights."""
    ViTForImageClassification.from_pretrained(images, dtype=torch.bfloat16).save_pretrained(images)
    classifier = open_model(f"hf:{images}")
    batch = classifier.batch(IMAGES)
    assert batch["pixel_values"].dtype == next(classifier.network.parameters()).dtype  # type: ignore[call-overload]
    assert classifier.outputs == 3


def test_images_of_another_size_than_the_network_takes(images: Path) -> None:
    ViTImageProcessor(size={"height": 24, "width": 24}).save_pretrained(images)
    with pytest.raises(InputError, match=r"expected images as its preprocessor_config\.json makes them") as caught:
        trial_logits(open_model(f"hf:{images}"))
    assert "--image-size" not in str(caught.value)


def test_the_number_of_classes_and_synthetic_unknowns(images: Path, tmp_path: Path) -> None:
    """Synthetic unknowns also work if a batch is a mapping with one tensor."""
    classifier = open_model(f"hf:{images}")
    assert classifier.outputs == 3
    for number in range(2):
        save(tmp_path / f"{number}.png", 40 * number)
    source = open_source(str(tmp_path), classifier.image)
    measured = measure_synthetic(classifier, source, range(2), tmp_path / "made.parquet", Work())
    assert measured is not None
    assert measured.progress() == (2 * len(KINDS), ())
    assert measure_synthetic(classifier, source, range(1), tmp_path / "one.parquet", Work()) is None


def test_weights_of_ones_own(images: Path, tmp_path: Path) -> None:
    config = ViTConfig.from_pretrained(images)
    torch.manual_seed(1)
    network = ViTForImageClassification(config)
    torch.save(network.state_dict(), tmp_path / "own.pt")
    loaded = open_model(f"hf:{images}", tmp_path / "own.pt").network.state_dict()
    assert all(torch.equal(value, loaded[name]) for name, value in network.state_dict().items())


def saved(folder: Path, network: Any) -> dict[str, torch.Tensor]:
    """The tensors of a file that transformers has saved, under its names."""
    network.save_pretrained(folder)
    tensors: dict[str, torch.Tensor] = load_file(folder / "model.safetensors")
    return tensors


def small_vit(classes: int, seed: int) -> ViTForImageClassification:
    torch.manual_seed(seed)
    return ViTForImageClassification(ViTConfig(image_size=16, patch_size=8, num_labels=classes, **SMALL))


def equal(network: torch.nn.Module, other: torch.nn.Module) -> bool:
    weights, others = network.state_dict(), other.state_dict()
    return weights.keys() == others.keys() and all(torch.equal(value, others[name]) for name, value in weights.items())


@pytest.mark.parametrize(("classes", "prefix"), [(3, ""), (5, ""), (3, "model.")])
def test_a_file_that_transformers_has_saved(classes: int, prefix: str, images: Path, tmp_path: Path) -> None:
    """Since version 5 its names are not those of the network's own weights."""
    network = small_vit(classes, 1)
    tensors = saved(tmp_path / "other", network)
    save_file({prefix + name: value for name, value in tensors.items()}, tmp_path / "own.safetensors")
    classifier = open_model(f"hf:{images}", tmp_path / "own.safetensors")
    assert equal(classifier.network, network)
    assert classifier.outputs == classes


def test_weights_that_the_network_no_longer_uses(texts: Path, tmp_path: Path) -> None:
    """Files of earlier versions hold the numbers of positions; transformers leaves them out."""
    torch.manual_seed(1)
    config = BertConfig(vocab_size=len(WORDS), max_position_embeddings=12, num_labels=2, **SMALL)
    network = BertForSequenceClassification(config)
    tensors = saved(tmp_path / "other", network) | {"bert.embeddings.position_ids": torch.arange(12)[None]}
    torch.save(tensors, tmp_path / "own.pt")
    assert equal(open_model(f"hf:{texts}", tmp_path / "own.pt").network, network)


@pytest.mark.parametrize("change", ["lacks", "unknown", "has", "int8"])
def test_a_saved_file_that_does_not_fit(change: str, images: Path, tmp_path: Path) -> None:
    tensors = saved(tmp_path / "other", small_vit(3, 1))
    name = next(name for name in tensors if name.endswith("layernorm.weight"))
    if change == "lacks":
        del tensors[name]
    elif change == "unknown":
        name = "vit.another.weight"
        tensors[name] = torch.ones(3)
    elif change == "has":
        tensors[name] = torch.ones(3)
    else:
        tensors[name] = tensors[name].to(torch.int8)
    save_file(tensors, tmp_path / "own.safetensors")
    with pytest.raises(DataError, match=re.escape(name)):
        open_model(f"hf:{images}", tmp_path / "own.safetensors")


def test_a_table_of_positions_of_another_length(texts: Path, tmp_path: Path) -> None:
    """Its length is no number of classes."""
    tensors, name = load_file(texts / "model.safetensors"), "bert.embeddings.position_embeddings.weight"
    save_file(tensors | {name: tensors[name][:5].clone()}, tmp_path / "own.safetensors")
    with pytest.raises(DataError, match=rf"it has {re.escape(name)} \(5, 16\) instead of \(12, 16\)$"):
        open_model(f"hf:{texts}", tmp_path / "own.safetensors")


@pytest.mark.parametrize("change", ["no head", "prefix"])
def test_missing_weights(change: str, images: Path) -> None:
    """For them transformers takes random numbers, so that each run would judge another network."""
    path = images / "model.safetensors"
    tensors = {
        ("module." if change == "prefix" else "") + name: value
        for name, value in load_file(path).items()
        if change == "prefix" or not name.startswith("classifier.")
    }
    save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(DataError, match=r"lacks the weights classifier\.bias, classifier\.weight"):
        open_model(f"hf:{images}")


def test_8_bit_integers(images: Path) -> None:
    """transformers takes them for floats, without their scale."""
    path = images / "model.safetensors"
    tensors = load_file(path)
    save_file(tensors | {"classifier.bias": tensors["classifier.bias"].to(torch.int8)}, path, {"format": "pt"})
    with pytest.raises(DataError, match=r"the weights classifier\.bias are 8-bit integers"):
        open_model(f"hf:{images}")


def test_weights_of_another_shape(images: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = images / "model.safetensors"
    save_file(load_file(path) | {"classifier.bias": torch.zeros(7)}, path, metadata={"format": "pt"})
    with pytest.raises(DataError, match=r"the weights classifier\.bias have other shapes than the network's"):
        open_model(f"hf:{images}")
    assert capfd.readouterr().err == ""


def test_weights_that_the_network_has_not(images: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = images / "model.safetensors"
    save_file(load_file(path) | {"other": torch.zeros(7)}, path, metadata={"format": "pt"})
    with pytest.warns(GradmeterWarning, match="the network has no weights other; they are not used"):
        open_model(f"hf:{images}")
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("words", ["can't start new thread", "DefaultCPUAllocator: can't allocate memory"])
def test_a_lack_of_memory_or_threads_is_no_fault_of_a_folder(words: str, images: Path) -> None:
    def fail() -> None:
        raise RuntimeError(words)

    with pytest.raises(RuntimeError, match=words) as caught:
        download(f"hf:{images}", fail)
    assert not isinstance(caught.value, InputError)
    opened = open_model(f"hf:{images}")
    with pytest.raises(InputError) as refused, explained(opened, opened.batch(IMAGES)):
        raise MemoryError
    assert "--image-size" not in str(refused.value)


def test_a_damaged_folder(images: Path) -> None:
    (images / "config.json").write_text("{")
    with pytest.raises(InputError, match="expected what save_pretrained of transformers writes"):
        open_model(f"hf:{images}")


def test_classes_that_are_not_numbered_from_zero(images: Path) -> None:
    config = json.loads((images / "config.json").read_text())
    config["id2label"] = {"1": "cat", "2": "dog", "3": "bird"}
    (images / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="1, 2, 3"):
        open_model(f"hf:{images}")


@pytest.mark.parametrize("problem", ["multi_label_classification", "regression"])
def test_what_gives_no_single_class(problem: str, images: Path) -> None:
    config = json.loads((images / "config.json").read_text()) | {"problem_type": problem}
    (images / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=problem):
        open_model(f"hf:{images}")


@pytest.mark.parametrize(
    ("size", "side"), [({"longest_edge": 20}, 20), ({"shortest_edge": 18}, 18), (None, 224), ({"height": 9}, 9)]
)
def test_the_side_of_an_image_by_whatever_a_processor_calls_it(size: Any, side: int) -> None:
    assert transformers_models._side(SimpleNamespace(size=size), PretrainedConfig()) == side


def test_images_that_the_processor_does_not_resize(images: Path) -> None:
    """They have the size that the network takes, whatever the size that the processor does not use."""
    ViTImageProcessor(do_resize=False, size={"height": 224, "width": 224}).save_pretrained(images)
    classifier = open_model(f"hf:{images}")
    assert classifier.image == ImageKind("RGB", 16)
    assert classifier.outputs == 3


@pytest.mark.parametrize("names_its_class", [True, False])
def test_a_network_of_timm(names_its_class: bool, tmp_path: Path) -> None:
    """Its processor has no size, and a configuration that timm has saved does not name the network's class."""
    network = timm.create_model("test_resnet", num_classes=3).eval()
    fixed = {"crop_pct": 0.8, "interpolation": "bilinear"}
    config = {
        "architecture": "test_resnet",
        "num_classes": 3,
        "label_names": ["cat", "dog", "bird"],
        "pretrained_cfg": {**network.pretrained_cfg, **fixed},
        **({"architectures": ["TimmWrapperForImageClassification"]} if names_its_class else {}),
    }
    (tmp_path / "config.json").write_text(json.dumps(config, default=str))
    save_file(network.state_dict(), tmp_path / "model.safetensors")
    classifier = open_model(f"hf:{tmp_path}")
    assert classifier.classes == ("cat", "dog", "bird")
    assert classifier.image == ImageKind("RGB", 200)
    transform = create_transform(**{**resolve_model_data_config(network), **fixed})
    expected = network(torch.stack([transform(image) for image in IMAGES]))
    torch.testing.assert_close(classifier.network(**classifier.batch(IMAGES)).logits, expected)  # type: ignore[arg-type]


def test_the_number_of_classes_of_texts(texts: Path) -> None:
    assert open_model(f"hf:{texts}").outputs == 2


def test_texts_are_padded_and_the_padding_does_not_show(texts: Path) -> None:
    classifier = open_model(f"hf:{texts}")
    assert classifier.classes is None  # transformers' placeholders LABEL_0, LABEL_1 are not class names
    assert classifier.image is None
    together = GradientMeter(classifier.network)(classifier.batch(TEXTS))  # type: ignore[arg-type]
    alone = [GradientMeter(classifier.network)(classifier.batch([text])) for text in TEXTS]  # type: ignore[arg-type]
    torch.testing.assert_close(together["all", "l2"], torch.cat([one["all", "l2"] for one in alone]), rtol=1e-4, atol=0)


@pytest.mark.parametrize("masked", [True, False])
def test_a_tokenizer_that_makes_no_mask(masked: bool, texts: Path) -> None:
    """A network that takes a mask gets one; for FNet, which takes none, all texts have the same length."""
    if not masked:
        small = {name: value for name, value in SMALL.items() if name != "num_attention_heads"}
        network = FNetForSequenceClassification(FNetConfig(vocab_size=9, max_position_embeddings=12, **small))
        network.save_pretrained(texts)
    names = ["input_ids", "token_type_ids"]
    tokenizer = BertTokenizerFast(str(texts / "vocab.txt"), model_max_length=12, model_input_names=names)
    tokenizer.save_pretrained(texts)
    classifier = open_model(f"hf:{texts}")
    together = classifier.network(**classifier.batch(TEXTS)).logits
    alone = torch.cat([classifier.network(**classifier.batch([text])).logits for text in TEXTS])
    torch.testing.assert_close(together, alone)


def test_texts_that_were_tokenised_before(texts: Path, tmp_path: Path) -> None:
    expected = open_model(f"hf:{texts}").batch(TEXTS)
    assert isinstance(expected, dict)
    np.savez(tmp_path / "tokens.npz", **{name: tensor.numpy() for name, tensor in expected.items()})
    arrays = arrays_of(str(tmp_path / "tokens.npz"))
    classifier = open_model(f"hf:{texts}", arrays=arrays)
    assert (classifier.texts, classifier.outputs) == (False, 2)
    source = open_source(str(tmp_path / "tokens.npz"), None, arrays=arrays)
    batch = classifier.batch([source.read(index).content for index in range(len(source))])
    assert isinstance(batch, dict)
    assert {name: tensor.tolist() for name, tensor in batch.items()} == {
        name: tensor.tolist() for name, tensor in expected.items()
    }


def test_long_texts_are_cut(texts: Path) -> None:
    classifier = open_model(f"hf:{texts}")
    batch = classifier.batch(["bad " * 100])
    assert batch["input_ids"].shape == (1, 12)  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("kind", "config", "longest"),
    [(BertForSequenceClassification, BertConfig, 12), (RobertaForSequenceClassification, RobertaConfig, 10)],
)
def test_long_texts_of_a_tokenizer_that_knows_no_limit(
    kind: Any, config: Any, longest: int, texts: Path, tmp_path: Path
) -> None:
    """RoBERTa's positions start after the padding index, which is 1."""
    kind(config(vocab_size=len(WORDS), max_position_embeddings=12, pad_token_id=1, **SMALL)).save_pretrained(tmp_path)
    BertTokenizerFast(str(texts / "vocab.txt")).save_pretrained(tmp_path)
    classifier = open_model(f"hf:{tmp_path}")
    batch = classifier.batch(["bad " * 100, "good"])
    assert batch["input_ids"].shape == (2, longest)  # type: ignore[call-overload]
    assert classifier.network(**batch).logits.isfinite().all()


def test_a_text_of_no_tokens_does_not_take_others_along(texts: Path, tmp_path: Path) -> None:
    """It is skipped, and not measured as padding only."""
    folder = shutil.copytree(texts, tmp_path / "bare", ignore=shutil.ignore_patterns("bare"))
    words = Tokenizer(WordLevel({word: number for number, word in enumerate(WORDS)}, "[UNK]"))
    PreTrainedTokenizerFast(tokenizer_object=words, pad_token="[PAD]").save_pretrained(folder)
    classifier = open_model(f"hf:{folder}")
    batch = batch_of([Sample("0", "", None), Sample("1", "good", None)], classifier.batch)
    assert batch.ids == ["1"]
    assert [skipped.id for skipped in batch.skipped] == ["0"]
    assert "ValueError" in batch.skipped[0].reason


def test_a_tokenizer_is_told_by_its_words_and_not_by_its_place(texts: Path, tmp_path: Path) -> None:
    moved = shutil.copytree(texts, tmp_path / "moved")
    first = repr(open_model(f"hf:{texts}").batch)
    assert repr(open_model(f"hf:{moved}").batch) == first
    BertTokenizerFast(str(texts / "vocab.txt"), model_max_length=11).save_pretrained(moved)
    assert repr(open_model(f"hf:{moved}").batch) != first
    (tmp_path / "vocab.txt").write_text("\n".join(reversed(WORDS)))
    BertTokenizerFast(str(tmp_path / "vocab.txt"), model_max_length=12).save_pretrained(moved)
    assert repr(open_model(f"hf:{moved}").batch) != first


def test_a_longest_text_that_is_no_number(texts: Path, tmp_path: Path) -> None:
    moved = shutil.copytree(texts, tmp_path / "moved")
    path = moved / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "model_max_length": "12"}))
    with pytest.raises(DataError, match=r"model_max_length .* '12'; expected a number"):
        open_model(f"hf:{moved}")


@makes_empty_tokenizers
@pytest.mark.parametrize("config", [BertConfig, T5Config])
def test_a_folder_without_the_files_of_its_tokenizer(config: type[PretrainedConfig], tmp_path: Path) -> None:
    """For such a folder transformers makes a tokenizer to which all words are unknown."""
    config().save_pretrained(tmp_path)
    with pytest.raises(DataError, match="no vocabulary"):
        transformers_models._require_words("hf:texts", AutoTokenizer.from_pretrained(tmp_path))


@makes_empty_tokenizers
def test_a_classifier_needs_the_files_of_its_tokenizer(texts: Path) -> None:
    for file in (*texts.glob("tokenizer*"), texts / "vocab.txt"):
        file.unlink()
    with pytest.raises(DataError, match=r"no vocabulary.*save_pretrained"):
        open_model(f"hf:{texts}")


def save_tokenizer(folder: Path, *, lowercase: bool = True, pad_token: str | None = "[PAD]") -> None:
    words = Tokenizer(WordLevel({word: number for number, word in enumerate(WORDS)}, "[UNK]"))
    words.pre_tokenizer = Whitespace()
    words.normalizer = BertNormalizer(lowercase=lowercase)
    PreTrainedTokenizerFast(tokenizer_object=words, pad_token=pad_token, model_max_length=12).save_pretrained(folder)


def test_a_network_that_does_not_name_its_padding_token(tmp_path: Path) -> None:
    """It has one answer for a text, alone or padded; without any such token, texts are no batch."""
    config = GPT2Config(vocab_size=len(WORDS), n_positions=12, n_embd=16, n_layer=2, n_head=2, bos_token_id=0)
    GPT2ForSequenceClassification(config).save_pretrained(tmp_path)
    save_tokenizer(tmp_path)
    classifier = open_model(f"hf:{tmp_path}")
    alone = classifier.network(**classifier.batch(TEXTS[:1])).logits
    torch.testing.assert_close(classifier.network(**classifier.batch(TEXTS)).logits[:1], alone)
    save_tokenizer(tmp_path, pad_token=None)
    with pytest.raises(DataError, match=r"no padding token.*set tokenizer\.pad_token"):
        open_model(f"hf:{tmp_path}")


def test_a_tokenizer_is_told_by_its_rules(texts: Path) -> None:
    """With the same words, it may read the same texts otherwise: a TrustModel of one does not fit the other."""
    weights = load_file(texts / "model.safetensors")
    save_file({name: 30 * value for name, value in weights.items()}, texts / "model.safetensors", {"format": "pt"})
    save_tokenizer(texts, lowercase=True)
    first = open_model(f"hf:{texts}")
    batch = repr(first.batch)
    first.batch(TEXTS)
    assert repr(first.batch) == batch
    assert open_model(f"hf:{texts}").answers_as(first.trial.tolist())
    save_tokenizer(texts, lowercase=False)
    second = open_model(f"hf:{texts}")
    assert repr(second.batch) != batch
    assert not second.answers_as(first.trial.tolist())


def test_no_classifier(tmp_path: Path) -> None:
    BertForMaskedLM(BertConfig(vocab_size=9, **SMALL)).save_pretrained(tmp_path)
    with pytest.raises(InputError, match="BertForMaskedLM"):
        open_model(f"hf:{tmp_path}")


def test_other_preprocessing_is_the_folders_matter(images: Path) -> None:
    with pytest.raises(InputError, match=r"preprocessor_config\.json"):
        open_model(f"hf:{images}", None, ImageOptions(32))


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"hf:.*absent.*--weights.*--model"):
        open_model(f"hf:{tmp_path / 'absent'}")
