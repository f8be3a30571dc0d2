from __future__ import annotations

import json

import pytest

from gradmeter.errors import DataError
from gradmeter.research.study.data.extras import package_folder


def test_folder_of_an_installed_package() -> None:
    assert (package_folder("json", "demo") / "decoder.py").samefile(json.decoder.__file__)


def test_missing_package_names_the_extra() -> None:
    with pytest.raises(DataError, match=r"no_such_package.*gradmeter\[demo\]"):
        package_folder("no_such_package", "demo")
