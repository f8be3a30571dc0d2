"""Without its library, an adapter says which extra installs it."""

import importlib
import sys

import pytest

CASES = [
    ("gradmeter.trust.adapters.lightning", "lightning", "lightning"),
    ("gradmeter.trust.adapters.transformers", "transformers", "transformers"),
    ("gradmeter.trust.adapters.transformers", "accelerate", "transformers"),
    ("gradmeter.apps.mlflow", "mlflow", "mlflow"),
]


@pytest.mark.parametrize(("adapter", "package", "extra"), CASES)
def test_the_extra_is_named(adapter: str, package: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, adapter, raising=False)
    with pytest.raises(ModuleNotFoundError, match=rf"\b{package}\b.*gradmeter\[{extra}\]"):
        importlib.import_module(adapter)
