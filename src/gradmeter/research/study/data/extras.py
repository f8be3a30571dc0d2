"""Files of optional packages."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from gradmeter.errors import DataError


def package_folder(package: str, extra: str) -> Path:
    """Return the folder of an installed package, without importing it.

    Args:
        package: import name.
        extra: gradmeter's extra that installs the package.

    Raises:
        DataError: the package is not installed.
    """
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise DataError(f'the package {package} is not installed; run: pip install "gradmeter[{extra}]"')
    return Path(next(iter(spec.submodule_search_locations)))
