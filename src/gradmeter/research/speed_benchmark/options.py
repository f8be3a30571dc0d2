"""Options of a benchmark."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from gradmeter.errors import InputError
from gradmeter.research.speed_benchmark.methods import ALL_METHODS, METHODS, REFERENCE
from gradmeter.research.speed_benchmark.models import MODELS

# More than most machines have cores. OpenMP ends the process if it cannot start the threads, as of millions.
_MOST_THREADS = 1024


@dataclass(frozen=True)
class BenchOptions:
    """Options of a benchmark; names are sorted in the order of the page, and T0 is always among the methods.

    Attributes:
        models: names of networks.
        methods: names of methods.
        threads: numbers of PyTorch threads; everything is timed with each.
        repeats: number of timed rounds.
        cap: seconds; a peer whose rounds would take longer gets fewer rounds, but at least one. Measurements of memory
            are stopped after twenty times as long.
        quick: leave out the largest numbers of images.

    Raises:
        InputError: for an unknown name, a number out of range, or a package that is not installed.
    """

    models: tuple[str, ...] = tuple(MODELS)
    methods: tuple[str, ...] = ALL_METHODS
    threads: tuple[int, ...] = (1, 2)
    repeats: int = 9
    cap: float = 30.0
    quick: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "models", _in_order("model", self.models, MODELS))
        object.__setattr__(self, "methods", _in_order("method", (*self.methods, REFERENCE), METHODS))
        object.__setattr__(self, "threads", tuple(sorted(set(self.threads))))
        if not self.threads or self.threads[0] < 1 or self.threads[-1] > _MOST_THREADS:
            given = ",".join(map(str, self.threads))
            raise InputError(f"threads={given}; expected numbers from 1 to {_MOST_THREADS:,}")
        if self.repeats < 1:
            raise InputError(f"repeats={self.repeats}; expected at least 1")
        if not self.cap > 0:
            raise InputError(f"cap={self.cap:g}; expected seconds above 0")
        self.versions()

    def to_dict(self) -> dict[str, Any]:
        """Return the options as JSON stores them."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    def versions(self) -> dict[str, str]:
        """Return the installed version of every package that the networks and methods need, by name.

        Raises:
            InputError: if a package is not installed.
        """
        users = {f"model {name}": MODELS[name].distribution for name in self.models}
        users |= {f"method {name}": METHODS[name].distribution for name in self.methods}
        versions = {}
        for user, distribution in users.items():
            if distribution is not None:
                try:
                    versions[distribution] = version(distribution)
                except PackageNotFoundError as error:
                    raise InputError(
                        f"{user} needs the package {distribution}, which is not installed; "
                        'pip install "gradmeter[bench]"'
                    ) from error
        return versions


def _in_order(kind: str, names: tuple[str, ...], known: Collection[str]) -> tuple[str, ...]:
    for name in names:
        if name not in known:
            raise InputError(f"no {kind} {name!r}; expected one of {', '.join(known)}")
    if not names:
        raise InputError(f"no {kind}s; expected at least one of {', '.join(known)}")
    return tuple(name for name in known if name in names)
