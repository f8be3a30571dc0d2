import base64
import hashlib
import json
from html.parser import HTMLParser

import pytest

from gradmeter.report.scripts import data_element, script


class Elements(HTMLParser):
    """Collects the tags and the text of the scripts."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


HOSTILE = ["</script><b>", "<!-- <script>", "]]>&amp;&lt;", "\u2028\u2029\u0000\"'\\", "é中"]


def test_names_in_data_cannot_end_their_element() -> None:
    parser = Elements()
    parser.feed(f"<script>{data_element(HOSTILE)}</script>")
    assert parser.tags == ["script"]
    assert json.loads(parser.text) == HOSTILE


def test_data_without_a_number_are_refused() -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        data_element([float("nan")])


def test_the_policy_names_exactly_this_script() -> None:
    joined = script("browser.js", "exploration.js")
    assert joined.text == script("browser.js").text + script("exploration.js").text
    digest = hashlib.sha256(str(joined.text).encode()).digest()
    assert joined.hash == f"'sha256-{base64.b64encode(digest).decode()}'"
    assert "</script" not in joined.text.lower()
    # Text of the data must not be interpreted as HTML.
    assert "innerHTML" not in joined.text
