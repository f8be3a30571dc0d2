"""The examples answer wrong arguments by one line."""

from pathlib import Path
from typing import Any

import pytest

from docs.code import example

# MLflow warns of its own hints of types.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default::UserWarning")]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("capacity.py few more", "few holds 0 images and more 0; expected more in the second"),
        ("digits.py --model nosuch", "--model nosuch is not a model of timm"),
        ("digits.py --images 0 1 1", "--images 0 1 1; expected at least 1 of each"),
        ("digits.py --data nosuch", "--data nosuch: expected embedded, emnist or the path of a folder"),
        ("fd_shifts.py nosuch readings --out out", "nosuch holds no TrustModel"),
        ("fiftyone_labels.py nosuch.csv --out out.json", "nosuch.csv"),
        ("fiftyone_labels.py folder --out out.json", "the verdicts have no column"),
        ("load.py trust nosuch.png", ": apt install apache2-utils|nosuch.png is not a file"),
        ("many_images.py --images -5", "--images -5; expected at least 1"),
        ("many_labels.py --images 0", "--images 0; expected at least 1"),
        ("mlflow_model.py nosuch image.png", "image.png is not a file; expected image files"),
        ("patients.py --images nosuch.npz --networks nosuch", "nosuch.npz is not a file"),
        ("softmax_server.py nosuch", "nosuch holds no TrustModel"),
    ],
)
def test_wrong_arguments(
    arguments: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    with pytest.raises(SystemExit) as exited:
        example(f"python examples/{arguments}", monkeypatch)
    assert exited.value.code == 2
    *_, line = capsys.readouterr().err.splitlines()
    assert any(one in line for one in said.split("|")), line
    assert {path.name for path in Path().iterdir()} == {"folder"}
