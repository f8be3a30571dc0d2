"""Classifiers of transformers, of images or texts, with the processor or tokenizer that lies beside them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
from transformers.utils import logging

from gradmeter.errors import InputError
from gradmeter.names import encode_name
from gradmeter.sources.models.classifier import Classifier
from gradmeter.sources.models.downloads import fetched
from gradmeter.sources.models.preprocessing import ImageOptions
from gradmeter.sources.models.weights import build_with, read_weights
from gradmeter.sources.samples import ImageKind

_ANY_SIDE = 224


@dataclass(frozen=True)
class _Processed:
    """A batch of images from a processor."""

    processor: Any

    def __call__(self, images: Sequence[Any]) -> dict[str, Tensor]:
        return dict(self.processor(images=list(images), return_tensors="pt"))


@dataclass(frozen=True)
class _Tokenised:
    """A batch of texts, as long as the longest of them, or of as many tokens as the network takes."""

    tokenizer: Any
    longest: int | None

    def __repr__(self) -> str:
        """What tells one tokenizer from another, wherever it lies."""
        vocabulary = json.dumps(sorted(self.tokenizer.get_vocab().items()))
        digest = hashlib.sha256(vocabulary.encode()).hexdigest()
        return f"{type(self.tokenizer).__name__}(vocabulary={digest}, longest={self.longest})"

    def __call__(self, texts: Sequence[str]) -> dict[str, Tensor]:
        cut = {"truncation": self.longest is not None, "max_length": self.longest}
        batch = dict(self.tokenizer(list(texts), padding=True, return_tensors="pt", **cut))
        if not batch.get("attention_mask", batch["input_ids"] >= 0).any(1).all():
            raise ValueError("a text without a token")
        return batch


def open_model(name: str, weights: Path | None, options: ImageOptions) -> Classifier:
    """The classifier in a folder, or of this name on the Hugging Face hub.

    Raises:
        InputError: if there is no such classifier, it cannot be fetched, or its images are to be treated otherwise.
        DataError: if the file of weights is not for it.
    """
    title = f"hf:{name}"
    config = fetched(title, lambda: AutoConfig.from_pretrained(name))
    made = set(config.architectures or [])
    images = not made.isdisjoint(_names(MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES))
    if not images and made.isdisjoint(_names(MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES)):
        found = ", ".join(sorted(made)) or config.model_type
        raise InputError(f"{title} is {found}; expected a classifier of images or of texts")
    if config.problem_type not in (None, "single_label_classification"):
        raise InputError(
            f"{title} is for {config.problem_type}; expected a network that gives each input one of its classes"
        )
    auto: Any = AutoModelForImageClassification if images else AutoModelForSequenceClassification
    if weights is None:
        with _without_bar(name):
            network = fetched(title, lambda: auto.from_pretrained(name, use_safetensors=True))
    else:
        network = build_with(
            lambda count: auto.from_config(_with_classes(config, count)), read_weights(weights)[0], weights
        )
    numbers = [*range(config.num_labels)]
    if sorted(config.id2label) != numbers:
        listed = ", ".join(map(str, sorted(config.id2label)[:3]))
        raise InputError(
            f"{title}: id2label numbers the classes {listed}, ...; expected 0, 1, ...: mend its config.json"
        )
    names = [encode_name(str(config.id2label[number])) for number in numbers]
    # What transformers writes where nobody named them.
    named = names != [f"LABEL_{number}" for number in range(len(names))]
    classes = tuple(names) if named and network.config.num_labels == len(names) else None
    if options.changed() or options.grey:
        raise InputError(f"{title} brings its own preprocessing; change its preprocessor_config.json instead")
    if not images:
        tokenizer = fetched(title, lambda: AutoTokenizer.from_pretrained(name))
        return Classifier(title, network.eval(), classes, None, _Tokenised(tokenizer, _longest(tokenizer, network)))
    processor = fetched(title, lambda: AutoImageProcessor.from_pretrained(name))
    return Classifier(title, network.eval(), classes, ImageKind("RGB", _side(processor)), _Processed(processor))


def _names(mapping: Any) -> set[str]:
    """Names of the architectures; some entries hold several."""
    found = [value if isinstance(value, (tuple, list)) else (value,) for value in mapping.values()]
    return {name for names in found for name in names}


@contextmanager
def _without_bar(name: str) -> Iterator[None]:
    """Show progress of a download only: a folder is read in a moment."""
    shown = logging.is_progress_bar_enabled() and Path(name).is_dir()
    if shown:
        logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _longest(tokenizer: Any, network: Any) -> int | None:
    """Tokens that a text may have; a tokenizer may know no limit where the network's table of positions has one."""
    positions = getattr(network.config, "max_position_embeddings", None) or 0
    # RoBERTa and its kin count positions from behind that of the padding.
    tables = [module for name, module in network.named_modules() if name.endswith("position_embeddings")]
    padding = [table.padding_idx for table in tables if getattr(table, "padding_idx", None) is not None]
    limits = [tokenizer.model_max_length, positions - max(padding, default=-1) - 1]
    return min((limit for limit in limits if 0 < limit < LARGE_INTEGER), default=None)


def _with_classes(config: Any, count: int | None) -> Any:
    if count is not None:
        config.num_labels = count
    return config


def _side(processor: Any) -> int:
    """Of an image that it takes as it is; one that names no size takes any."""
    size = processor.size or {}
    return int(next((size[key] for key in ("shortest_edge", "height", "longest_edge") if size.get(key)), _ANY_SIDE))
