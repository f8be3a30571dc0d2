"""A folder for random commands, with a network and a TrustModel for it.

    PYTHONPATH=tests python -m driven.workplace FOLDER

creates such a folder, in which the shell commands that a failing test prints can be run.
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

MODULE = '''"""A user's network."""

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
    """A temporary folder that records every change as a shell command.

    Attributes:
        folder: its path.
        lines: the shell commands that repeat the changes so far.
        ours: the relative paths of files that the test made; commands must not change them.
        modes: permissions that paths get while a command runs.
    """

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="driven-"))
        self.lines: list[str] = []
        self.ours: set[bytes] = set()
        self.modes: dict[bytes, int] = {}
        shutil.copytree(prepared(), self.folder, dirs_exist_ok=True)
        self.ours.update(self.paths())

    def path(self, name: bytes) -> bytes:
        """The absolute path of a name in the folder."""
        return os.path.join(os.fsencode(self.folder), name)

    def paths(self) -> list[bytes]:
        """The relative paths of everything in the folder."""
        base = os.fsencode(self.folder)
        return sorted(
            os.path.relpath(os.path.join(parent, name), base)
            for parent, folders, files in os.walk(base)
            for name in (*folders, *files)
        )

    def snapshot(self) -> dict[bytes, tuple[object, ...]]:
        """The state of every path: kind, permissions, and content or target."""
        return {path: _state(self.path(path)) for path in self.paths()}

    def make_folder(self, name: bytes) -> None:
        """Create a folder and its parents."""
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
        """Create a symbolic link."""
        self._note("ln -s --", target, b"./" + name)
        os.symlink(target, self.path(name))
        self._own(name)

    def fifo(self, name: bytes) -> None:
        """Create a FIFO."""
        self._note("mkfifo", b"./" + name)
        os.mkfifo(self.path(name))
        self._own(name)

    def socket(self, name: bytes) -> None:
        """Create a socket under a short name, as the length of an address is limited, and rename it."""
        temporary = b"s"
        self.lines.append(
            f"python3 -c \"import socket; socket.socket(socket.AF_UNIX).bind('s')\" && mv s {_quoted(name)}"
        )
        before = os.getcwd()
        os.chdir(self.folder)
        try:
            with socket.socket(socket.AF_UNIX) as server:
                server.bind(temporary)
            os.rename(temporary, name)
        finally:
            os.chdir(before)
        self._own(name)

    def rename(self, name: bytes, other: bytes) -> None:
        """Rename a file or folder of the test."""
        self._note("mv -T", b"./" + name, b"./" + other)
        os.rename(self.path(name), self.path(other))
        below = name + b"/"
        moved = {path for path in self.ours if path == name or path.startswith(below)}
        self.ours = (self.ours - moved) | {other + path[len(name) :] for path in moved}
        self.modes = {other + path[len(name) :] if path in moved else path: mode for path, mode in self.modes.items()}

    def remove(self, name: bytes) -> None:
        """Remove a file, or a folder with its content."""
        self._note("rm -rf", b"./" + name)
        path = self.path(name)
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        else:
            os.unlink(path)
        self.ours = {other for other in self.ours if other != name and not other.startswith(name + b"/")}
        self.modes = {other: mode for other, mode in self.modes.items() if other in self.ours}

    @contextmanager
    def permissions(self) -> Iterator[None]:
        """Apply the permissions in `modes` while the block runs."""
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
        """Overwrite a file of a command; it does not become a file of the test."""
        was_ours = name in self.ours
        self.write(name, content)
        if not was_ours:
            self.ours.discard(name)

    def type(self, words: Sequence[bytes], encoding: str = "utf-8") -> Ended:
        """Run gradmeter with these arguments, in a terminal with this encoding."""
        prefix = "" if encoding == "utf-8" else f"PYTHONIOENCODING={encoding} "
        self.lines.append(prefix + " ".join(["gradmeter", *map(_quoted, words)]))
        return run(words, self.folder, encoding)

    def delete(self) -> None:
        """Delete the folder."""
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
    """A workplace for the duration of the block; an AssertionError gets a note with its shell commands."""
    place = Workplace()
    try:
        yield place
    except AssertionError as error:
        error.add_note(script(place))
        raise
    finally:
        place.delete()


def script(place: Workplace) -> str:
    """The shell commands that reproduce a case."""
    begin = "To reproduce it, in a clone:\n  PYTHONPATH=tests python -m driven.workplace /tmp/place && cd /tmp/place"
    return "\n  ".join([begin, *place.lines])


@cache
def prepared() -> Path:
    """A folder with a network and a TrustModel, which is copied for each workplace."""
    folder = Path(tempfile.mkdtemp(prefix="driven-prepared-"))
    atexit.register(_remove, folder, os.getpid())
    prepare(folder)
    return folder


def _remove(folder: Path, owner: int) -> None:
    """Delete a folder in the process that created it, not in a forked one."""
    if os.getpid() == owner:
        shutil.rmtree(folder, ignore_errors=True)


def prepare(folder: Path) -> None:
    """Write a network and fit a TrustModel for it."""
    (folder / "driven_network.py").write_text(MODULE)
    save_file(trained().state_dict(), folder / "weights.safetensors")
    labelled(folder / "known")
    words = (*FIT, b"--known=known", b"--unknown=noise:uniform:20", b"--out=trust", b"--risk=0.5")
    ended = run(words, folder)
    assert ended.traceback is None, ended
    assert ended.code in (0, 1), ended.stderr
    shutil.rmtree(folder / "trust/readings")


def labelled(folder: Path) -> None:
    """Write a few digits, in one folder for each class."""
    from trust.trained import digits

    labels = digits()[1][300:].tolist()
    for number in range(10):
        (folder / str(number)).mkdir(parents=True)
    for number, label in enumerate(labels[: len([key for key in contents() if key.startswith("digit")])]):
        (folder / f"{label}/{number}.png").write_bytes(contents()[f"digit {number}"])


def _state(path: bytes) -> tuple[object, ...]:
    status = os.lstat(path)
    mode = stat.S_IMODE(status.st_mode)
    if stat.S_ISLNK(status.st_mode):
        return ("link", os.readlink(path))
    if stat.S_ISREG(status.st_mode):
        with open(path, "rb") as file:
            return ("file", mode, file.read())
    return (stat.S_IFMT(status.st_mode), mode)


def _quoted(name: bytes) -> str:
    """A name quoted for bash."""
    if name.isascii() and name.decode().isprintable():
        return shlex.quote(name.decode())
    return "$'" + "".join(_escaped(byte) for byte in name) + "'"


def _escaped(byte: int) -> str:
    return chr(byte) if 0x20 <= byte < 0x7F and byte not in b"\\'" else f"\\x{byte:02x}"


if __name__ == "__main__":
    Path(sys.argv[1]).mkdir()
    prepare(Path(sys.argv[1]))
