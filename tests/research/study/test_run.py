"""Which weights of a network a run measures; the rest of a run is tested end to end."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gradmeter.research.study import run as module
from gradmeter.research.study.options import StudyOptions
from gradmeter.research.study.run import Run, perform
from gradmeter.research.study.store import StudyStore


class Measured(Exception):
    """A network is about to be measured."""


@pytest.mark.parametrize(("weights", "name"), [("last", "03.safetensors"), ("best", "03-best.safetensors")])
def test_the_selected_weights_are_measured(
    weights: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measure(network: Path, *_: Any, **__: Any) -> None:
        raise Measured(network.name)

    monkeypatch.setattr(module, "load_network", lambda path: (path, {}))
    monkeypatch.setattr(module, "sets_of", lambda draw: {})
    monkeypatch.setattr(module, "measure", measure)
    source = SimpleNamespace(collection=lambda: SimpleNamespace(draw=lambda run, seed: None))
    path = StudyStore(tmp_path).network(3)
    path.parent.mkdir()
    path.touch()
    with pytest.raises(Measured, match=f"^{name}$"):
        perform(Run(3, source, StudyOptions(weights=weights), tmp_path), lambda step: None)  # type: ignore[arg-type]
