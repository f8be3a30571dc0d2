import pytest
import torch

from gradmeter.research.gradient_gain.texts import LANGUAGES, LENGTH, UNKNOWN, Alphabet, known_texts, unknown_texts

pytest.importorskip("babel", reason="needs the package babel")


def test_texts_belong_to_one_language_and_unknown_ones_to_none() -> None:
    texts = known_texts()
    names = [name for name, _ in texts]
    assert len(set(names)) == len(names) > 5000
    assert {label for _, label in texts} == set(range(len(LANGUAGES)))
    assert dict(texts)["Deutschland"] == LANGUAGES.index("de")
    for language in UNKNOWN.values():
        others = unknown_texts(language)
        assert len(others) > 500
        assert not set(others) & set(names)


def test_tokens_are_padded_and_cut() -> None:
    alphabet = Alphabet(["ab", "bc"])
    assert len(alphabet) == 5
    tokens = alphabet.tokens(["abc", "x" * 100, ""])
    assert tokens.shape == (3, LENGTH)
    assert tokens.dtype == torch.int64
    assert tokens[0, :4].tolist() == [2, 3, 4, 0]
    assert tokens[1].tolist() == [1] * LENGTH
    assert tokens[2].sum() == 0
