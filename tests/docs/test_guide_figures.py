"""The guide's figures, columns, exit codes and names are those of the code; its tables agree with themselves."""

import ast
import math
import re
import tomllib

import pytest

from docs.code import ROOT, blocks
from gradmeter.apps.cli import exit_codes
from gradmeter.apps.workflows.verdict_files import COLUMNS
from gradmeter.runs.engines import ray
from gradmeter.runs.measuring import synthetic
from gradmeter.sources.samples import decode_name, decoding, encode_name, noise
from gradmeter.trust import calibrated, kind_shares, known_head, reads, risk, two_heads
from gradmeter.trust.synthetic import KINDS, sample

GUIDE = (ROOT / "docs/guide.md").read_text()
TEXT = " ".join(GUIDE.split())
NUMBERS = {2: "two", 5: "Five", 10: "ten", 120: "two minutes"}


def words(number: float) -> str:
    return NUMBERS.get(int(number), str(number))


# The guarantee's default confidence, and that of each sequence of tests.
CONFIDENCE = 0.95
OF_EACH = 1 - (1 - CONFIDENCE) / risk.SEQUENCES
# With so many calibration data and no error, the probability of that is small enough at a risk of 1 %.
LEAST_FOR_ONE_PERCENT = math.ceil(math.log(1 - OF_EACH) / math.log(0.99))
SECOND_LOOKS = f"{100 * known_head._SECOND_LOOKS:.0f} % of the known images"

STATEMENTS = [
    f"here {noise.COUNT:,} images of noise",
    f"`noise:uniform` or `noise:normal`: {noise.COUNT:,} generated images",
    f"They are of {len(KINDS)} kinds; each gets at least {sample._LEAST} images",
    f"and at most {sample.SAMPLED}. If this takes more than {words(synthetic._LONG)} seconds",
    f"with {100 * CONFIDENCE:.0f} % confidence, at most 2 % of the accepted predictions are wrong",
    f"{words(risk.SEQUENCES)} sequences of tests share the {100 * (1 - CONFIDENCE):.0f} % error probability, so each "
    f"runs at {100 * OF_EACH:.0f} % confidence. A risk of 1 % therefore needs at least {LEAST_FOR_ONE_PERCENT} ",
    f"the strictest that loses at most {100 * risk.COVERAGE_TOLERANCE:g} % of the largest coverage",
    f"below {risk.LEAST_PROBABILITY:g} (`--least-probability`)",
    # tests/trust/test_two_heads.py measures the factor 1.26.
    f"at most {126 * kind_shares._MOST:.2f} % ({100 * kind_shares._MOST:.0f} % without the most unusual known inputs)",
    f"at most {reads.PILOT:,} known inputs and {reads._PER_KIND * len(KINDS)} synthetic unknowns",
    f"fewer than {reads._LEAST_RIGHT} right or {reads._LEAST_WRONG} wrong predictions in the sample",
    f"Reading the sample stops after {words(reads._SECONDS)};",
    f"averaged for the {SECOND_LOOKS} with the least confident predictions",
    f"by more than {words(known_head._STANDARD_ERRORS)} standard errors",
    f"a second forward pass for {SECOND_LOOKS} is its price",
    f"larger than {decoding.LARGEST / 1e6:.0f} million pixels or one gigabyte, or more than {decoding.LONGEST} times",
    f'"gradmeter" (default) needs at least {two_heads.LEAST_KNOWN} right predictions',
    f"need at least {words(calibrated.LEAST)} right predictions, and {words(calibrated.LEAST)} that are wrong",
]


@pytest.mark.parametrize("statement", STATEMENTS)
def test_a_figure_is_that_of_the_code(statement: str) -> None:
    assert statement in TEXT


def section(title: str) -> str:
    """The text of a section of the guide."""
    (text,) = re.findall(rf"^##+ {re.escape(title)}\n(.*?)(?=^##|\Z)", GUIDE, re.DOTALL | re.MULTILINE)
    return str(text)


def rows(title: str) -> list[list[str]]:
    """The cells of the first table of a section, without its head."""
    lines = [line for line in section(title).splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_the_columns_of_verdicts() -> None:
    start, end = "with one row per readable image and these columns:", "Instead of the folder"
    listed = section("Judge: a verdict for every image").partition(start)[2].partition(end)[0]
    items = re.findall(r"^- (.*?)(?=^- |\Z)", listed.strip(), re.DOTALL | re.MULTILINE)
    named = [name for item in items for name in re.findall(r"`(\w+)`", item)]
    assert tuple(named) == COLUMNS


def test_every_command_opens_the_network_in_the_same_way() -> None:
    option = re.compile(r"--(?:weights|image-size|grey|mean|std)(?: [^-\s]\S*)?")
    lines = [line for language, text in blocks("docs/guide.md") if language == "sh" for line in text.splitlines()]
    opened = [option.findall(line) for line in lines if "timm:" in line]
    assert len(opened) > 2
    assert len({tuple(sorted(options)) for options in opened}) == 1


def test_the_exit_codes() -> None:
    codes = {value for name, value in vars(exit_codes).items() if name.isupper()}
    assert {int(code) for code, _ in rows("Errors and exit codes")} == codes | {0, ray._TERMINATED}


def test_the_results_on_real_data_agree_with_themselves() -> None:
    table = rows("Results on real data")
    assert len(table) == 7
    for name, ours, softmax, interval in table:
        low, high = map(float, interval.split(" to "))
        # Each of the two is rounded to 0.005.
        assert low - 0.01 <= float(ours) - float(softmax) <= high + 0.01, name
    text = " ".join(section("Results on real data").split())
    accepted, wrong, share = re.findall(r"([\d,]+) were accepted, and (\d+) of them are wrong \((.*?) %\)", text)[0]
    assert f"{100 * int(wrong) / int(accepted.replace(',', '')):.2f}" == share


def test_the_lines_of_judge_agree_with_themselves() -> None:
    ((_, content),) = [block for block in blocks("docs/guide.md") if block[0] == "text"]
    p_correct = dict[str, list[float]]()
    for line in content.splitlines():
        known, correct = (float(re.findall(rf"{re.escape(name)}=([\d.]+)", line)[0]) for name in ("known)", "correct)"))
        assert correct <= known
        p_correct.setdefault(line.partition("accept")[1] or "abstain", []).append(correct)
    assert min(p_correct["accept"]) > max(p_correct["abstain"])


def test_the_results_beside_python_are_those_of_the_code() -> None:
    checked = 0
    for language, content in blocks("docs/guide.md"):
        for call, result in re.findall(r"^((?:en|de)code_name\(.*\))  # ('.*?')", content, re.MULTILINE):
            assert language == "python"
            assert eval(call, {"encode_name": encode_name, "decode_name": decode_name}) == ast.literal_eval(result)
            checked += 1
    assert checked == 2


@pytest.mark.parametrize("page", ["README.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md")))])
def test_the_extras_that_a_page_installs_exist(page: str) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = re.findall(r"(?:gradmeter|\.)\[([\w,]+)\]", (ROOT / page).read_text())
    assert {extra for names in named for extra in names.split(",")} <= {*extras}
