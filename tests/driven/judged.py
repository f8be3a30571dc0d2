"""What every command that is driven is judged by, whatever it was given.

It ends in time, without a traceback, with a code that the documentation names, and says why where that is not 0; what
it prints cannot command a terminal; what this test made is as it was; nothing is written elsewhere; and every image of
DATA is in the output once, as a row or as skipped with a reason.
"""

import csv
import json
import os
import stat
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from driven.running import Ended
from driven.workplace import Workplace
from gradmeter.files import LOCK, is_temporary
from gradmeter.names import decode_name
from gradmeter.sources.samples.decoding import SUFFIXES

DONE, NO_PROMISE, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130
_CODES = {b"fit": (DONE, NO_PROMISE, BAD_INPUT)}


@dataclass(frozen=True)
class Images:
    """Of a folder, by their paths below it.

    Attributes:
        there: those that must be in an output.
        perhaps: what else has a name of an image, being a pipe, say, or lying where nothing can be looked at.
    """

    there: frozenset[bytes]
    perhaps: frozenset[bytes]


def judge_ending(ended: Ended, words: Sequence[bytes], encoding: str = "utf-8") -> None:
    """Judge how a command ended and what it said."""
    if ended.traceback is not None:
        raise AssertionError(f"it ended with a traceback: {ended.traceback!r}") from ended.traceback
    command = next((word for word in words if not word.startswith(b"-")), b"")
    assert ended.code in _CODES.get(command, (DONE, BAD_INPUT)), f"code {ended.code}: {ended.stderr!r}"
    for said in (ended.stdout, ended.stderr):
        text = said.decode(encoding)
        hidden = {character for character in text if not character.isprintable()} - {"\n"}
        assert not hidden, f"characters that are not printable, {hidden}, in {text!r}"
        assert "Traceback" not in text, text
    lines = ended.stderr.decode(encoding).splitlines()
    errors = [line for line in lines if line.startswith("gradmeter: ")]
    assert len(errors) == (ended.code != DONE), f"code {ended.code}, and said {lines}"
    if errors:
        assert lines[-1] == errors[0], lines
    assert not any("Warning: " in line for line in lines), lines


def judge_files(
    place: Workplace, before: dict[bytes, tuple[object, ...]], out: bytes | None, *, may_leave: bool = False
) -> None:
    """Judge what became of the files.

    Args:
        place: where it was typed.
        before: `Workplace.snapshot` before it was.
        out: the output of the command; None for one that writes none.
        may_leave: whether this command or one before was killed, and so may have left temporary files behind.
    """
    after = place.snapshot()
    changed = [path for path in before if after.get(path) != before[path]]
    lost = [path for path in changed if path in place.ours or not _belongs(path, out)]
    assert not lost, f"changed or gone: {lost}"
    elsewhere = [path for path in after if path not in before and not _belongs(path, out) and not _leads_to(path, out)]
    assert not elsewhere, f"written elsewhere: {elsewhere}"
    left = [path for path in after if is_temporary(Path(os.fsdecode(path))) and path not in place.ours]
    assert may_leave or not left, f"left behind: {left}"


def _belongs(path: bytes, out: bytes | None) -> bool:
    """Whether a path is an output, in it, or the note, the parts or the lock beside it."""
    if out is None:
        return False
    out = os.path.normpath(out)
    folder, name = os.path.split(out)
    hidden = [os.path.join(folder, b"." + name + end) for end in (b".json", os.fsencode(LOCK))]
    places = [out, out + b".parts", *hidden]
    if is_temporary(Path(os.fsdecode(path))):  # of a writer that was killed
        places = [os.path.join(folder, b"." + os.path.basename(one)) for one in places] + places
        return path.startswith(tuple(places))
    return any(path == one or path.startswith(one + b"/") for one in places)


def _leads_to(path: bytes, out: bytes | None) -> bool:
    """Whether an output lies below a path."""
    return out is not None and os.path.normpath(out).startswith(path + b"/")


def images_of(data: bytes) -> Images:
    """The images in a folder, by what docs/guide.md says of DATA."""
    there, perhaps = set(), set()
    for entry in _entries(data):
        for path in _walk(data, entry) if _is_folder(data, entry) else [entry]:
            if os.fsdecode(path).lower().endswith(SUFFIXES) and not any(
                part.startswith(b".") for part in path.split(b"/")
            ):
                (there if _is_file(os.path.join(data, path)) else perhaps).add(path)
    return Images(frozenset(there), frozenset(perhaps))


def judge_ids(ids: Sequence[str], images: Images, gone: Collection[bytes] = ()) -> None:
    """Judge that each image is there once.

    Args:
        ids: of an output, those that were skipped included.
        images: of DATA.
        gone: that an earlier run had in the output, and which are not in DATA any more.
    """
    paths = [os.fsencode(decode_name(one)) for one in ids]
    doubled = [path for path, count in Counter(paths).items() if count > 1]
    assert not doubled, f"more than once: {doubled}"
    lost = images.there - {*paths}
    assert not lost, f"lost: {lost}"
    unknown = {*paths} - images.there - images.perhaps - {*gone}
    assert not unknown, f"nobody knows where they come from: {unknown}"


def ids_of(out: Path) -> list[str]:
    """Of a finished output of measure or judge, those that were skipped included."""
    if out.suffix == ".csv":
        with out.open(encoding="utf-8", newline="") as file:
            rows = [row["id"] for row in csv.DictReader(file)]
        note = json.loads(out.with_name(f".{out.name}.json").read_text(encoding="utf-8"))
        return rows + [one["id"] for one in note["skipped"]]
    notes = [json.loads(path.read_bytes()) for path in sorted(out.glob("_part-*.json"))]
    rows = [one for path in sorted(out.glob("part-*.parquet")) for one in _column(path, "id")]
    assert sum(note["rows"] for note in notes) == len(rows)
    skipped = [one for note in notes for one in note["skipped"]]
    assert all(reason for _, reason in skipped)
    return rows + [one for one, _ in skipped]


def _column(path: Path, name: str) -> list[str]:
    # Arrow takes no name that is no UTF-8.
    with path.open("rb") as file:
        column: list[str] = pq.ParquetFile(file).read([name])[name].to_pylist()
        return column


def _entries(folder: bytes) -> list[bytes]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _is_folder(data: bytes, name: bytes) -> bool:
    return os.path.isdir(os.path.join(data, name))


def _is_file(path: bytes) -> bool:
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except OSError:
        return False


def _walk(data: bytes, folder: bytes) -> list[bytes]:
    return [
        os.path.relpath(os.path.join(where, name), data)
        for where, _, names in os.walk(os.path.join(data, folder))
        for name in names
    ]
