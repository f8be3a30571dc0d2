"""Random sequences of changes to a folder, with `measure` and `judge` in between."""

import json
import os
import stat
from pathlib import Path

import pytest
from hypothesis import event, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from driven.contents import contents
from driven.judged import DONE, ids_of, images_of, judge_ending, judge_files, judge_ids
from driven.names import LONGEST, image_names, names
from driven.privileges import unprivileged
from driven.tiers import drive_machine, tiers
from driven.workplace import IMAGES, MODEL, NAMED, Workplace, script

pytestmark = pytest.mark.slow

MODES = (0o000, 0o111, 0o222, 0o444, 0o555, 0o644, 0o755)
ENCODINGS = st.sampled_from(["utf-8"] * 6 + ["cp1252", "latin-1"])
MORE = st.sampled_from([(), (), (), (b"--json",), (b"--fresh",), (b"--fresh", b"--json")])
places = st.integers(0, 1000)


class Folder(RuleBasedStateMachine):
    """Files in DATA and in outputs are added, removed and damaged; commands read DATA."""

    def __init__(self) -> None:
        super().__init__()
        self.place = Workplace()
        # Images that each output may contain, including images that were removed since.
        self.seen: dict[bytes, set[bytes]] = {}

    def teardown(self) -> None:
        note(script(self.place))
        self.place.delete()

    @initialize(data=names, count=st.integers(1, 9), is_flat=st.booleans())
    def begin(self, data: bytes, count: int, is_flat: bool) -> None:
        """Create a folder of images, or a folder with two class folders."""
        while os.path.lexists(self.place.path(data)) or data.startswith(b"noise:"):
            data = b"~" + data[1:]
        self.data, self.is_flat = data, is_flat
        self.place.make_folder(data)
        for number in range(count):
            folder = b"" if is_flat else (b"cat/", b"dog/")[number % 2]
            self.place.make_folder(data + b"/" + folder.rstrip(b"/") if folder else data)
            self.place.write(data + b"/" + folder + b"%d.png" % number, contents()[f"digit {number}"])

    @rule(where=places, name=image_names, content=st.sampled_from(sorted(contents())))
    def add_image(self, where: int, name: bytes, content: str) -> None:
        """Add an image in a valid folder: images beside class folders are an error."""
        if path := self.free(where, name, is_image=True):
            self.place.write(path, contents()[content])

    @rule(where=places, name=names)
    def add_something(self, where: int, name: bytes) -> None:
        if path := self.free(where, name):
            self.place.write(path, b"mine\n")

    @rule(where=places, name=names | image_names)
    def add_folder(self, where: int, name: bytes) -> None:
        if (path := self.free(where, name)) and path.count(b"/") < 4:
            self.place.make_folder(path)

    @rule(where=places, name=image_names, kind=st.sampled_from(["fifo", "socket"]))
    def add_special(self, where: int, name: bytes, kind: str) -> None:
        if path := self.free(where, name):
            (self.place.fifo if kind == "fifo" else self.place.socket)(path)

    @rule(where=places, name=names | image_names, aim=st.sampled_from([b"nowhere", b".", b"..", b"/dev/zero"]))
    def add_odd_link(self, where: int, name: bytes, aim: bytes) -> None:
        if path := self.free(where, name):
            self.place.link(path, aim)

    @rule(where=places, name=names | image_names, aim=places)
    def add_link(self, where: int, name: bytes, aim: int) -> None:
        """Link to something in DATA, possibly to a parent folder or to the link itself."""
        if path := self.free(where, name):
            self.place.link(path, os.path.relpath(self.chosen(aim), os.path.dirname(path)))

    @rule(which=places, name=names | image_names)
    def rename(self, which: int, name: bytes) -> None:
        old = self.chosen(which)
        new = os.path.join(os.path.dirname(old), name)
        if old != self.data and not os.path.lexists(self.place.path(new)):
            self.place.rename(old, new)

    @rule(which=places)
    def remove(self, which: int) -> None:
        if (path := self.chosen(which)) != self.data:
            self.place.remove(path)

    @rule(which=places, content=st.sampled_from(sorted(contents())))
    def change(self, which: int, content: str) -> None:
        path = self.chosen(which)
        if stat.S_ISREG(os.lstat(self.place.path(path)).st_mode):
            self.place.write(path, contents()[content])

    @rule(which=places, mode=st.sampled_from(MODES))
    def permit(self, which: int, mode: int) -> None:
        path = self.chosen(which)
        if not os.path.islink(self.place.path(path)):
            self.place.modes[path] = mode

    @precondition(lambda self: self.seen)
    @rule(which=places, name=names, where=st.sampled_from([b"%b/%b", b"%b/%b", b"%b", b"%b.parts/%b", b".%b.json"]))
    def add_to_output(self, which: int, name: bytes, where: bytes) -> None:
        """Add a file of the user inside an output folder, in its place, or beside it."""
        out = sorted(self.seen)[which % len(self.seen)]
        path = where % (out, name) if where.count(b"%b") == 2 else where % out
        folder = os.path.dirname(path)
        if len(os.path.basename(path)) > LONGEST or os.path.lexists(self.place.path(path)):
            return
        if folder.endswith(b".parts"):
            os.makedirs(self.place.path(folder), exist_ok=True)
        if os.path.isdir(self.place.path(folder)):
            self.place.write(path, b"mine\n")

    @precondition(lambda self: self.seen)
    @rule(which=places, file=places, how=st.sampled_from(["cut", "remove", "empty", "object", "text"]))
    def damage_output(self, which: int, file: int, how: str) -> None:
        """Truncate, remove or replace a file that a command wrote."""
        out = sorted(self.seen)[which % len(self.seen)]
        written = [path for path in self.place.paths() if path not in self.place.ours and path.startswith(out)]
        written = [path for path in written if os.path.isfile(self.place.path(path))]
        if not written:
            return
        path = written[file % len(written)]
        if how == "remove":
            self.place.remove(path)
        else:
            with open(self.place.path(path), "rb") as stream:
                content = stream.read()
            new = {"cut": content[: len(content) // 2], "empty": b"", "object": b"{}", "text": b"mine\n"}[how]
            self.place.damage(path, new)

    @rule(
        out=st.sampled_from([b"r", b"r", b"-r"]) | names,
        more=MORE,
        encoding=ENCODINGS,
        labels=st.sampled_from([True, False, False, False]),
    )
    def measure(self, out: bytes, more: tuple[bytes, ...], encoding: str, labels: bool) -> None:
        words = [
            b"measure",
            *IMAGES,
            *more,
            *([b"--labels"] if labels else [b"--no-labels"]),
            b"--out=" + out,
            *MODEL[1:],
        ]
        self.command([*words, b"--", MODEL[0], self.data], out, encoding)

    @rule(out=st.sampled_from([b"v", b"v.csv", b"v.csv", b"--v.csv"]) | names, more=MORE, encoding=ENCODINGS)
    def judge(self, out: bytes, more: tuple[bytes, ...], encoding: str) -> None:
        self.command([b"judge", *NAMED, *more, b"--out=" + out, b"--", b"trust", self.data], out, encoding)

    @rule(as_json=st.booleans(), encoding=ENCODINGS)
    def judge_to_the_terminal(self, as_json: bool, encoding: str) -> None:
        words = [b"judge", *NAMED, *([b"--json"] if as_json else []), b"--", b"trust", self.data]
        stdout = self.command(words, None, encoding)
        if stdout is not None and as_json:
            judge_ids([json.loads(line)["id"] for line in stdout.split("\n")[:-1]], self.images)

    @rule(which=places, as_json=st.booleans())
    def judge_one(self, which: int, as_json: bool) -> None:
        words = [b"judge", *NAMED, *([b"--json"] if as_json else []), b"--", b"trust", self.chosen(which)]
        self.command(words, None)

    def command(self, words: list[bytes], out: bytes | None, encoding: str = "utf-8") -> str | None:
        """Run a command and check its ending, files and ids; return its standard output if it succeeded."""
        before = self.place.snapshot()
        with self.place.permissions():
            ended = self.place.type(words, encoding)
            with unprivileged():
                self.images = images_of(self.place.path(self.data))
        event(f"{words[0].decode()}: {ended.code}")
        judge_ending(ended, words, encoding)
        judge_files(self.place, before, out)
        if out is not None and any(path not in self.place.ours for path in self.within(out)):
            gone = self.seen.get(out, set())
            if ended.code == DONE:
                ids = ids_of(Path(os.fsdecode(self.place.path(out))))
                judge_ids(ids, self.images, () if b"--fresh" in words else gone)
            self.seen[out] = {*self.images.required, *self.images.possible, *gone}
        return ended.stdout.decode(encoding) if ended.code == DONE else None

    def within(self, out: bytes) -> list[bytes]:
        return [path for path in self.place.paths() if path == out or path.startswith(out + b"/")]

    def chosen(self, which: int) -> bytes:
        """A path in DATA, or DATA itself."""
        prefix = self.data + b"/"
        paths = [self.data, *sorted(path for path in self.place.ours if path.startswith(prefix))]
        return paths[which % len(paths)]

    def free(self, where: int, name: bytes, *, is_image: bool = False) -> bytes | None:
        """A path in a folder of DATA that does not exist; None if it exists."""
        folders = [path for path in self.folders() if path == self.data or path.startswith(self.data + b"/")]
        if is_image:
            folders = [self.data] if self.is_flat else folders[1:] or folders
        path = folders[where % len(folders)] + b"/" + name
        return None if os.path.lexists(self.place.path(path)) else path

    def folders(self) -> list[bytes]:
        real = [path for path in sorted(self.place.ours) if not os.path.islink(self.place.path(path))]
        return [path for path in real if os.path.isdir(self.place.path(path))]


@tiers(few=5, many=800)
def test_a_folder_that_changes(cases: settings) -> None:
    drive_machine(cases, Folder, steps=25)
