"""Names of arbitrary bytes survive encoding, and are shown in one line."""

import os
import pickle
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradmeter.errors import DataError, InputError, OutputError, UnsupportedModelError
from gradmeter.names import listed, printable
from gradmeter.sources.samples import decode_name, encode_name

# Parts of escapes, to generate them often.
PIECES = st.sampled_from(
    ["\\", "\\\\", "x", "xff", "x80", "ud800", "\udcff", "\udc80", "\ud800", "\n", "\x1b", "é", "/"]
)
TEXTS = st.lists(PIECES | st.text(max_size=3), max_size=8).map("".join)


@given(name=TEXTS | st.binary(max_size=12).map(os.fsdecode))
def test_a_name_comes_back_and_can_be_written(name: str) -> None:
    encoded = encode_name(name)
    encoded.encode()
    assert decode_name(encoded) == name


@given(first=TEXTS, second=TEXTS)
def test_different_names_stay_different(first: str, second: str) -> None:
    assert (encode_name(first) == encode_name(second)) == (first == second)


@pytest.mark.parametrize(
    "name", ["cat/1.png", "a b", "日本.png", "C:\\photos\\x.png", "\\n", "[red]", ":x:", "a\nb", "\u202e", "", "\\xFF"]
)
def test_ordinary_names_are_left_as_they_are(name: str) -> None:
    assert encode_name(name) == name


@pytest.mark.parametrize(
    ("raw", "encoded"),
    [
        (b"\xff.png", "\\xff.png"),
        (b"\\xff.png", "\\\\xff.png"),
        (b"\\\xff", "\\\\\\xff"),
        (b"caf\xe9", "caf\\xe9"),
        (b"\\x\xff", "\\x\\xff"),
    ],
)
def test_bytes_that_are_no_utf_8(raw: bytes, encoded: str) -> None:
    assert encode_name(os.fsdecode(raw)) == encoded


@given(text=TEXTS | st.text())
def test_what_is_shown_is_one_printable_line_and_stays_so(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    assert printable(shown) == shown
    assert not text.isprintable() or shown == text


def test_what_a_terminal_would_obey_is_escaped() -> None:
    assert printable("a\nb\x1b[1m\x9b\u202e\u2028\udcff") == "a\\nb\\x1b[1m\\u009b\\u202e\\u2028\\xff"


@pytest.mark.parametrize("kind", [DataError, InputError, OutputError, UnsupportedModelError])
def test_an_error_is_one_line_and_what_others_add_stays_behind_it(kind: type[Exception]) -> None:
    error = kind("a\nb \udcff")
    assert str(error) == "a\\nb \\xff"
    error.args = (f"{error.args[0]}\nadded",)
    sent = pickle.loads(pickle.dumps(error))
    assert type(sent) is kind
    assert str(sent).split("\n") == ["a\\nb \\xff", "added"]


@pytest.mark.parametrize(
    ("names", "text"),
    [([], ""), (["cat"], "cat"), ([1, 2], "1, 2"), ("abc", "a, b and 1 more"), (range(2000), "0, 1 and 1,998 more")],
)
def test_long_lists_end_with_the_number_of_the_rest(names: Sequence[object], text: str) -> None:
    assert listed(names, 2) == text
