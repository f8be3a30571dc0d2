"""Where commands are typed: a folder with a network, a TrustModel for it, and files that this test made.

    PYTHONPATH=tests python -m driven.workplace FOLDER

makes one in which the lines that a failing case prints can be typed.
"""

import atexit
import base64
import os
import shlex
import shutil
import socket
import stat
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from safetensors.torch import save_file

from driven.contents import contents
from driven.running import Ended, run
from trust.trained import trained

MODULE = '''"""A network as a user would bring one."""

from torch import nn


def network():
    return nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(72, 24), nn.ReLU(), nn.Linear(24, 10)
    )
'''
MODEL = (b"driven_network:network", b"--weights=weights.safetensors", b"--classes=0,1,2,3,4,5,6,7,8,9")
IMAGES = (b"--image-size=8", b"--grey", b"--device=cpu")
NAMED = (b"--model=driven_network:network", b"--weights=weights.safetensors", b"--device=cpu")
FIT = (b"fit", *MODEL, *IMAGES, b"--classifier=ridge", b"--repetitions=100")


class Workplace:
    """A folder, whose every change is noted as a line of a shell.

    Attributes:
        folder: its path.
        lines: what a shell would have been typed so far.
        ours: paths, seen from the folder, of what this test made, and no command may change.
        modes: of paths whose permissions are others while a command runs.
    """

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="driven-"))
        self.lines: list[str] = []
        self.ours: set[bytes] = set()
        self.modes: dict[bytes, int] = {}
        shutil.copytree(prepared(), self.folder, dirs_exist_ok=True)
        self.ours.update(self.paths())

    def path(self, name: bytes) -> bytes:
        """Of what is called so in the folder."""
        return os.path.join(os.fsencode(self.folder), name)

    def paths(self) -> list[bytes]:
        """Of all that lies in the folder, seen from there."""
        base = os.fsencode(self.folder)
        return sorted(
            os.path.relpath(os.path.join(where, name), base)
            for where, folders, files in os.walk(base)
            for name in (*folders, *files)
        )

    def snapshot(self) -> dict[bytes, tuple[object, ...]]:
        """What every path is: kind, permissions, and content or target."""
        return {path: _look(self.path(path)) for path in self.paths()}

    def make_folder(self, name: bytes) -> None:
        """Make a folder, those above it included."""
        self._note("mkdir -p", b"./" + name)
        os.makedirs(self.path(name), exist_ok=True)
        parts = name.split(b"/")
        self._own(*(b"/".join(parts[:depth]) for depth in range(1, len(parts) + 1)))

    def write(self, name: bytes, content: bytes) -> None:
        """Write a file."""
        self.lines.append(f"base64 -d <<< '{base64.b64encode(content).decode()}' > {_quoted(b'./' + name)}")
        with open(self.path(name), "wb") as file:
            file.write(content)
        self._own(name)

    def link(self, name: bytes, target: bytes) -> None:
        """Make a symbolic link."""
        self._note("ln -s --", target, b"./" + name)
        os.symlink(target, self.path(name))
        self._own(name)

    def fifo(self, name: bytes) -> None:
        """Make a pipe with a name."""
        self._note("mkfifo", b"./" + name)
        os.mkfifo(self.path(name))
        self._own(name)

    def socket(self, name: bytes) -> None:
        """Make a socket with a name, which it cannot have at once: that of a socket's address is short."""
        temporary = b"s"
        self.lines.append(
            f"python3 -c \"import socket; socket.socket(socket.AF_UNIX).bind('s')\" && mv s {_quoted(name)}"
        )
        place = os.getcwd()
        os.chdir(self.folder)
        try:
            with socket.socket(socket.AF_UNIX) as opened:
                opened.bind(temporary)
            os.rename(temporary, name)
        finally:
            os.chdir(place)
        self._own(name)

    def rename(self, name: bytes, other: bytes) -> None:
        """Rename what this test made."""
        self._note("mv -T", b"./" + name, b"./" + other)
        os.rename(self.path(name), self.path(other))
        below = name + b"/"
        moved = {path for path in self.ours if path == name or path.startswith(below)}
        self.ours = (self.ours - moved) | {other + path[len(name) :] for path in moved}
        self.modes = {other + path[len(name) :] if path in moved else path: mode for path, mode in self.modes.items()}

    def remove(self, name: bytes) -> None:
        """Remove it, with all that is in it."""
        self._note("rm -rf", b"./" + name)
        path = self.path(name)
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        else:
            os.unlink(path)
        self.ours = {one for one in self.ours if one != name and not one.startswith(name + b"/")}
        self.modes = {one: mode for one, mode in self.modes.items() if one in self.ours}

    @contextmanager
    def permissions(self) -> Iterator[None]:
        """Let paths have the permissions that `modes` says, while the block runs."""
        deepest_last = sorted(self.modes)
        before = {name: stat.S_IMODE(os.lstat(self.path(name)).st_mode) for name in deepest_last}
        for name in reversed(deepest_last):
            self._permit(name, self.modes[name])
        try:
            yield
        finally:
            for name in deepest_last:
                self._permit(name, before[name])

    def damage(self, name: bytes, content: bytes) -> None:
        """Change what a command wrote, whose it stays."""
        was_ours = name in self.ours
        self.write(name, content)
        if not was_ours:
            self.ours.discard(name)

    def type(self, words: Sequence[bytes], encoding: str = "utf-8") -> Ended:
        """Type `gradmeter` and words."""
        prefix = "" if encoding == "utf-8" else f"PYTHONIOENCODING={encoding} "
        self.lines.append(prefix + " ".join(["gradmeter", *map(_quoted, words)]))
        return run(words, self.folder, encoding)

    def delete(self) -> None:
        """Remove the folder."""
        shutil.rmtree(os.fsencode(self.folder))

    def _permit(self, name: bytes, mode: int) -> None:
        self._note(f"chmod {mode:o}", b"./" + name)
        os.chmod(self.path(name), mode)

    def _note(self, command: str, *names: bytes) -> None:
        self.lines.append(" ".join([command, *map(_quoted, names)]))

    def _own(self, *names: bytes) -> None:
        self.ours.update(names)


@contextmanager
def workplace() -> Iterator[Workplace]:
    """One for the time of the block; what was typed is told with what goes wrong."""
    place = Workplace()
    try:
        yield place
    except AssertionError as error:
        error.add_note(script(place))
        raise
    finally:
        place.delete()


def script(place: Workplace) -> str:
    """What to type to see it again."""
    begin = "In a clone, to see it again:\n  PYTHONPATH=tests python -m driven.workplace /tmp/place && cd /tmp/place"
    return "\n  ".join([begin, *place.lines])


@cache
def prepared() -> Path:
    """A folder with a network and a TrustModel that no test writes to."""
    folder = Path(tempfile.mkdtemp(prefix="driven-prepared-"))
    atexit.register(_remove, folder, os.getpid())
    prepare(folder)
    return folder


def _remove(folder: Path, owner: int) -> None:
    """Remove a folder when the process ends that made it, not one that was forked from it."""
    if os.getpid() == owner:
        shutil.rmtree(folder, ignore_errors=True)


def prepare(folder: Path) -> None:
    """Write a network, and fit a TrustModel for it."""
    (folder / "driven_network.py").write_text(MODULE)
    save_file(trained().state_dict(), folder / "weights.safetensors")
    labelled(folder / "known")
    words = (*FIT, b"--known=known", b"--unknown=noise:uniform:20", b"--out=trust", b"--risk=0.5")
    ended = run(words, folder)
    assert ended.traceback is None, ended
    assert ended.code in (0, 1), ended.stderr
    shutil.rmtree(folder / "trust/readings")


def labelled(folder: Path) -> None:
    """Digits in a folder for each class, a few of them."""
    from trust.trained import digits

    labels = digits()[1][300:].tolist()
    for number in range(10):
        (folder / str(number)).mkdir(parents=True)
    for number, label in enumerate(labels[: len([key for key in contents() if key.startswith("digit")])]):
        (folder / f"{label}/{number}.png").write_bytes(contents()[f"digit {number}"])


def _look(path: bytes) -> tuple[object, ...]:
    found = os.lstat(path)
    mode = stat.S_IMODE(found.st_mode)
    if stat.S_ISLNK(found.st_mode):
        return ("link", os.readlink(path))
    if stat.S_ISREG(found.st_mode):
        with open(path, "rb") as file:
            return ("file", mode, file.read())
    return (stat.S_IFMT(found.st_mode), mode)


def _quoted(name: bytes) -> str:
    """For bash."""
    if name.isascii() and name.decode().isprintable():
        return shlex.quote(name.decode())
    return "$'" + "".join(_escaped(byte) for byte in name) + "'"


def _escaped(byte: int) -> str:
    return chr(byte) if 0x20 <= byte < 0x7F and byte not in b"\\'" else f"\\x{byte:02x}"


if __name__ == "__main__":
    Path(sys.argv[1]).mkdir()
    prepare(Path(sys.argv[1]))
