"""A classifier of texts from files to decisions: it predicts the language of a name from Babel's data.

Babel has the names of territories, languages, scripts, currencies and time zones in many languages. A small BERT learns
to distinguish six languages with an accuracy of 88 %; Turkish and Finnish names are unknown inputs.
"""

import html
import json
import random
import subprocess
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from babel import Locale
from scipy.stats import binomtest
from sklearn.metrics import roc_auc_score
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from torch.utils.data import DataLoader
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

import forked
from apps.cli.commands import ENVIRONMENT
from apps.cli.quick import quick_main
from research.study.report.test_page import Page

pytestmark = [pytest.mark.slow, pytest.mark.exhaustive]

# Not in alphabetical order, so that the numbers of classes must come from the model's config.
LANGUAGES = ("sv", "pl", "it", "fr", "es", "de")
HELD, UNKNOWN, SHORTEST, LONGEST = 1000, 300, 10, 24
RISK = 0.1
QUICK = ("--repetitions", "100", "--json")


def names(language: str) -> set[str]:
    """Names that are long enough to recognise the language."""
    locale = Locale(language)
    groups = [locale.territories, locale.languages, locale.scripts, locale.variants, locale.currencies]
    groups += [zone.get("long", {}) for zone in locale.meta_zones.values()]
    return {name for group in groups for name in group.values() if isinstance(name, str) and len(name) >= SHORTEST}


def subword_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    tokenizer = Tokenizer(models.BPE(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.BpeTrainer(vocab_size=600, special_tokens=list(special.values()), show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    ends = [(name, tokenizer.token_to_id(name)) for name in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=LONGEST, **special)


def train(rows: Sequence[tuple[str, str]], folder: Path) -> None:
    """Train a BERT of a single layer, in a few seconds."""
    torch.manual_seed(0)
    tokenizer = subword_tokenizer(text for text, _ in rows)
    numbers = {language: number for number, language in enumerate(LANGUAGES)}
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        num_hidden_layers=1,
        num_attention_heads=4,
        intermediate_size=128,
        max_position_embeddings=LONGEST,
        id2label=dict(enumerate(LANGUAGES)),
        label2id=numbers,
    )
    network = BertForSequenceClassification(config)
    loader = DataLoader(rows, batch_size=64, shuffle=True, collate_fn=lambda batch: zip(*batch, strict=True))
    epochs = 3
    optimiser = torch.optim.AdamW(network.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 5e-3, total_steps=epochs * len(loader))
    for _ in range(epochs):
        for texts, languages in loader:
            tokens = tokenizer(list(texts), padding=True, truncation=True, return_tensors="pt")
            optimiser.zero_grad()
            network(**tokens, labels=torch.tensor([numbers[language] for language in languages])).loss.backward()
            optimiser.step()
            schedule.step()
    network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def write_numbered(path: Path, rows: Sequence[tuple[str | None, str | None]]) -> None:
    """Write a Parquet file as on the Hugging Face hub: labels are integers, and the metadata contain their names."""
    order = sorted(LANGUAGES)
    labels = [None if language is None else order.index(language) for _, language in rows]
    note = {"info": {"features": {"label": {"_type": "ClassLabel", "names": order}}}}
    table = pa.table({"text": [text for text, _ in rows], "label": pa.array(labels, pa.int64())})
    pq.write_table(table.replace_schema_metadata({"huggingface": json.dumps(note)}), path)


@pytest.fixture(scope="module")
def truth() -> dict[str, str]:
    """Names that belong to only one of the six languages -> that language, in random order."""
    by_language = {language: names(language) for language in LANGUAGES}
    count = Counter(name for group in by_language.values() for name in group)
    rows = sorted((name, language) for language, group in by_language.items() for name in group if count[name] == 1)
    random.Random(0).shuffle(rows)
    return dict(rows)


@pytest.fixture(scope="module")
def place(truth: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the model, a validation set, a test set of two files with unusual rows, and unknown inputs."""
    folder = tmp_path_factory.mktemp("texts")
    rows = list(truth.items())
    train(rows[2 * HELD :], folder / "model")
    validation = {"text": [text for text, _ in rows[:HELD]], "label": [language for _, language in rows[:HELD]]}
    pq.write_table(pa.table(validation), folder / "validation.parquet")
    (folder / "test").mkdir()
    write_numbered(folder / "test/prüfung-0.parquet", rows[HELD : HELD + 700])
    odd = [("", None), (None, "de"), ("très long " * 5000, None)]
    write_numbered(folder / "test/prüfung-1.parquet", [*rows[HELD + 700 : 2 * HELD], *odd])
    known = set().union(*map(names, LANGUAGES))
    for language, files in (("tr", ("unknown", "türkçe")), ("fi", ("suomi",))):
        others = sorted(names(language) - known)
        random.Random(0).shuffle(others)
        for number, name in enumerate(files):
            part = others[number * UNKNOWN :][:UNKNOWN]
            pq.write_table(pa.table({"text": part}), folder / f"{name}.parquet")
    return folder


def finished(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    done = forked.run(quick_main, [*map(str, arguments)], cwd=cwd, env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def fitted(place: Path) -> dict[str, Any]:
    data = ("--known", "validation.parquet", "--unknown", "unknown.parquet")
    done = finished("fit", "hf:model", *data, "--risk", RISK, "-o", "trust", *QUICK, cwd=place)
    assert "Loading weights" not in done.stderr
    record: dict[str, Any] = json.loads(done.stdout)
    return record


@pytest.fixture(scope="module")
def results(fitted: object, place: Path) -> dict[str, Any]:
    data = ("--known", "test", "--unknown", "türkçe.parquet", "--unknown", "suomi.parquet")
    record: dict[str, Any] = json.loads(
        finished("evaluate", "trust", *data, "-o", "evaluation", *QUICK, cwd=place).stdout
    )
    return record


@pytest.fixture(scope="module")
def judgements(results: object, place: Path) -> pd.DataFrame:
    return pd.read_parquet(place / "evaluation/judgements.parquet")


@pytest.fixture(scope="module")
def verdicts(fitted: object, truth: dict[str, str], place: Path) -> pd.DataFrame:
    """The verdicts on the test set, with the text and language of each."""
    done = finished("judge", "trust", "test", "-o", "verdicts.parquet", "--json", cwd=place)
    (skipped,) = json.loads(done.stdout)["skipped"]
    assert skipped["id"] == "prüfung-1.parquet:301"
    texts = {
        f"{path.name}:{row}": text
        for path in (place / "test").iterdir()
        for row, text in enumerate(pq.read_table(path)["text"].to_pylist())
    }
    table = pd.read_parquet(place / "verdicts.parquet")
    table["text"] = table["id"].map(texts)
    table["language"] = table["text"].map(truth)
    return table


def test_the_classifier_is_right_mostly_and_wrong_often_enough(results: dict[str, Any]) -> None:
    assert 0.05 < results["test_error"] < 0.2


def test_fit_learns_from_half_of_the_names(fitted: dict[str, Any]) -> None:
    learned = fitted["learned_from"]
    assert learned["right"] + learned["wrong"] == HELD / 2
    assert learned["unknown"] == UNKNOWN / 2
    assert fitted["refusal"] is None
    assert fitted["guarantee"]["errors"] / fitted["guarantee"]["accepted"] < RISK


def test_verdicts_are_those_of_the_evaluation(
    verdicts: pd.DataFrame, results: dict[str, Any], judgements: pd.DataFrame
) -> None:
    assert len(verdicts) == HELD + 2
    assert verdicts["p_correct"].between(0, 1).all()
    known = verdicts.dropna(subset="language")
    assert len(known) == HELD
    assert (known["prediction"] == known["language"]).mean() == pytest.approx(1 - results["test_error"])
    both = known.merge(judgements[judgements["concept"] == "test"], on="id", validate="one_to_one")
    assert len(both) == HELD
    assert ((both["prediction_x"] == both["language"]) == both["correct"]).all()
    assert both["p_correct_x"].to_numpy() == pytest.approx(both["p_correct_y"].to_numpy(), abs=1e-6)


def test_an_empty_text_and_a_long_one_are_judged(verdicts: pd.DataFrame) -> None:
    odd = verdicts[verdicts["language"].isna()]
    assert sorted(odd["text"].str.len()) == [0, 50_000]
    assert odd["accepted"].notna().all()


@pytest.mark.parametrize("column", ["wrong", "türkçe", "suomi", "wrong or unknown"])
def test_mistakes_and_other_languages_are_found(column: str, results: dict[str, Any], judgements: pd.DataFrame) -> None:
    right, known = judgements["correct"], judgements["concept"] == "test"
    members = {"wrong": known & ~right, "wrong or unknown": ~right}.get(column, judgements["concept"] == column)
    taken = right | members
    estimates = {
        estimate["method"]: estimate
        for estimate in results["estimates"]
        if (estimate["measure"], estimate["column"]) == ("auroc", column)
    }
    for method, score in (("P(correct)", "p_correct"), ("softmax", "softmax"), ("margin", "margin")):
        expected = roc_auc_score(right[taken], judgements[score][taken])
        assert estimates[method]["value"] == pytest.approx(expected)
    assert estimates["P(correct)"]["low"] > 0.7


@pytest.mark.parametrize("column", ["wrong", "türkçe"])
def test_the_risk_guarantee_holds(column: str, results: dict[str, Any], fitted: dict[str, Any]) -> None:
    """The guarantee was fitted with this share of Turkish names; fewer unknown inputs can only lower the risk.

    If the true error rate equals the guaranteed risk, the rate in a sample exceeds it half of the time. So the test
    asks whether the sample refutes the guarantee, with a false alarm rate of one in a thousand.
    """
    kept = results["promise"][column]
    assert kept["guarantee"] == fitted["guarantee"]
    assert kept["accepted"] > kept["samples"] / 3
    assert binomtest(kept["errors"], kept["accepted"], RISK, alternative="greater").pvalue > 0.001


def test_what_is_accepted_is_what_the_threshold_says(
    verdicts: pd.DataFrame, results: dict[str, Any], fitted: dict[str, Any]
) -> None:
    assert (verdicts["accepted"] == (verdicts["p_correct"] >= fitted["guarantee"]["threshold"])).all()
    accepted = verdicts.dropna(subset="language").query("accepted")
    kept = results["promise"]["wrong"]
    assert len(accepted) == kept["accepted"]
    assert (accepted["prediction"] != accepted["language"]).sum() == kept["errors"]


def test_the_report_shows_texts(judgements: pd.DataFrame, verdicts: pd.DataFrame, place: Path) -> None:
    text = (place / "evaluation/report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert (page.open, page.crossed) == ([], [])
    assert len(page.ids) == len(set(page.ids))
    assert all(link.startswith("https://") or link.removeprefix("#") in page.ids for link in page.links)
    # The page has figures, but no images of samples.
    assert [source.partition(";")[0] for source in page.sources] == ["data:image/svg+xml"] * 7
    assert page.tags.count("q") == 3 * 2 * 10
    known = judgements[judgements["concept"] == "test"]
    for end in (known["p_correct"].idxmin(), known["p_correct"].idxmax()):
        (shown,) = verdicts.loc[verdicts["id"] == known["id"][end], "text"]
        assert f'<q dir="auto">{shown}</q>' in html.unescape(text)
