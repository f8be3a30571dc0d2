"""A command that was killed before any of its file changes and is run again gives the same result as without it."""

import json
import signal
from functools import cache

import pyarrow.parquet as pq
import pytest
from hypothesis import settings
from hypothesis import strategies as st

from driven.children import Blow, Child
from driven.contents import contents
from driven.judged import INTERRUPTED, ids_of, images_of, judge_ending, judge_files, judge_ids
from driven.tiers import drive, tiers
from driven.workplace import FIT, IMAGES, MODEL, NAMED, Workplace, workplace

pytestmark = pytest.mark.slow

COUNT = 9
MEASURE = (b"measure", *MODEL, *IMAGES, b"data", b"--no-labels", b"--out=o")
COMMANDS = {
    "measure": MEASURE,
    "judge": (b"judge", *NAMED, b"trust", b"data", b"--out=o"),
    "judge to CSV": (b"judge", *NAMED, b"trust", b"data", b"--out=o.csv"),
    "fit": (*FIT, b"--known=known", b"--unknown=noise:uniform:20", b"--out=o"),
}
BLOWS = st.builds(
    Blow, st.sampled_from([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT]), st.integers(1, 60)
)


def fill(place: Workplace) -> None:
    """Write digits, one of which cannot be read."""
    place.make_folder(b"data")
    for number in range(COUNT):
        place.write(b"data/%d.png" % number, contents()[f"digit {number}" if number != 4 else "cut"])


def result(place: Workplace, out: bytes) -> object:
    """The content of an output, without parts that differ between runs."""
    path = place.folder / out.decode()
    if path.suffix == ".csv":
        return path.read_bytes(), sorted(ids_of(path))
    if (path / "trust.json").exists():
        content = json.loads((path / "trust.json").read_text().replace(str(place.folder), "."))
        for changing in ("estimator", "checksum"):  # the bytes written by skops differ between runs
            del content[changing]
        for data in content["notes"]["learned_from"]:
            del data["place"]
        return content, len([*path.glob("estimator-*")]), sorted(ids_of(path / "readings/known.parquet"))
    return pq.read_table(path).to_pydict(), ids_of(path)


def strike(place: Workplace, words: tuple[bytes, ...], blow: Blow) -> None:
    """Run a command that gets a signal; it may only report an interruption, and must not change other files."""
    out = words[-1].partition(b"=")[2]
    place.lines.append(f"# {blow.number.name} before change {blow.at} of a file, of:")
    place.lines.append("gradmeter " + " ".join(word.decode() for word in words))
    before = place.snapshot()
    ended = Child(words, place.folder, blow).wait()
    if ended is not None and ended.code == INTERRUPTED:
        assert ended.traceback is None
        assert b"Traceback" not in ended.stderr
    elif ended is not None:
        judge_ending(ended, words)
    judge_files(place, before, out, may_leave=True)


def end(place: Workplace, words: tuple[bytes, ...]) -> object:
    """Run a command to its end and return its result."""
    out = words[-1].partition(b"=")[2]
    before = place.snapshot()
    ended = place.type(words)
    judge_ending(ended, words)
    assert ended.code == 0, ended.stderr
    judge_files(place, before, out)
    if words[0] != b"fit":
        judge_ids(ids_of(place.folder / out.decode()), images_of(place.path(b"data")))
    return result(place, out)


@cache
def undisturbed(name: str) -> object:
    """The result of a command that is not interrupted."""
    with workplace() as place:
        fill(place)
        return end(place, COMMANDS[name])


@tiers(few=3, many=300, is_fast=False)
def test_killed_and_typed_again(cases: settings) -> None:
    def body(name: str, blows: list[Blow]) -> None:
        with workplace() as place:
            fill(place)
            for blow in blows:
                strike(place, COMMANDS[name], blow)
            assert end(place, COMMANDS[name]) == undisturbed(name)

    drive(cases, body, name=st.sampled_from(sorted(COMMANDS)), blows=st.lists(BLOWS, min_size=1, max_size=3))
