"""Loading estimators: a forged support vector machine may read outside its arrays, and a forged one may give no P."""

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import numpy as np
import pytest
import sklearn
import skops.io
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC

from gradmeter import GradientMeter, TrustModel
from gradmeter.errors import DataError, GradmeterWarning, InputError
from gradmeter.trust.estimators import load_estimators
from gradmeter.trust.main_file import write_main
from trust.trained import loader, trained

SVM = "sklearn.svm._classes.SVC"


def fitted(**options: Any) -> SVC:
    random = np.random.default_rng(0)
    return SVC(**options).fit(random.normal(size=(40, 3)), np.arange(40) % 2)


@pytest.mark.parametrize("wrap", [lambda svm: svm, lambda svm: {"hit": [svm]}], ids=["alone", "nested"])
def test_support_vector_machines_need_trust(wrap: Any) -> None:
    encoded = skops.io.dumps(wrap(fitted()))
    with pytest.raises(DataError, match=SVM):
        load_estimators(Path("x.skops"), encoded, [], "TrustModel")
    assert load_estimators(Path("x.skops"), encoded, [SVM], "TrustModel")


def test_a_forged_estimator_without_probabilities_is_refused(tmp_path: Path) -> None:
    trust = TrustModel(GradientMeter(trained()), "ridge", reads="forward").fit(loader(300, 800))
    trust.save(tmp_path)
    (path,) = tmp_path.glob("*.skops")
    assert trust.judge is not None
    classifier: Any = trust.judge.classifier
    classifier.calibrated_.calibrated_classifiers_[0].calibrators[0].a_ = np.float64("nan")
    path.write_bytes(skops.io.dumps(classifier))
    content = json.loads((tmp_path / "trust.json").read_text())
    del content["checksum"]
    content["estimator"]["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    write_main(tmp_path / "trust.json", content)
    with pytest.raises(DataError, match="p_correct=nan"):
        TrustModel.load(tmp_path, trained())
    assert torch.isnan(trust.predict_proba(torch.zeros(2, 1, 8, 8))).all()


def test_a_meta_classifier_that_could_not_be_loaded_is_not_saved(tmp_path: Path) -> None:
    classifier = make_pipeline(FunctionTransformer(lambda values: values), LogisticRegression())
    trust = TrustModel(GradientMeter(trained()), classifier, reads="forward").fit(loader(300, 800))
    with pytest.raises(InputError, match=r"could not be loaded again .*lambda"):
        trust.save(tmp_path)
    assert not [*tmp_path.glob("*.skops")]


@pytest.fixture
def encoded_by_another_version(monkeypatch: pytest.MonkeyPatch) -> bytes:
    monkeypatch.setattr("sklearn.base.__version__", "1.0")
    encoded: bytes = skops.io.dumps(make_pipeline(StandardScaler(), LogisticRegression()).fit(np.eye(4), [0, 1, 0, 1]))
    monkeypatch.undo()
    return encoded


def test_another_version_of_scikit_learn_gets_one_line(encoded_by_another_version: bytes) -> None:
    with pytest.warns(GradmeterWarning) as warned:
        loaded = load_estimators(Path("x.skops"), encoded_by_another_version, [], "TrustModel")
    assert [str(warning.message).partition(";")[0] for warning in warned] == [
        f"x.skops was written with scikit-learn 1.0 and is read with {sklearn.__version__}"
    ]
    assert loaded.predict(np.eye(4)).tolist() == [0, 1, 0, 1]


@pytest.mark.filterwarnings("ignore")
def test_threads_load_what_another_version_wrote(
    encoded_by_another_version: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Filters of warnings belong to all threads: those of one must not make the warnings of another an error."""

    def loads(*args: Any, **kwargs: Any) -> Any:
        both.wait()
        estimator = load(*args, **kwargs)
        both.wait()
        return estimator

    both, load = Barrier(2, timeout=10), skops.io.loads
    monkeypatch.setattr(skops.io, "loads", loads)
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(lambda _: load_estimators(Path("x"), encoded_by_another_version, [], "TrustModel"), range(2)))
