"""A round trip through MLflow: log, load and predict, with arrays, files, and a TrustModel of `gradmeter fit`."""

import io
import json
import sys
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of MLflow's own type hints
    mlflow = pytest.importorskip("mlflow.pyfunc", reason="the extra mlflow is not installed") and __import__("mlflow")

from apps.workflows.digits import CLASSES, make, recipe
from gradmeter import GradientMeter, TrustModel
from gradmeter.apps.mlflow import log_model, save_model
from gradmeter.apps.workflows.fit import fit
from gradmeter.apps.workflows.open_trust import open_trust
from gradmeter.errors import DataError, InputError
from gradmeter.trust.model import VERDICT_COLUMNS
from trust.trained import digits, loader, trained

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The current folder, with digits, a network's code and its weights, and a store of MLflow."""
    folder = tmp_path_factory.mktemp("mlflow")
    make(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.syspath_prepend(folder)
        patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
        yield folder


@pytest.fixture(scope="module")
def trust(folder: Path) -> TrustModel:
    trust = TrustModel(GradientMeter(trained()), "ridge_cv").fit(loader(300, 900))
    trust.set_risk(0.1, loader(900, 1400))
    return trust


@pytest.fixture(scope="module")
def loaded(folder: Path, trust: TrustModel) -> Any:
    with mlflow.start_run():
        info = log_model("judge", trust, recipe(folder))
    return mlflow.pyfunc.load_model(info.model_uri)


def png(index: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.rint(digits()[0][index, 0].numpy() * 255).astype(np.uint8)).save(file, "png")
    return file.getvalue()


def expected_of(trust: TrustModel, images: Any) -> pd.DataFrame:
    """The verdicts, with None for what there is none of."""
    verdicts = trust.verdicts(images)
    frame = verdicts.to_pandas()
    empty = {name: verdicts[name].to_pylist() for name in verdicts.column_names if verdicts[name].null_count}
    frame = frame.assign(prediction=[CLASSES[number] for number in frame["prediction"]])
    return frame.assign(**{name: pd.Series(values, dtype=object) for name, values in empty.items()})


def test_arrays(loaded: Any, trust: TrustModel) -> None:
    images = digits()[0][1400:1460]
    verdicts = loaded.predict(images.numpy())
    assert list(verdicts) == list(VERDICT_COLUMNS)
    pd.testing.assert_frame_equal(verdicts, expected_of(trust, images), check_dtype=False, rtol=1e-5)
    assert set(verdicts["accepted"]) == {True, False}


def test_an_answer_of_the_server_is_json(loaded: Any) -> None:
    from mlflow.pyfunc.scoring_server import predictions_to_json

    answer = io.StringIO()
    predictions_to_json(loaded.predict(digits()[0][1400:1460].numpy()), answer)
    rows = json.loads(answer.getvalue(), parse_constant=pytest.fail)["predictions"]
    assert {row["accepted"] for row in rows} == {True, False}
    assert all((row["reason"] is None) == row["accepted"] for row in rows)
    assert {row["p_known"] for row in rows} == {None}  # ridge_cv does not tell it


def test_image_files(loaded: Any, trust: TrustModel) -> None:
    files = [png(index) for index in range(1400, 1700)]  # more than are decoded at a time
    verdicts = loaded.predict(files)
    images = (digits()[0][1400:1700] * 255).round() / 255
    pd.testing.assert_frame_equal(verdicts, expected_of(trust, images), check_dtype=False, rtol=1e-4, atol=1e-6)
    pd.testing.assert_frame_equal(loaded.predict(pd.DataFrame({"image": files[:5]})), verdicts[:5])


def test_a_trust_model_of_the_command_line(folder: Path) -> None:
    fit(recipe(folder), "validation", [], Path("trust"), meta_classifier="ridge_cv", repetitions=100)
    trust, _ = open_trust(Path("trust"), model=recipe(folder).model)
    save_model("saved", trust, code_paths=["digits_network.py"], pip_requirements=["torch"])
    requirements = Path("saved/requirements.txt").read_text().split()
    assert "torch" in requirements
    assert "gradmeter" not in str(requirements)
    save_model("with_conda", trust, code_paths=["digits_network.py"], conda_env={"dependencies": ["python=3.11"]})
    verdicts = mlflow.pyfunc.load_model("saved").predict(digits()[0][1400:1410].numpy())
    pd.testing.assert_frame_equal(verdicts, expected_of(trust, digits()[0][1400:1410]), check_dtype=False, rtol=1e-5)
    assert Path("saved/code/digits_network.py").is_file()
    assert not [*Path("saved").rglob("*.pkl")]
    other = replace(recipe(folder), options=replace(recipe(folder).options, mean=(0.5,)))
    with pytest.raises(DataError, match="otherwise"):
        save_model("other", trust, other, code_paths=["digits_network.py"])
    assert not Path("other").exists()
    trust.meter.model.double()
    with pytest.raises(InputError, match="float64"):
        save_model("other", trust, recipe(folder), code_paths=["digits_network.py"])


def test_the_code_that_a_model_brings_is_used(
    folder: Path, trust: TrustModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that loads the model may have a later version of it in its current folder."""
    save_model("own", trust, recipe(folder), code_paths=["digits_network.py"])
    saved = (folder / "own").resolve()
    (tmp_path / "digits_network.py").write_text("def network():\n    raise RuntimeError('later')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path not in ("", str(folder))])
    monkeypatch.delitem(sys.modules, "digits_network")
    loaded = mlflow.pyfunc.load_model(str(saved))
    assert Path(sys.modules["digits_network"].__file__ or "").parent == saved / "code"
    assert len(loaded.predict([png(1400)])) == 1
    # A process has one module of a name.
    monkeypatch.setattr(sys.modules["digits_network"], "__file__", str(tmp_path / "digits_network.py"))
    with pytest.raises(InputError, match=r"own/code/digits_network\.py, but this process has imported digits_network"):
        mlflow.pyfunc.load_model(str(saved))


def test_what_cannot_be_judged(loaded: Any) -> None:
    with pytest.raises(DataError, match="input 1 "):
        loaded.predict([png(1400), b"no image"])
    for wrong in ([], [3], ["\ud800"], pd.DataFrame({"one": [b""], "two": [b""]}), np.array([png(1400)])):
        with pytest.raises(InputError, match="expected"):
            loaded.predict(wrong)


def test_extra_state(trust: TrustModel, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(trust.meter.model), "get_extra_state", lambda self: {"seen": 3}, raising=False)
    with pytest.raises(InputError, match="'_extra_state', a dict; expected tensors only"):
        save_model("nothing", trust, recipe(folder))


def test_what_cannot_be_saved(trust: TrustModel, folder: Path) -> None:
    with pytest.raises(InputError, match="Recipe"):
        save_model("nothing", trust)
    (folder / "other_network.py").write_text((folder / "digits_network.py").read_text().replace("ReLU", "Tanh"))
    with pytest.raises(DataError):
        save_model("nothing", trust, replace(recipe(folder), model="other_network:network"))
    assert not Path("nothing").exists()
