"""Checks that hold for every command, whatever its arguments.

It ends in time, without a traceback, with a documented exit code, and with an error message if the code is not 0. Its
output contains no terminal escapes. Files of the test are unchanged, and nothing is written outside the output. Every
image in DATA is in the output once, as a row or as skipped with a reason.
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
from gradmeter.files import LOCK, is_incidental
from gradmeter.names import decode_name
from gradmeter.sources.samples.decoding import SUFFIXES

DONE, NO_PROMISE, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130
_CODES = {b"fit": (DONE, NO_PROMISE, BAD_INPUT)}


@dataclass(frozen=True)
class Images:
    """The images in a folder, by their paths relative to it.

    Attributes:
        required: images that must be in an output.
        possible: other paths with the name of an image, such as pipes and unreadable files.
    """

    required: frozenset[bytes]
    possible: frozenset[bytes]


def judge_ending(ended: Ended, words: Sequence[bytes], encoding: str = "utf-8") -> None:
    """Check the exit code and the output of a command."""
    if ended.traceback is not None:
        raise AssertionError(f"the command ended with a traceback: {ended.traceback!r}") from ended.traceback
    command = next((word for word in words if not word.startswith(b"-")), b"")
    assert ended.code in _CODES.get(command, (DONE, BAD_INPUT)), f"code {ended.code}: {ended.stderr!r}"
    for output in (ended.stdout, ended.stderr):
        text = output.decode(encoding)
        unprintable = {character for character in text if not character.isprintable()} - {"\n"}
        assert not unprintable, f"unprintable characters {unprintable} in {text!r}"
        assert "Traceback" not in text, text
    lines = ended.stderr.decode(encoding).splitlines()
    errors = [line for line in lines if line.startswith("gradmeter: ")]
    assert len(errors) == (ended.code != DONE), f"code {ended.code} with the output {lines}"
    if errors:
        assert lines[-1] == errors[0], lines
    assert not any("Warning: " in line for line in lines), lines


def judge_files(
    place: Workplace, before: dict[bytes, tuple[object, ...]], out: bytes | None, *, may_leave: bool = False
) -> None:
    """Check which files a command changed.

    Args:
        place: the folder in which it ran.
        before: `Workplace.snapshot` before the command.
        out: the output of the command; None if it has no output.
        may_leave: whether a command was killed, and so may have left temporary files.
    """
    after = place.snapshot()
    changed = [path for path in before if after.get(path) != before[path]]
    lost = [path for path in changed if path in place.ours or not _belongs(path, out)]
    assert not lost, f"changed or removed: {lost}"
    elsewhere = [path for path in after if path not in before and not _belongs(path, out) and not _contains(path, out)]
    assert not elsewhere, f"written outside the output: {elsewhere}"
    leftovers = [path for path in after if is_incidental(Path(os.fsdecode(path))) and path not in place.ours]
    assert may_leave or not leftovers, f"temporary files left behind: {leftovers}"


def _belongs(path: bytes, out: bytes | None) -> bool:
    """Whether a path is an output, inside it, or its metadata, parts or lock file beside it."""
    if out is None:
        return False
    out = os.path.normpath(out)
    folder, name = os.path.split(out)
    hidden = [os.path.join(folder, b"." + name + end) for end in (b".json", os.fsencode(LOCK))]
    places = [out, out + b".parts", *hidden]
    if is_incidental(Path(os.fsdecode(path))):  # a killed process left it
        places = [os.path.join(folder, b"." + os.path.basename(place)) for place in places] + places
        return path.startswith(tuple(places))
    return any(path == place or path.startswith(place + b"/") for place in places)


def _contains(path: bytes, out: bytes | None) -> bool:
    """Whether a path is a parent folder of an output."""
    return out is not None and os.path.normpath(out).startswith(path + b"/")


def images_of(data: bytes) -> Images:
    """The images in a folder, according to docs/guide.md."""
    required, possible = set(), set()
    for entry in _entries(data):
        for path in _walk(data, entry) if _is_folder(data, entry) else [entry]:
            if os.fsdecode(path).lower().endswith(SUFFIXES) and not any(
                part.startswith(b".") for part in path.split(b"/")
            ):
                (required if _is_file(os.path.join(data, path)) else possible).add(path)
    return Images(frozenset(required), frozenset(possible))


def judge_ids(ids: Sequence[str], images: Images, gone: Collection[bytes] = ()) -> None:
    """Check that an output contains each image once.

    Args:
        ids: the ids in the output, including skipped images.
        images: the images in DATA.
        gone: images that an earlier run wrote to the output and that were then removed from DATA.
    """
    paths = [os.fsencode(decode_name(sample)) for sample in ids]
    repeated = [path for path, count in Counter(paths).items() if count > 1]
    assert not repeated, f"more than once: {repeated}"
    missing = images.required - {*paths}
    assert not missing, f"missing: {missing}"
    unknown = {*paths} - images.required - images.possible - {*gone}
    assert not unknown, f"not in DATA: {unknown}"


def ids_of(out: Path) -> list[str]:
    """The ids in a finished output of measure or judge, including skipped images."""
    if out.suffix == ".csv":
        with out.open(encoding="utf-8", newline="") as file:
            rows = [row["id"] for row in csv.DictReader(file)]
        note = json.loads(out.with_name(f".{out.name}.json").read_text(encoding="utf-8"))
        return rows + [skipped["id"] for skipped in note["skipped"]]
    notes = [json.loads(path.read_bytes()) for path in sorted(out.glob("_part-*.json"))]
    rows = [sample for path in sorted(out.glob("part-*.parquet")) for sample in _column(path, "id")]
    assert sum(note["rows"] for note in notes) == len(rows)
    skipped = [entry for note in notes for entry in note["skipped"]]
    assert all(reason for _, reason in skipped)
    return rows + [sample for sample, _ in skipped]


def _column(path: Path, name: str) -> list[str]:
    # Arrow cannot open a path that is not valid UTF-8, so Python opens it.
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
