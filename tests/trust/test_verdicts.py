"""The statements of a verdict, its reason, and thresholds on each of the statements."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from gradmeter import GradientMeter, TrustModel
from gradmeter.errors import DataError, InputError
from gradmeter.trust.main_file import write_main
from gradmeter.trust.meta_classifier import P_CORRECT, P_CORRECT_IF_KNOWN, P_KNOWN, SCORES
from gradmeter.trust.risk import RiskNotControlled
from gradmeter.trust.verdict_columns import VERDICT_COLUMNS
from trust.quick import fit_quickly
from trust.trained import digits, loader, noise, trained

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("quick_fits")]

IMAGES, LABELS = digits()
NEW = IMAGES[1400:]
FAR = 3 * noise(50)


def fit(classifier: str = "gradmeter") -> TrustModel:
    return TrustModel(GradientMeter(trained()), classifier, reads="gradients").fit(loader(300, 900))


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "trust"
    trust = fit()
    assert trust.judge is not None
    assert trust.judge.fallback is None
    trust.set_risk(0.1, loader(900, 1400))
    trust.save(folder)
    return folder


@pytest.fixture
def trust(saved: Path) -> TrustModel:
    return TrustModel.load(saved, trained())


@pytest.fixture(scope="module")
def ridge() -> TrustModel:
    return fit("ridge")


def change(folder: Path, **changes: Any) -> None:
    """Change entries of trust.json, None to delete them, and its checksum."""
    path = folder / "trust.json"
    content = json.loads(path.read_text())
    del content["checksum"]
    content = {name: value for name, value in {**content, **changes}.items() if value is not None}
    write_main(path, content)


def test_two_statements_make_p_correct(trust: TrustModel) -> None:
    rows = trust.verdicts(torch.cat([NEW, FAR])).to_pandas()
    assert rows[list(SCORES)].notna().all(axis=None)
    np.testing.assert_allclose(rows["p_correct"], rows["p_known"] * rows["p_correct_if_known"], rtol=1e-12)
    assert (rows["p_correct"] <= rows[["p_known", "p_correct_if_known"]].min(axis=1)).all()
    assert rows["p_known"][: len(NEW)].median() > 0.9
    assert rows["p_known"][len(NEW) :].max() < 0.01


@pytest.mark.parametrize("guaranteed", [True, False])
def test_columns(guaranteed: bool, trust: TrustModel, ridge: TrustModel) -> None:
    """A column without values has the same type."""
    ridge.guarantee = trust.guarantee if guaranteed else None
    trust.guarantee = ridge.guarantee
    for model in (trust, ridge):
        table = model.verdicts(NEW)
        assert {field.name: field.type for field in table.schema} == VERDICT_COLUMNS
        assert table.column_names == [*VERDICT_COLUMNS]
        nulls = {name for name in table.column_names if table[name].null_count == len(table)}
        assert nulls == {
            *(() if guaranteed else ("accepted", "reason")),
            *((P_KNOWN, P_CORRECT_IF_KNOWN) if model is ridge else ()),
        }


def test_reasons_of_known_and_of_far_inputs(trust: TrustModel) -> None:
    known = trust.verdicts(NEW).to_pandas()
    assert (known["reason"].isna() == known["accepted"]).all()
    doubtful = known[known["reason"] == "doubtful"]
    assert len(doubtful) > 5
    assert (doubtful["p_correct_if_known"] <= doubtful["p_known"]).all()
    far = trust.verdicts(FAR).to_pandas()
    # Their P(correct | known) is low as well.
    assert (far["p_correct_if_known"] < 0.5).any()
    assert far["reason"].str.startswith("unfamiliar: ").all()
    layers = far["reason"].str.removeprefix("unfamiliar: ").str.split(", ")
    assert layers.map(len).max() == 3
    assert {*layers.explode()} <= {*dict(trained().named_modules()), "embedding"}


def test_readings_keep_their_id(trust: TrustModel) -> None:
    readings = trust.meter(NEW[:3])
    table = readings.to_arrow().add_column(0, "id", [["c", "a", "b"]])
    for inputs in (table, table.to_pandas()):
        rows = trust.verdicts(inputs)
        assert rows.column_names == ["id", *VERDICT_COLUMNS]
        assert rows["id"].to_pylist() == ["c", "a", "b"]
        assert rows.drop_columns("id").equals(trust.verdicts(readings))
    assert trust.verdicts(readings.to_pandas()).column_names == [*VERDICT_COLUMNS]


def test_layers_are_named_from_the_least_known_on(trust: TrustModel) -> None:
    """The activations of one layer are moved away from known inputs."""
    judge = trust.judge
    assert judge is not None
    block = judge.features.block(trust.meter(NEW[:20]))
    layer = np.array([feature.layer == "4" and feature.source == "activations" for feature in block.axes.features])
    assert layer.any()
    block.values[:, layer] += 30
    assert {origins[0] for origins in judge.classifier.unfamiliar_origins(block)} == {"4"}


def test_inputs_like_known_ones_are_farther_in_no_layer(trust: TrustModel) -> None:
    assert trust.judge is not None
    readings = trust.meter(NEW)
    typical = trust.judge.judge(readings).p_known > 0.99
    assert typical.sum() > 100
    origins = trust.judge.unfamiliar_origins(readings.rows(np.flatnonzero(typical)))
    assert np.mean([not layers for layers in origins]) > 0.9


def test_reasons_of_other_meta_classifiers(ridge: TrustModel) -> None:
    ridge.set_risk(0.1, loader(900, 1400), [noise(100)])
    rows = ridge.verdicts(torch.cat([NEW, FAR])).to_pandas()
    assert 0 < rows["accepted"].sum() < len(rows)
    assert {*rows["reason"][~rows["accepted"]]} == {"doubtful"}
    assert rows["reason"][rows["accepted"]].isna().all()


@pytest.mark.parametrize("score", [P_KNOWN, P_CORRECT_IF_KNOWN])
def test_a_threshold_on_one_statement_controls_the_risk(score: str, trust: TrustModel, tmp_path: Path) -> None:
    guarantee = trust.set_risk(0.1, loader(900, 1400), score=score)
    assert guarantee.score == score
    rows, judgement = trust.verdicts(NEW).to_pandas(), trust.judge.judge(trust.meter(NEW))
    accepted = trust.accept(NEW).numpy()
    assert (accepted == (rows[score] >= guarantee.threshold) & judgement.familiar).all()
    assert (accepted == rows["accepted"]).all()
    with pytest.raises(RiskNotControlled) as refused:
        trust.set_risk(1e-4, loader(900, 1400), score=score)
    assert "P(correct)" not in str(refused.value)
    # Another statement would accept others.
    assert (accepted != (rows[P_CORRECT] >= guarantee.threshold)).any()
    wrong = (rows["prediction"] != LABELS[1400:].numpy())[accepted]
    assert len(wrong) > 200
    assert wrong.mean() <= 0.1
    far = trust.verdicts(FAR).to_pandas()
    assert not far["accepted"].any()
    reasons = {reason.partition(":")[0] for reason in [*rows["reason"][~accepted], *far["reason"]]}
    assert reasons == ({"unfamiliar"} if score == P_KNOWN else {"doubtful", "unfamiliar"})

    trust.save(tmp_path / "trust")
    loaded = TrustModel.load(tmp_path / "trust", trained())
    assert loaded.guarantee == guarantee
    assert loaded.verdicts(NEW).equals(trust.verdicts(NEW))
    assert loaded.set_risk(0.1, loader(900, 1400), score=score) == guarantee


class Unread:
    """Data that must not be read."""

    def __iter__(self) -> Iterator[Any]:
        raise AssertionError("read")


@pytest.mark.parametrize("score", [P_KNOWN, P_CORRECT_IF_KNOWN, "known", "familiar"])
def test_a_score_that_is_not_given_is_refused_before_data_are_read(
    score: str, trust: TrustModel, ridge: TrustModel
) -> None:
    models = [ridge] if score in SCORES else [ridge, trust]
    for model in models:
        with pytest.raises(InputError, match=rf"score='{score}'.*\bp_correct\b"):
            model.set_risk(0.1, Unread(), score=score)


def test_the_default_meta_classifier_of_an_earlier_version_is_refused(trust: TrustModel, tmp_path: Path) -> None:
    assert trust.judge is not None
    del trust.judge.classifier.unknown_.coef_
    trust.save(tmp_path / "trust")
    with pytest.raises(DataError, match="fit the TrustModel again"):
        TrustModel.load(tmp_path / "trust", trained())


@pytest.mark.parametrize("score", ["p", 1, ["p_known"], "familiar"], ids=str)
def test_a_saved_guarantee_on_no_statement_is_refused(score: Any, trust: TrustModel, tmp_path: Path) -> None:
    trust.save(tmp_path / "trust")
    guarantee = json.loads((tmp_path / "trust/trust.json").read_text())["guarantee"]
    change(tmp_path / "trust", guarantee={**guarantee, "score": score})
    with pytest.raises(DataError, match="score="):
        TrustModel.load(tmp_path / "trust", trained())


def test_log_probabilities_have_no_verdicts_from_rounding_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    # Their free energy is 0 but for rounding, which depends on the batch.
    fit_quickly(monkeypatch)
    network = torch.nn.Sequential(*trained(), torch.nn.LogSoftmax(1)).eval()
    trust = TrustModel(GradientMeter(network), reads="forward").fit(loader(300, 900))
    inputs = torch.cat([digits()[0][900:930], noise(30)])
    alone = torch.cat([trust.predict_proba(one) for one in inputs.split(1)])
    np.testing.assert_allclose(trust.predict_proba(inputs), alone, atol=1e-4)


def test_verdicts_of_two_classes_do_not_depend_on_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skewness and kurtosis of two logits say nothing."""
    fit_quickly(monkeypatch)
    network = trained()
    network[6] = torch.nn.Linear(24, 2)
    torch.manual_seed(0)
    labels = LABELS % 2
    optimiser = torch.optim.Adam(network.parameters(), 0.01)
    for _ in range(10):
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(network(IMAGES[:300]), labels[:300]).backward()
        optimiser.step()
    trust = TrustModel(GradientMeter(network), reads="forward").fit((IMAGES[300:700], labels[300:700]))
    verdicts = trust.verdicts(IMAGES[700:780])
    alone = pa.concat_tables([trust.verdicts(one) for one in IMAGES[700:780].split(1)])
    for score in SCORES:
        np.testing.assert_allclose(verdicts[score], alone[score], atol=1e-5)
