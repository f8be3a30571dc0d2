"""Classifiers of transformers, for images or texts, with their own image processor or tokenizer."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModelForImageClassification,
    AutoModelForSequenceClassification,
    AutoTokenizer,
)
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES,
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
)
from transformers.tokenization_utils_base import LARGE_INTEGER

from gradmeter.errors import DataError, InputError
from gradmeter.names import encode_name
from gradmeter.reading.inputs import MASK
from gradmeter.sources.models.classifier import Classifier
from gradmeter.sources.models.downloads import NO_CODE, download
from gradmeter.sources.models.preprocessing import ImageOptions
from gradmeter.sources.models.transformers_weights import pretrained, with_weights
from gradmeter.sources.samples import ImageKind

# Side of images for a processor without a size.
_DEFAULT_SIDE = 224
# The type of a network of timm.
_OF_TIMM = "timm_wrapper"
# Fewer tokens beside the special ones are no vocabulary.
_LEAST_WORDS = 2


@dataclass(frozen=True)
class _Processed:
    """Makes a batch of images with an image processor.

    Attributes:
        processor: the image processor.
        dtype: the type of the network's weights, which pixels get.
    """

    processor: Any
    dtype: torch.dtype = field(repr=False)  # earlier versions identified the preprocessing without it

    def __call__(self, images: Sequence[Any]) -> dict[str, Tensor]:
        batch = dict(self.processor(images=list(images), return_tensors="pt"))
        return {name: tensor.to(self.dtype) if tensor.is_floating_point() else tensor for name, tensor in batch.items()}


@dataclass(frozen=True)
class _Tokenised:
    """Makes a batch of texts with a tokenizer, padded to the longest and truncated to what the network takes.

    Attributes:
        tokenizer: the tokenizer.
        longest: the most tokens that the network takes; None if there is no limit.
        masked: whether the network takes a mask of the padding, whatever the tokenizer returns by default. For another
            one, such as FNet, every text is padded to `longest`, because its answer depends on the length.
    """

    tokenizer: Any
    longest: int | None
    masked: bool

    def __repr__(self) -> str:
        """Identify the tokenizer by its rules and its vocabulary, not by its path."""
        rules = json.dumps([sorted(self.tokenizer.get_vocab().items()), self._rules()], sort_keys=True)
        digest = hashlib.sha256(rules.encode()).hexdigest()
        return f"{type(self.tokenizer).__name__}(rules={digest}, longest={self.longest})"

    def _rules(self) -> dict[str, Any]:
        """What a tokenizer does with a text: how it normalises, splits and completes it, and which end it cuts."""
        backend = getattr(self.tokenizer, "backend_tokenizer", None)
        rules: dict[str, Any] = {} if backend is None else json.loads(backend.to_str())
        # Each call sets these two.
        for name in ("truncation", "padding"):
            rules.pop(name, None)
        return rules | {"sides": [self.tokenizer.padding_side, self.tokenizer.truncation_side]}

    def __call__(self, texts: Sequence[str]) -> dict[str, Tensor]:
        truncation = {"truncation": self.longest is not None, "max_length": self.longest}
        padding = True if self.masked or self.longest is None else "max_length"
        options = {"padding": padding, "return_attention_mask": True, "return_tensors": "pt"}
        batch = dict(self.tokenizer(list(texts), **options, **truncation))
        if not batch[MASK].any(1).all():
            raise ValueError("a text has no tokens")
        return batch if self.masked else {name: tensor for name, tensor in batch.items() if name != MASK}


def open_model(name: str, weights: Path | None, options: ImageOptions) -> Classifier:
    """Open a classifier from a folder or from the Hugging Face hub.

    Raises:
        InputError: if it does not exist, cannot be downloaded or is not a classifier, or if `options` change its
            preprocessing.
        DataError: if the weights are missing or do not fit the network, or the tokenizer is missing.
    """
    title = f"hf:{name}"
    config = download(title, lambda: AutoConfig.from_pretrained(name, **NO_CODE))
    architectures = set(config.architectures or [])
    # A configuration that timm has saved does not name the class of its network.
    images = config.model_type == _OF_TIMM or not architectures.isdisjoint(
        _names(MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES)
    )
    if not images and architectures.isdisjoint(_names(MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES)):
        given = ", ".join(sorted(architectures)) or config.model_type
        raise InputError(f"{title} is {given}; expected a classifier of images or of texts")
    if config.problem_type not in (None, "single_label_classification"):
        raise InputError(f"{title} is for {config.problem_type}; expected a classifier with one class for each input")
    auto: Any = AutoModelForImageClassification if images else AutoModelForSequenceClassification
    network: Any = pretrained(title, auto, name) if weights is None else with_weights(auto, config, weights)
    numbers = [*range(config.num_labels)]
    if sorted(config.id2label) != numbers:
        listed = ", ".join(map(str, sorted(config.id2label)[:3]))
        raise InputError(
            f"{title}: id2label numbers the classes {listed}, ...; expected 0, 1, ...: change its config.json"
        )
    names = [encode_name(str(config.id2label[number])) for number in numbers]
    # LABEL_0, ... are the placeholders of transformers for classes without names.
    named = names != [f"LABEL_{number}" for number in range(len(names))]
    classes = tuple(names) if named and network.config.num_labels == len(names) else None
    if options.changed() or options.grey:
        raise InputError(f"{title} has its own preprocessing; change its preprocessor_config.json instead")
    if not images:
        tokenizer = download(title, lambda: AutoTokenizer.from_pretrained(name, **NO_CODE))
        _require_words(title, tokenizer)
        _set_padding(title, tokenizer, network.config)
        masked = MASK in signature(network.forward).parameters
        batch = _Tokenised(tokenizer, _longest(title, tokenizer, network), masked)
        return Classifier(title, network.eval(), classes, None, batch)
    processor = download(title, lambda: AutoImageProcessor.from_pretrained(name, **NO_CODE))
    image = ImageKind("RGB", _side(processor, config))
    return Classifier(title, network.eval(), classes, image, _Processed(processor, network.dtype))


def _names(mapping: Any) -> set[str]:
    """The names of the architectures in a mapping; some entries hold several."""
    entries = [value if isinstance(value, (tuple, list)) else (value,) for value in mapping.values()]
    return {name for names in entries for name in names}


def _require_words(title: str, tokenizer: Any) -> None:
    """Refuse a tokenizer without words: without its files, transformers makes one to which all words are unknown.

    Raises:
        DataError: if it has at most one token, the space, beside the special ones.
    """
    words = set(tokenizer.get_vocab()) - set(tokenizer.all_special_tokens)
    if len(words) < _LEAST_WORDS:
        raise DataError(
            f"{title} has no vocabulary; expected the files of its tokenizer: save it there with "
            "tokenizer.save_pretrained"
        )


def _set_padding(title: str, tokenizer: Any, config: Any) -> None:
    """Tell a network which token fills texts up to the length of others, if its configuration does not.

    Raises:
        DataError: if the tokenizer has no such token.
    """
    if tokenizer.pad_token_id is None:
        raise DataError(
            f"{title}: the tokenizer has no padding token, so that texts of different lengths are no batch; set "
            "tokenizer.pad_token, for example to tokenizer.eos_token, and save it there with tokenizer.save_pretrained"
        )
    if config.pad_token_id is None:
        config.pad_token_id = tokenizer.pad_token_id


def _longest(title: str, tokenizer: Any, network: Any) -> int | None:
    """The most tokens of a text, limited by the tokenizer and the network's table of positions; None if unlimited."""
    longest = tokenizer.model_max_length
    if not isinstance(longest, int | float):
        raise DataError(f"{title}: model_max_length of the tokenizer is {longest!r}; expected a number")
    positions = getattr(network.config, "max_position_embeddings", None) or 0
    # In RoBERTa and related networks, positions start after the padding index.
    tables = [module for name, module in network.named_modules() if name.endswith("position_embeddings")]
    padding = [table.padding_idx for table in tables if getattr(table, "padding_idx", None) is not None]
    limits = [longest, positions - max(padding, default=-1) - 1]
    return min((int(limit) for limit in limits if 0 < limit < LARGE_INTEGER), default=None)


def _side(processor: Any, config: Any) -> int:
    """The side in pixels of images that a processor does not resize."""
    if (timm := getattr(processor, "data_config", None)) is not None:
        return int(timm["input_size"][-1] / timm["crop_pct"])  # as timm rounds before it crops
    taken = getattr(config, "image_size", None)
    if not getattr(processor, "do_resize", True) and isinstance(taken, int):  # its size has no effect
        return taken
    size = processor.size or {}
    return int(next((size[key] for key in ("shortest_edge", "height", "longest_edge") if size.get(key)), _DEFAULT_SIDE))
