"""What a benchmark is asked to do."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from gradmeter.errors import InputError
from gradmeter.research.speed_benchmark.methods import METHODS, REFERENCE
from gradmeter.research.speed_benchmark.models import MODELS


@dataclass(frozen=True)
class BenchOptions:
    """The options of a benchmark; names are put into the order of the page, and T0 is always among the methods.

    Attributes:
        models: names of networks.
        methods: names of methods.
        threads: PyTorch's, one set of times for each.
        repeats: rounds that count.
        cap: seconds; a peer whose rounds would take longer takes part in fewer, at least in one. No measurement of
            memory takes longer than twenty times this.
        quick: leave out the largest numbers of images.
    """

    models: tuple[str, ...] = tuple(MODELS)
    methods: tuple[str, ...] = tuple(METHODS)
    threads: tuple[int, ...] = (1, 2)
    repeats: int = 9
    cap: float = 30.0
    quick: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "models", _chosen("model", self.models, MODELS))
        object.__setattr__(self, "methods", _chosen("method", (*self.methods, REFERENCE), METHODS))
        object.__setattr__(self, "threads", tuple(sorted(set(self.threads))))
        if not self.threads or self.threads[0] < 1:
            raise InputError(f"threads={','.join(map(str, self.threads))}; expected numbers of at least 1")
        if self.repeats < 1:
            raise InputError(f"repeats={self.repeats}; expected at least 1")
        if not self.cap > 0:
            raise InputError(f"cap={self.cap:g}; expected seconds above 0")
        self.versions()

    def to_dict(self) -> dict[str, Any]:
        """The options as JSON holds them."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    def versions(self) -> dict[str, str]:
        """The installed version of every package that the networks and methods come from.

        Raises:
            InputError: if one is not installed.
        """
        users = {f"model {name}": MODELS[name].distribution for name in self.models}
        users |= {f"method {name}": METHODS[name].distribution for name in self.methods}
        found = {}
        for user, distribution in users.items():
            if distribution is not None:
                try:
                    found[distribution] = version(distribution)
                except PackageNotFoundError as error:
                    raise InputError(
                        f"{user} needs the package {distribution}, which is not installed; "
                        'pip install "gradmeter[bench]"'
                    ) from error
        return found


def _chosen(kind: str, names: tuple[str, ...], known: Collection[str]) -> tuple[str, ...]:
    for name in names:
        if name not in known:
            raise InputError(f"no {kind} {name!r}; there are {', '.join(known)}")
    if not names:
        raise InputError(f"no {kind}s; there are {', '.join(known)}")
    return tuple(name for name in known if name in names)
