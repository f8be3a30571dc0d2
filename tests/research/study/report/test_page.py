import json
import re
from html.parser import HTMLParser

import pytest

from gradmeter.errors import DataError, OutputError
from gradmeter.research.study.report import write_report

VOID = {"meta", "link", "img", "br", "source", "input"}


class Page(HTMLParser):
    """Collects tags, ids and links, and tags that do not close in order."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.ids, self.links, self.sources, self.open, self.crossed = [], [], [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.tags.append(tag)
        self.ids += [attributes["id"]] if "id" in attributes else []
        self.links += [attributes["href"]] if tag == "a" else []
        self.sources += [attributes["src"]] if "src" in attributes else []
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if self.open.pop() != tag:
            self.crossed.append(tag)


@pytest.fixture
def text(study):
    return write_report(study).read_text(encoding="utf-8")


def test_page_is_well_formed_and_every_inner_link_has_a_target(text):
    page = Page(text)
    assert page.open == []
    assert page.crossed == []
    assert page.tags.count("h1") == 1
    assert len(page.ids) == len(set(page.ids))
    inner = [link[1:] for link in page.links if link.startswith("#")]
    assert len(inner) >= 14
    assert set(inner) <= set(page.ids)


def test_the_threshold_is_there_with_the_names_of_the_concepts(make_study, tmp_path):
    study = make_study(tmp_path / "demo", explored=True)
    text = write_report(study).read_text(encoding="utf-8")
    page = Page(text)
    assert page.open == []
    assert page.crossed == []
    assert page.tags.count("script") == 2
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.ids)
    data = json.loads(re.search(r'id="exploration">(.*?)</script>', text, re.DOTALL)[1])
    assert [group["name"] for group in data["groups"]] == ["right", "wrong", "EMNIST letters"]
    table = text.partition('id="group-counts"')[2].partition("</table>")[0]
    assert '<th scope="row">EMNIST letters</th><td>20</td>' in table


@pytest.mark.parametrize("content", ["{", "[]", '{"groups": [{}]}', "{}"])
def test_a_damaged_exploration_is_named(make_study, tmp_path, content):
    study = make_study(tmp_path / "demo", explored=True)
    (study / "results/00-exploration.json").write_text(content)
    with pytest.raises(DataError, match=r"00-exploration\.json"):
        write_report(study)


@pytest.mark.slow
def test_page_is_self_contained(make_study, tmp_path):
    path = write_report(make_study(tmp_path / "demo", figures=True))
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    assert "script" not in page.tags
    assert len(page.sources) == 6
    assert all(source.startswith("data:image/svg+xml;base64,") for source in page.sources)
    assert not re.search(r"@import|url\(", text)
    assert path.stat().st_size < 4_000_000


@pytest.mark.parametrize(
    "expected",
    [
        "demo",
        "1.49 (0.02)",  # mean of 1.40 .. 1.58 and its standard error, by hand
        "EMNIST digits",
        "60,000 / 20,000 / 56,896",
        "GLM is worst, &lt;b&gt;regularised&lt;/b&gt; regressions best.",
        'class="verdict fails"><span aria-hidden="true">✗</span> does not hold',
        'class="verdict holds"><span aria-hidden="true">✓</span> holds',
        "no counterpart in the embedded data",
        "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "25 min 10 s",
        "arXiv:1805.08440",
        "EMNIST letters at 9.20 %",
        "conv1+conv2+conv3+dense",
        "Table 3, difference to the softmax baseline",
        "Figure 1 was not drawn.",
    ],
)
def test_page_shows(text, expected):
    assert expected in text


def test_same_folder_same_bytes(study):
    assert write_report(study).read_bytes() == write_report(study).read_bytes()


def test_names_are_escaped(make_study, tmp_path):
    text = write_report(make_study(tmp_path / "x", name="<script>alert(1)</script>")).read_text(encoding="utf-8")
    assert "<script>" not in text
    assert "&lt;script&gt;alert(1)" in text


def test_one_run_says_that_there_is_no_interval(make_study, tmp_path):
    text = write_report(make_study(tmp_path / "one", runs=1)).read_text(encoding="utf-8")
    assert "single run" in text
    assert "Table 3, difference to the softmax baseline" not in text
    assert not re.search(r"\bnan\b", text, re.IGNORECASE)


def test_a_bare_manifest_still_makes_a_page(tmp_path):
    (tmp_path / "manifest.json").write_text("{}")
    page = Page(write_report(tmp_path).read_text(encoding="utf-8"))
    assert page.open == []
    assert "table" not in page.tags


def test_a_failure_leaves_the_old_report(study):
    path = write_report(study)
    before = path.read_bytes()
    (study / "claims.csv").write_text("claim\n")
    with pytest.raises(DataError):
        write_report(study)
    assert path.read_bytes() == before
    assert not list(study.glob(".*"))


def test_a_report_that_cannot_be_written_is_named(study):
    (study / "report.html").mkdir()
    with pytest.raises(OutputError, match=r"report\.html"):
        write_report(study)


def test_manifest_values_are_formatted(study):
    manifest = json.loads((study / "manifest.json").read_text())
    manifest["options"] = {"fresh": True, "root": None, "alphas": [0.5, 1], "seed": 10_000, "limits": {"low": 1}}
    (study / "manifest.json").write_text(json.dumps(manifest))
    text = write_report(study).read_text(encoding="utf-8")
    for shown in ("<dd>yes</dd>", "<dd>none</dd>", "<dd>0.5, 1</dd>", "<dd>10,000</dd>", "<dd>low: 1</dd>"):
        assert shown in text
