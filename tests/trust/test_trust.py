import copy
import json
import os
import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import skops.io
import torch
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression
from torch import nn
from torch.utils.data import DataLoader

from gradmeter import GradientMeter, Readings, TrustModel
from gradmeter.errors import DataError, GradmeterError, InputError, OutputError, UnsupportedModelError
from gradmeter.reading.content import content_hashes
from gradmeter.reading.probes import odin
from gradmeter.trust import main_file
from gradmeter.trust import model as module
from gradmeter.trust.evaluation import expected_calibration_error, separation
from gradmeter.trust.judge import CLASSIFIERS
from gradmeter.trust.risk import RiskNotControlled
from gradmeter.trust.two_heads import TwoHeads
from modes import WithoutAutocast, default_dtype
from trust.quick import fit_quickly
from trust.trained import digits, loader, noise, trained, untrained

IMAGES, LABELS = digits()
FOREST = RandomForestClassifier(50, random_state=0)


def fitted_model(classifier: Any = "gradmeter", unknown: int = 0) -> TrustModel:
    """A TrustModel that is fitted once for all tests; they may only change its guarantee.

    It reads the forward pass if its classifier allows that: test_reads.py tests the comparison with gradients.
    """
    return _fitted_once(classifier, unknown)


@cache
def _fitted_once(classifier: Any, unknown: int) -> TrustModel:
    trust = TrustModel(GradientMeter(trained()), classifier, reads="forward" if classifier == "gradmeter" else "auto")
    with pytest.MonkeyPatch.context() as patch:
        fit_quickly(patch)
        return trust.fit(loader(300, 800), unknowns=[[noise(unknown)]] if unknown else [])


@pytest.fixture
def fitted() -> TrustModel:
    return fitted_model(unknown=100)


def right(rows: slice) -> np.ndarray:
    return (trained()(IMAGES[rows]).argmax(1) == LABELS[rows]).numpy()


# --- fit and predict


@pytest.mark.parametrize(
    ("classifier", "reads"), [pytest.param("gradmeter", "auto", marks=pytest.mark.slow), ("neural_network", "forward")]
)
def test_torch_s_modes_do_not_matter(classifier: str, reads: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fit_quickly(monkeypatch)
    network = WithoutAutocast(trained())

    def fit() -> TrustModel:
        return TrustModel(GradientMeter(network), classifier, reads=reads).fit((IMAGES[300:500], LABELS[300:500]))

    expected = fit().predict_proba(IMAGES[:9])
    for mode in (
        torch.device("meta"),  # as after torch.set_default_device("cuda"), tensors come where they must not be
        default_dtype(torch.float64),
        torch.autocast("cpu", dtype=torch.bfloat16),
        torch.inference_mode(),
    ):
        with mode:
            given = fit().predict_proba(IMAGES[:9])
        assert torch.equal(given, expected)


@pytest.mark.parametrize("classifier", [*CLASSIFIERS, FOREST])
def test_wrong_and_unknown_are_trusted_less(classifier: Any) -> None:
    trust = fitted_model(classifier, unknown=100)
    rows = slice(1000, None)
    p, correct = trust.predict_proba(IMAGES[rows]), right(rows)
    assert p.shape == (797,)
    assert ((p >= 0) & (p <= 1)).all()
    assert separation(-p.numpy()[correct], -p.numpy()[~correct]).auroc > 0.75
    assert separation(-p.numpy()[correct], -trust.predict_proba(noise(300)[100:]).numpy()).auroc > 0.9


def test_it_is_calibrated_without_unknown_inputs() -> None:
    trust = fitted_model("ridge_cv")
    rows = slice(1000, None)
    assert expected_calibration_error(trust.predict_proba(IMAGES[rows]).numpy(), right(rows), 5) < 0.04


def test_counts_and_held_out_judgements_of_the_training_data(fitted: TrustModel) -> None:
    judge = fitted.judge
    assert judge is not None
    answered = right(slice(300, 800))
    assert (judge.right, judge.wrong, judge.unknown) == (answered.sum(), (~answered).sum(), 100)
    assert judge.held_out.p_correct.shape == (600,)
    # Held-out judgements differ from those of the fitted classifier for its training inputs.
    assert not np.allclose(judge.held_out.p_correct[:500], fitted.predict_proba(IMAGES[300:800]).numpy(), atol=1e-6)


def test_it_is_calibrated_for_known_inputs_up_to_the_stated_loss(fitted: TrustModel) -> None:
    assert fitted.judge is not None
    rows, loss = slice(1000, None), fitted.judge.known_loss
    assert loss is not None
    assert 0 < loss < 0.0126
    assert f" {100 * loss:.2g} % " in fitted.judge.meaning
    assert expected_calibration_error(fitted.predict_proba(IMAGES[rows]).numpy(), right(rows), 5) < 0.04 + loss


@pytest.mark.slow
def test_it_is_calibrated_for_a_given_share_of_unknown_inputs() -> None:
    heads = TwoHeads(unknown_share=0.2)
    trust = TrustModel(GradientMeter(trained()), heads, reads="forward")
    trust.fit(loader(300, 1000), unknowns=[[noise(100)]], synthetic=[])
    assert trust.judge is not None
    assert trust.judge.known_loss is None
    assert " 20 % " in trust.judge.meaning
    rows = slice(1000, None)
    unknown = noise(1000)[100:300]
    p = trust.predict_proba(torch.cat([IMAGES[rows], unknown])).numpy()
    correct = np.concatenate([right(rows), np.zeros(len(unknown), np.bool_)])
    assert expected_calibration_error(p, correct, 5) < 0.04


def test_other_classifiers_assume_the_share_of_unknown_inputs_in_training() -> None:
    for unknown, share in ((0, 0.0), (100, 1 / 6)):
        judge = fitted_model("ridge_cv", unknown=unknown).judge
        assert judge is not None
        assert judge.unknown_share == share
        assert (" 16.7 % " in judge.meaning) == (share > 0)


@pytest.mark.parametrize("kind", ["pairs", "dicts"])
def test_kinds_of_batches(kind: str, fitted: TrustModel, monkeypatch: pytest.MonkeyPatch) -> None:
    fit_quickly(monkeypatch)

    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = trained()

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.network(images)  # type: ignore[no-any-return]

    batches = loader(300, 800)
    if kind == "dicts":
        trust = TrustModel(GradientMeter(Named()), reads="forward").fit(
            ({"images": images, "labels": labels} for images, labels in batches), [[{"images": noise(100)}]]
        )
        assert trust.judge.synthetic > 0
        p_correct, expected = trust.predict_proba({"images": IMAGES[:50]}), fitted
    else:
        unknown: list[Any] = [[(noise(100), torch.zeros(100))]]
        trust = TrustModel(GradientMeter(trained()), "ridge_cv").fit([list(batch) for batch in batches], unknown)
        p_correct, expected = trust.predict_proba(IMAGES[:50]), fitted_model("ridge_cv", unknown=100)
    torch.testing.assert_close(p_correct, expected.predict_proba(IMAGES[:50]), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("classifier", "name"),
    [
        ("forest", "'forest'.* gradmeter, ridge_cv, glm, lasso, ridge, elastic_net, neural_network"),
        (LinearRegression(), "LinearRegression"),
        (RandomForestClassifier, "ABCMeta"),
        (3, "int"),
    ],
)
def test_bad_classifiers(classifier: Any, name: str) -> None:
    with pytest.raises(InputError, match=name):
        TrustModel(GradientMeter(trained()), classifier).fit(loader(300, 1000))


def test_bad_data() -> None:
    trust = TrustModel(GradientMeter(trained()))
    with pytest.raises(InputError, match="labels"):
        trust.fit([IMAGES[:100]])
    with pytest.raises(InputError, match="batches"):
        trust.fit([])
    count = right(slice(300, 330)).sum()
    with pytest.raises(InputError, match=rf"\b{count}\b.*\b50\b"):
        trust.fit(loader(300, 330))
    with pytest.raises(InputError, match=rf"\b{count}\b.*\b{30 - count}\b.*\b0\b.*\b10\b"):
        TrustModel(GradientMeter(trained()), "ridge_cv").fit(loader(300, 330))
    with pytest.raises(InputError, match=r"\b9\b.*\b10\b"):
        trust.fit([(IMAGES[:10], LABELS[:9])])
    for unknowns in (IMAGES[:10], IMAGES[:10].numpy(), DataLoader(IMAGES[:10]), "noise:uniform"):
        with pytest.raises(InputError, match=rf"unknowns\b.*\b{type(unknowns).__name__}\b"):
            trust.fit(loader(300, 1000), unknowns)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"\bSequential\b.*\bGradientMeter\b"):
        TrustModel(trained())  # type: ignore[arg-type]


def test_calls_before_fit_and_set_risk() -> None:
    trust = TrustModel(GradientMeter(trained()))
    for use in (trust.predict_proba, trust.accept, trust.verdicts, lambda _: trust.set_risk(0.1, loader(300, 400))):
        with pytest.raises(GradmeterError, match=r"fit\("):
            use(IMAGES[:2])
    trust = copy.copy(fitted_model("ridge_cv"))
    trust.guarantee = None
    with pytest.raises(GradmeterError, match=r"set_risk\("):
        trust.accept(IMAGES[:2])


# --- risk


def test_risk() -> None:
    trust = fitted_model()
    guarantee = trust.set_risk(0.05, loader(800, 1300))
    assert trust.guarantee is guarantee
    p = trust.predict_proba(IMAGES[1300:])
    accepted = trust.accept(IMAGES[1300:])
    assert torch.equal(accepted, p >= guarantee.threshold)
    assert guarantee.coverage == pytest.approx(accepted.double().mean().item(), abs=0.08)
    assert (~right(slice(1300, None))[accepted.numpy()]).mean() <= 0.05


def test_a_guarantee_holds_the_share_of_unknown_inputs(fitted: TrustModel, tmp_path: Path) -> None:
    """This includes guarantees made by a loaded TrustModel."""
    fitted.set_risk(0.1, loader(1000, 1300), [[noise(200)[100:]]])
    assert fitted.guarantee is not None
    assert fitted.guarantee.unknown_share == 100 / 400
    assert fitted.guarantee.unknown_shares == (100 / 400,)
    fitted.save(tmp_path / "trust")
    again = TrustModel.load(tmp_path / "trust", trained())
    assert again.guarantee == fitted.guarantee
    assert again.set_risk(0.1, loader(1000, 1300)).unknown_share == 0


def test_training_inputs_are_refused_by_set_risk(tmp_path: Path) -> None:
    """Training inputs are recognised in other batches, as arrays, as copies, one by one, and by a loaded TrustModel."""
    trust = copy.copy(fitted_model("ridge_cv", unknown=100))
    trust.guarantee = None
    trust.save(tmp_path / "trust")
    images, labels = IMAGES[300:800], LABELS[300:800]
    for model in (trust, TrustModel.load(tmp_path / "trust", trained())):
        for known, unknowns, count in (
            (loader(300, 800), [], 500),
            ((images.double().numpy(), labels.numpy()), [], 500),
            ((images.clone()[400:], labels[400:]), [], 100),
            (loader(799, 1300), [], 1),
            (loader(800, 1300), [noise(100)], 100),
        ):
            with pytest.raises(InputError, match=rf"\b{count}\b"):
                model.set_risk(0.1, known, unknowns)
            assert model.guarantee is None
        assert model.set_risk(0.1, loader(800, 1300), [noise(200)[100:]]).accepted


def test_readings_of_training_inputs_are_refused_by_set_risk() -> None:
    """The same holds for inputs after fitting to their readings."""
    meter = GradientMeter(trained())
    inputs = IMAGES[300:800], LABELS[300:800]
    readings = meter(inputs[0]), inputs[1]
    for learned, proof in ((inputs, readings), (readings, inputs)):
        trust = TrustModel(meter, "ridge").fit([learned])
        with pytest.raises(InputError, match=r"\b500\b.*\b500\b"):
            trust.set_risk(0.1, [proof])


def test_no_input_is_known_and_unknown(fitted: TrustModel) -> None:
    with pytest.raises(InputError, match=r"\b20\b.*\b50\b.*unknowns\[1\]"):
        TrustModel(GradientMeter(trained()), "ridge_cv").fit(loader(300, 800), [[noise(20)], [IMAGES[780:830]]])
    with pytest.raises(InputError, match=r"\b10\b.*\b20\b.*unknowns\[0\]"):
        fitted.set_risk(0.1, loader(1000, 1300), [[IMAGES[1290:1310]]])


@pytest.mark.parametrize("risk", ["0.1", None, 1, float("nan"), [0.1]])
def test_invalid_risks(risk: Any, fitted: TrustModel) -> None:
    with pytest.raises(InputError, match=r"^risk( is a|=)"):
        fitted.set_risk(risk, loader(1000, 1300))


def test_inputs_that_recur() -> None:
    trust = fitted_model("ridge_cv")
    guarantee = trust.set_risk(0.1, loader(700, 1300), recurring=True)
    assert guarantee.accepted == round(500 * guarantee.coverage)
    # The share of unknown inputs is the smaller one, with the known inputs that fit has seen.
    guarantee = trust.set_risk(0.1, loader(300, 1300), [[noise(200)[100:]]], recurring=True)
    assert guarantee.unknown_share == 100 / 1100
    assert guarantee.unknown_shares == (100 / 1100,)
    # An input that fit has seen is common now, and its prediction is wrong.
    surest = 300 + int(trust.predict_proba(IMAGES[300:800]).argmax())
    images = torch.cat([IMAGES[800:1300], IMAGES[surest].expand(300, *IMAGES.shape[1:])])
    labels = torch.cat([LABELS[800:1300], (LABELS[surest] + 1) % 10 * torch.ones(300, dtype=torch.int64)])
    with pytest.raises(RiskNotControlled, match="also hold with 300 more"):
        trust.set_risk(0.1, (images, labels), recurring=True)
    with pytest.raises(InputError, match=r"fit has seen 300 of these 800 .*recurring=True"):
        trust.set_risk(0.1, (images, labels))


def test_which_inputs_it_learned_from() -> None:
    trust = fitted_model("ridge_cv")
    seen = trust.learned_from(content_hashes(IMAGES[790:810]))
    assert seen.tolist() == [True] * 10 + [False] * 10


def test_training_inputs_in_other_batch_forms_are_refused() -> None:
    trust = fitted_model("ridge_cv")
    for batch in ({"input": IMAGES[300:800], "labels": LABELS[300:800]}, ((IMAGES[300:800],), LABELS[300:800])):
        with pytest.raises(InputError, match=r"\b500\b.*\b500\b"):
            trust.set_risk(0.1, [batch])


@pytest.mark.parametrize("form", ["readings", "arrow", "pandas", "parquet"])
def test_training_readings_are_refused_by_set_risk(form: str, tmp_path: Path) -> None:
    """Readings without their inputs are recognised by their values."""
    meter = GradientMeter(trained())
    learned, new = meter(IMAGES[300:800]), meter(IMAGES[800:1300])
    trust = TrustModel(meter, "ridge").fit((learned, LABELS[300:800]))
    readings = Readings.concatenate([learned, new])
    table = readings.to_arrow().append_column("label", pa.array(LABELS[300:1300].numpy()))
    readings.write_parquet(tmp_path / "a.parquet")
    data = {
        "readings": (readings, LABELS[300:1300]),
        "arrow": table,
        "pandas": table.to_pandas(),
        "parquet": (Readings.read_parquet(tmp_path / "a.parquet"), LABELS[300:1300]),
    }[form]
    with pytest.raises(InputError, match=r"\b500\b.*\b1,000\b"):
        trust.set_risk(0.1, data)
    assert trust.set_risk(0.1, (new, LABELS[800:1300])).accepted


def test_a_guarantee_is_not_that_of_a_judge_that_was_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if another thread fitted while the inputs are read."""
    trust, other = copy.copy(fitted_model("ridge_cv", unknown=100)), fitted_model("ridge_cv")
    guarantee = trust.set_risk(0.1, loader(1000, 1300))
    expected = trust.accept(IMAGES[1300:])
    read = module.read_inputs

    def refitted(*arguments: Any) -> Readings:
        trust.judge, trust.meter, trust.guarantee = other.judge, other.meter, None
        return read(*arguments)

    def batches() -> Iterator[Any]:
        yield from loader(1000, 1300)
        trust.judge = other.judge

    judge = trust.judge
    with pytest.raises(GradmeterError, match="fit ran during set_risk"):
        trust.set_risk(0.2, batches())
    assert trust.guarantee is guarantee
    trust.judge = judge
    monkeypatch.setattr(module, "read_inputs", refitted)
    assert torch.equal(trust.accept(IMAGES[1300:]), expected)
    trust.judge, trust.guarantee = judge, guarantee
    assert trust.verdicts(IMAGES[1300:])["accepted"].to_pylist() == expected.tolist()


def test_copies_of_too_few_wrong_predictions_are_refused() -> None:
    """The copies would be in all folds, so each would be judged by a classifier that has seen it."""
    is_right = right(slice(0, 1300))
    rows = np.concatenate([np.flatnonzero(is_right)[:60], np.flatnonzero(~is_right)[:9].repeat(5)])
    with pytest.raises(InputError, match="60 predictions are right, 9 are wrong"):
        TrustModel(GradientMeter(trained()), "ridge").fit((IMAGES[rows], LABELS[rows]))


def test_copies_do_not_count_for_a_guarantee() -> None:
    trust = fitted_model("ridge_cv")
    rows = np.flatnonzero(right(slice(800, 1300)))[:30] + 800
    images, labels = IMAGES[rows].repeat(20, 1, 1, 1), LABELS[rows].repeat(20)
    with pytest.raises(RiskNotControlled, match=r"\b30\b"):
        trust.set_risk(0.02, (images, labels))


def test_copies_of_unknown_inputs_do_not_raise_the_share_that_a_guarantee_covers() -> None:
    trust = fitted_model("ridge_cv", unknown=100)
    few = noise(110)[100:]
    assert trust.set_risk(0.1, loader(1000, 1300), [[few, few.repeat(29, 1, 1, 1)]]).unknown_share == 10 / 310
    known = IMAGES[1000:1300].repeat(3, 1, 1, 1), LABELS[1000:1300].repeat(3)
    assert trust.set_risk(0.1, known, [[few]]).unknown_share == 10 / 910
    guarantee = trust.set_risk(0.1, loader(1000, 1300), [[few, few], [noise(120)[110:]]])
    assert (guarantee.unknown_share, guarantee.unknown_shares) == (20 / 320, (10 / 310, 10 / 310))


def test_inputs_of_several_unknown_sets_count_for_one_of_them() -> None:
    trust, two = fitted_model("ridge_cv", unknown=100), noise(120)[100:]
    guarantee = trust.set_risk(0.1, loader(1000, 1300), [[two[:10]], [two], [two[:10]]])
    assert (guarantee.unknown_share, guarantee.unknown_shares) == (20 / 320, (10 / 310, 10 / 310, 0.0))


@pytest.mark.slow
@pytest.mark.parametrize(("classifier", "count", "copies"), [("gradmeter", 200, 6), ("ridge_cv", 100, 10)])
def test_held_out_judgements_are_not_by_classifiers_fitted_to_copies(classifier: str, count: int, copies: int) -> None:
    """With random labels, only memorised copies could be separated."""
    images = IMAGES[300 : 300 + count]
    correct = torch.rand(count, generator=torch.Generator().manual_seed(0)) < 0.5
    labels = (trained()(images).argmax(1) + torch.where(correct, 0, 1)) % 10
    trust = TrustModel(GradientMeter(trained()), classifier, reads="forward" if classifier == "gradmeter" else "auto")
    judge = trust.fit((images.repeat(copies, 1, 1, 1), labels.repeat(copies)), synthetic=[]).judge
    assert judge is not None
    uncertainty, inside = -judge.held_out.p_correct, correct.repeat(copies).numpy()
    assert separation(uncertainty[inside], uncertainty[~inside]).auroc < 0.6


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_networks_of_half_precision(dtype: torch.dtype) -> None:
    model = copy.deepcopy(trained()).to(dtype)
    images = IMAGES[300:800].to(dtype)
    trust = TrustModel(GradientMeter(model), "ridge").fit((images, LABELS[300:800]))
    table = trust.meter(images).to_arrow().append_column("label", pa.array(LABELS[300:800].numpy()))
    assert torch.equal(trust.predict_proba(table), trust.predict_proba(images))
    with pytest.raises(InputError, match=r"\b500\b.*\b500\b"):
        trust.set_risk(0.1, table)


def test_nothing_unfamiliar_is_accepted() -> None:
    """Strong noise is rejected even with rare errors and a low threshold."""
    trust = fitted_model()
    trust.set_risk(0.5, loader(1000, 1797), least_probability=0, coverage_tolerance=0)
    strong = 1.5 * noise(400)
    accepted = trust.accept(strong)
    assert accepted.double().mean() < 0.05
    assert trust.accept(IMAGES[1000:]).double().mean() > 0.97
    table = trust.verdicts(strong)
    assert table["accepted"].to_pylist() == accepted.tolist()
    # The threshold alone would accept some of it.
    assert (trust.predict_proba(strong) >= trust.guarantee.threshold).sum() > accepted.sum()


def test_predictions_that_are_probably_wrong_are_not_accepted() -> None:
    trust = fitted_model()
    assert trust.set_risk(0.5, loader(1000, 1797)).threshold >= 0.5
    assert trust.set_risk(0.5, loader(1000, 1797), least_probability=0.9).threshold >= 0.9
    for value in (-0.1, 1.0):
        with pytest.raises(InputError, match=f"least_probability={value}"):
            trust.set_risk(0.5, loader(1000, 1797), least_probability=value)


def test_unknown_inputs_count_as_errors() -> None:
    trust = fitted_model(unknown=100)
    alone = trust.set_risk(0.1, loader(800, 1700))
    mixed = trust.set_risk(0.1, loader(800, 1700), [[noise(1000)[100:]]])
    assert mixed.coverage < alone.coverage
    with pytest.raises(RiskNotControlled):
        trust.set_risk(0.001, loader(800, 1700))


# --- saving


@pytest.mark.parametrize("classifier", ["gradmeter", "ridge"])
def test_loading_makes_one_meter(classifier: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fitted_model(classifier).save(tmp_path)
    meters, make = [], GradientMeter.__init__

    def counted(meter: GradientMeter, *args: Any, **options: Any) -> None:
        meters.append(meter)
        make(meter, *args, **options)

    monkeypatch.setattr(GradientMeter, "__init__", counted)
    assert [TrustModel.load(tmp_path, trained()).meter] == meters


@pytest.mark.parametrize("classifier", [*CLASSIFIERS, FOREST])
def test_a_loaded_model_predicts_the_same(classifier: Any, tmp_path: Path) -> None:
    trust = fitted_model(classifier, unknown=100)
    trust.set_risk(0.1, loader(1000, 1400))
    trust.save(tmp_path / "trust")
    # skops does not trust scikit-learn's trees, because a forged one could crash the process.
    loaded = TrustModel.load(tmp_path / "trust", trained(), trusted=["sklearn.tree._tree.Tree"])
    assert torch.equal(loaded.predict_proba(IMAGES[:80]), trust.predict_proba(IMAGES[:80]))
    assert torch.equal(loaded.accept(IMAGES[:80]), trust.accept(IMAGES[:80]))
    assert loaded.guarantee == trust.guarantee
    assert loaded.set_risk(0.1, loader(1000, 1400)) == trust.guarantee
    assert sorted(path.name for path in tmp_path.iterdir()) == ["trust"]
    names = sorted(path.name for path in (tmp_path / "trust").iterdir())
    assert [name[:10] for name in names] == ["estimator-", "trust.json"]


@pytest.mark.slow
def test_the_meter_is_restored(tmp_path: Path) -> None:
    meter = GradientMeter(trained(), range(3), activations=True, probes=["odin"], biases=False, tile=64)
    for classifier in ("gradmeter", "ridge"):
        trust = TrustModel(meter, classifier, reads="gradients").fit(loader(300, 500), synthetic=())
        trust.save(tmp_path / classifier)
        loaded = TrustModel.load(tmp_path / classifier, trained())
        assert loaded.meter.pseudo_labels == trust.meter.pseudo_labels
        assert loaded.meter.pseudo_labels[-3:] == ("0", "1", "2")
        for name in ("activations", "embedding", "biases", "tile"):
            assert getattr(loaded.meter, name) == getattr(trust.meter, name)
        assert loaded.meter.embedding == (classifier == "gradmeter")
        assert [probe for probe in loaded.meter.probes if isinstance(probe, str)] == ["odin"]
        assert torch.equal(loaded.predict_proba(IMAGES[:50]), trust.predict_proba(IMAGES[:50]))
        loaded.fit(loader(300, 500), synthetic=())
        assert torch.equal(loaded.predict_proba(IMAGES[:50]), trust.predict_proba(IMAGES[:50]))


def test_a_second_look_by_name_is_saved_once(tmp_path: Path) -> None:
    meter = GradientMeter(trained(), probes=["mirror", "odin"])
    trust = TrustModel(meter, "ridge", reads="gradients").fit(loader(300, 500), synthetic=())
    trust.save(tmp_path / "trust")
    loaded = TrustModel.load(tmp_path / "trust", trained())
    assert torch.equal(loaded.predict_proba(IMAGES[:50]), trust.predict_proba(IMAGES[:50]))


def test_notes_that_are_no_json_are_refused_before_anything_is_written(fitted: TrustModel, tmp_path: Path) -> None:
    fitted.save(tmp_path)
    before = sorted(tmp_path.iterdir())
    trust = TrustModel.load(tmp_path, trained())
    for notes in ({"a": {1}}, {"a": trust}):
        trust.notes = notes
        with pytest.raises(InputError, match=r"notes cannot be saved as JSON \("):
            trust.save(tmp_path)
    assert sorted(tmp_path.iterdir()) == before


def test_another_network(fitted: TrustModel, tmp_path: Path) -> None:
    fitted.save(tmp_path / "trust")
    with pytest.raises(DataError, match="weights"):
        TrustModel.load(tmp_path / "trust", untrained())
    other = untrained()
    other[6] = nn.Linear(24, 9)
    with pytest.raises(DataError, match=r"'6.weight'.*\[9, 24\].*\[10, 24\].*\b2\b"):
        TrustModel.load(tmp_path / "trust", other)
    with pytest.raises(DataError, match=r"'0.weight' is missing; expected shape"):
        TrustModel.load(tmp_path / "trust", nn.Flatten())
    with pytest.raises(InputError, match="GradientMeter"):
        TrustModel.load(tmp_path / "trust", fitted.meter)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"model is a .*Path; expected the torch.nn.Module"):
        TrustModel.load(trained(), tmp_path / "trust")  # type: ignore[arg-type]


@pytest.mark.parametrize("file", ["trust.json", "estimator-*.skops"])
def test_changed_truncated_and_missing_files(file: str, fitted: TrustModel, tmp_path: Path) -> None:
    fitted.save(tmp_path / "trust")
    (path,) = (tmp_path / "trust").glob(file)
    whole = path.read_bytes()
    for changed in (whole[: len(whole) // 2], b"", whole.replace(b"0", b"1", 1), b"[]", b"null"):
        path.write_bytes(changed)
        with pytest.raises(DataError, match="trust"):
            TrustModel.load(tmp_path / "trust", trained())
    path.unlink()
    with pytest.raises(DataError, match="trust"):
        TrustModel.load(tmp_path / "trust", trained())


def test_loading_while_another_process_replaces_the_model(
    fitted: TrustModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "trust"
    fitted.save(folder)
    newer = fitted_model("ridge", unknown=100)
    read_main, reads = main_file.read_main, []

    def replaced_since(path: Path, *arguments: Any) -> dict[str, Any]:
        content = read_main(path, *arguments)
        if not reads:
            newer.save(folder)  # deletes the estimator that this content names
        reads.append(path)
        return content

    monkeypatch.setattr(main_file, "read_main", replaced_since)
    loaded = TrustModel.load(folder, trained())
    assert torch.equal(loaded.predict_proba(IMAGES[:80]), newer.predict_proba(IMAGES[:80]))


def test_types_that_are_not_trusted(fitted: TrustModel, tmp_path: Path) -> None:
    """A forged estimator with a matching trust.json is refused."""
    import hashlib

    fitted.save(tmp_path / "trust")
    (estimator,) = (tmp_path / "trust").glob("estimator-*.skops")
    skops.io.dump({"a": Path("/")}, estimator)
    content = json.loads((tmp_path / "trust/trust.json").read_text())
    content.pop("checksum")
    content["estimator"]["sha256"] = hashlib.sha256(estimator.read_bytes()).hexdigest()
    checksum = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    (tmp_path / "trust/trust.json").write_text(json.dumps({**content, "checksum": checksum}))
    with pytest.raises(DataError, match=r"\bpathlib\.(_local\.)?PosixPath\b"):
        TrustModel.load(tmp_path / "trust", trained())


def test_other_files_and_folders_are_not_overwritten(fitted: TrustModel, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/mine").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for name in ("folder", "file"):
        with pytest.raises(OutputError, match=rf"\b{name}\b"):
            fitted.save(tmp_path / name)
    (tmp_path / "trust/readings").mkdir(parents=True)
    (tmp_path / "trust/.DS_Store").write_text("")  # macOS puts it into every folder that is opened
    fitted.save(tmp_path / "trust")
    fitted.save(tmp_path / "trust")
    assert len(list((tmp_path / "trust").glob("estimator-*"))) == 1
    TrustModel.load(tmp_path / "trust", trained())
    shutil.rmtree(tmp_path / "trust")
    with pytest.raises(DataError, match=r"\btrust\b"):
        TrustModel.load(tmp_path / "trust", trained())


def test_networks_without_values(fitted: TrustModel, tmp_path: Path) -> None:
    """Not the folder is damaged, which would have to be saved again."""
    fitted.save(tmp_path / "trust")
    with pytest.raises(UnsupportedModelError, match="meta"):
        TrustModel.load(tmp_path / "trust", copy.deepcopy(trained()).to("meta"))


def test_other_files_named_like_an_estimator_are_kept(fitted: TrustModel, tmp_path: Path) -> None:
    fitted.save(tmp_path / "trust")
    (tmp_path / "trust/estimator-mine.skops").write_text("mine")
    fitted.save(tmp_path / "trust")
    assert (tmp_path / "trust/estimator-mine.skops").read_text() == "mine"
    (tmp_path / "other").mkdir()
    (tmp_path / "other/estimator-mine.skops").write_text("mine")
    with pytest.raises(OutputError, match=r"\bother\b"):
        fitted.save(tmp_path / "other")


@pytest.mark.parametrize("file", ["trust.json", "estimator-*.skops"])
@pytest.mark.parametrize("kind", ["pipe", "endless"])
def test_only_regular_files_are_read(kind: str, file: str, fitted: TrustModel, tmp_path: Path) -> None:
    fitted.save(tmp_path / "trust")
    (path,) = (tmp_path / "trust").glob(file)
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    with pytest.raises(DataError, match=path.name):
        TrustModel.load(tmp_path / "trust", trained())


def test_a_network_that_was_trained_further_is_not_saved(tmp_path: Path) -> None:
    """P(correct) was learned from the earlier weights; saved with the later ones, it would be loaded for these."""
    network = copy.deepcopy(trained())
    trust = TrustModel(GradientMeter(network), "ridge", reads="forward").fit((IMAGES[300:700], LABELS[300:700]))
    weight = next(network.parameters())
    with torch.no_grad():
        weight.mul_(2)
    with pytest.raises(GradmeterError, match="changed after fit"):
        trust.save(tmp_path / "trust")
    assert not (tmp_path / "trust").exists()
    with torch.no_grad():
        weight.div_(2)
    trust.save(tmp_path / "trust")
    loaded = TrustModel.load(tmp_path / "trust", network)
    loaded.save(tmp_path / "again")
    with torch.no_grad():
        weight.mul_(2)
    with pytest.raises(GradmeterError, match="changed after fit"):
        loaded.save(tmp_path / "again")


def test_pseudo_labels_that_are_functions_are_not_saved(tmp_path: Path) -> None:
    trust = TrustModel(GradientMeter(trained(), lambda logits: logits.logsumexp(1)), "ridge").fit(loader(300, 700))
    with pytest.raises(GradmeterError, match="function"):
        trust.save(tmp_path / "trust")
    trust = TrustModel(GradientMeter(trained(), probes=[odin(10.0)]), "ridge").fit(loader(300, 700))
    with pytest.raises(GradmeterError, match="function"):
        trust.save(tmp_path / "trust")
    assert not (tmp_path / "trust").exists()


def test_not_fitted(tmp_path: Path) -> None:
    with pytest.raises(GradmeterError, match=r"fit\("):
        TrustModel(GradientMeter(trained())).save(tmp_path / "trust")
